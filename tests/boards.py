"""The board for tests: served without a worker, of a database that is told of events and drawn after each batch."""

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from consumers.dead_letters import read_newest_letters
from models.database.ledger import Entry
from models.database.projector import Forecasts
from models.database.recorder import Store
from models.domain.cloudevents import encode_structured
from models.domain.events import Event
from models.settings import Settings
from streams.metrics.pipeline import Metrics
from streams.web.board import board
from streams.web.server import Known
from tests.storing import TOPIC, Log, batch_of, prepared, refuse_none


class Answer(NamedTuple):
    """What came back."""

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


class Served:
    """A board that answers, and the database behind it."""

    def __init__(self, address: str, store: Store, metrics: Metrics, day: date) -> None:
        self.address, self.store, self.metrics, self.day = address, store, metrics, day
        #: What stands in the way of being ready, as the worker would say it.
        self.reasons: dict[str, str] = {}
        self._log, self._forecasts = Log(), Forecasts(store.engine)
        store.take_up(TOPIC, {0: (0, 0)})

    def say(self, events: Sequence[Event]) -> None:
        """Record events as one batch, and draw what they changed."""
        self.say_raw(
            [
                self._log.append_raw([(name, text or b"") for name, text in headers], value)
                for headers, value in map(encode_structured, events)
            ]
        )

    def say_raw(self, entries: Sequence[Entry]) -> None:
        """Record records as one batch, and draw what they changed."""
        recorded = self.store.record(batch_of(entries), refuse_none)
        self._forecasts.draw([change.programme for change in recorded.changes], self.day, 1_790_000_000_000)

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for something."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(urllib.request.Request(f"{self.address}{path}", headers=named))  # noqa: S310 - its own address


def ask(request: urllib.request.Request) -> Answer:
    """Return what comes back, whatever its status."""
    try:
        with urllib.request.urlopen(request, timeout=30) as found:  # noqa: S310 - the tests' own addresses
            return Answer(found.status, dict(found.headers), found.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, dict(error.headers), error.read())


@contextmanager
def served(url: str, day: date, kafka: str = "127.0.0.1:1") -> Iterator[Served]:
    """Serve the board of a database until the block ends."""
    with prepared(url) as engine:
        metrics, known = Metrics("tests"), dict[str, str]()
        app, settings = web.Application(), Settings(database=url, kafka=kafka)
        board(settings, lambda: day, partial(read_newest_letters, settings))(
            app, Known(metrics.registry, dict, lambda: dict(known))
        )
        loop, running = asyncio.new_event_loop(), threading.Event()
        ports: list[int] = []
        ending = asyncio.Event()

        async def serve() -> None:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ports.append(runner.addresses[0][1])
            running.set()
            await ending.wait()
            await runner.cleanup()

        thread = threading.Thread(target=loop.run_until_complete, args=[serve()], daemon=True)
        thread.start()
        assert running.wait(30), "the board serves"
        here = Served(f"http://127.0.0.1:{ports[0]}", Store(engine), metrics, day)
        here.reasons = known
        try:
            yield here
        finally:
            loop.call_soon_threadsafe(ending.set)
            thread.join(10)
            assert not thread.is_alive(), "the board stops"
            loop.close()
