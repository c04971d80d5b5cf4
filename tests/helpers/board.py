"""The board for tests: served without a worker; its database records events and recalculates after each batch."""

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any, NamedTuple

import msgspec
import uvloop

from consumers.dead_letters import read_newest_dead_letters
from models.database.ledger import DecodedRecord
from models.database.projector import Projector
from models.database.recorder import Recorder
from models.domain.cloudevents import encode_structured
from models.domain.events import Event
from models.settings import Settings
from streams.metrics.pipeline import Metrics
from streams.metrics.store import MetricsStore
from streams.web.board import create_board
from streams.web.connections import MAX_CONNECTIONS
from streams.web.guard import GuardedApplication
from streams.web.pipeline_status import LocalPipelineReader
from streams.web.probes import Probes, add_health, add_milestone_metrics
from streams.web.server import WebServer
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine


class HttpResponse(NamedTuple):
    """A response, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body as JSON."""
        return msgspec.json.decode(self.body)


class BoardServer:
    """A board that answers, and the database behind it."""

    def __init__(self, address: str, recorder: Recorder, metrics: Metrics, data_date: date) -> None:
        self.address, self.recorder, self.metrics, self.data_date = address, recorder, metrics, data_date
        #: What the worker would report as the reasons for not being ready.
        self.not_ready_reasons: dict[str, str] = {}
        self._log, self._projector = TopicLog(), Projector(recorder.engine)
        recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})

    def record_events(self, events: Sequence[Event]) -> None:
        """Record events as one batch, and recalculate what they changed."""
        self.record_decoded(
            [
                self._log.append_raw([(name, text or b"") for name, text in headers], value)
                for headers, value in map(encode_structured, events)
            ]
        )

    def record_decoded(self, records: Sequence[DecodedRecord]) -> None:
        """Record records as one batch, and recalculate what they changed."""
        recorded = self.recorder.record(event_batch(records), fail_on_rejection)
        self._projector.recalculate(
            [change.programme for change in recorded.programme_changes], self.data_date, 1_790_000_000_000
        )

    def get(self, path: str, **headers: str) -> HttpResponse:
        """Ask for something."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return send_request(urllib.request.Request(f"{self.address}{path}", headers=named))  # noqa: S310 - the tests' own address


def send_request(request: urllib.request.Request) -> HttpResponse:
    """Return the response, whatever its status."""
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the tests' own addresses
            return HttpResponse(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        return HttpResponse(error.code, dict(error.headers), error.read())


@contextmanager
def running_board(
    url: str,
    data_date: date,
    kafka: str = "127.0.0.1:1",
    max_connections: int = MAX_CONNECTIONS,
    **more_settings: Any,  # noqa: ANN401 - pydantic validates them
) -> Iterator[BoardServer]:
    """Serve the board of a database until the block ends."""
    with migrated_engine(url) as engine:
        metrics, not_ready_reasons = Metrics("tests"), dict[str, str]()
        settings = Settings(database=url, kafka=kafka, **more_settings)
        loop, running = uvloop.new_event_loop(), threading.Event()
        ports: list[int] = []
        ending = asyncio.Event()

        async def serve() -> None:
            guarded = GuardedApplication(settings.board_hosts, metrics.count_http_error)
            probes = Probes(metrics.registry, dict, lambda: dict(not_ready_reasons))
            add_health(guarded, probes)
            add_milestone_metrics(guarded, MetricsStore(max_series=1000, keep_days=90))
            reader = partial(LocalPipelineReader, read_newest=partial(read_newest_dead_letters, settings))
            create_board(settings, lambda: data_date, reader)(guarded, probes)
            with socket.create_server(("127.0.0.1", 0)) as listening:
                server = WebServer(listening, guarded, max_connections, metrics.count_http_error)
                await server.start()
                ports.append(listening.getsockname()[1])
                running.set()
                await ending.wait()
                await server.stop()

        thread = threading.Thread(target=loop.run_until_complete, args=[serve()], daemon=True)
        thread.start()
        assert running.wait(30), "the board serves"
        board = BoardServer(f"http://127.0.0.1:{ports[0]}", Recorder(engine), metrics, data_date)
        board.not_ready_reasons = not_ready_reasons
        try:
            yield board
        finally:
            loop.call_soon_threadsafe(ending.set)
            thread.join(10)
            assert not thread.is_alive(), "the board stops"
            loop.close()
