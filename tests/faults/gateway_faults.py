"""Faults behind the gateway: the broker goes away while clients send, which repeat what was not acknowledged."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from queue import Queue
from typing import Final

from sqlalchemy import select

from deploy.gateway import create_token
from models.database.engine import read_transaction
from models.database.tables import ledger
from tests.faults.fault import Fault
from tests.faults.load import shuffled_events
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.gateway import GatewayProcess, GatewayServer, gateway_process
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import wait_until

_EVENTS: Final = 20_000
_STOP_EVENTS: Final = 5_000
#: Longer than an answer takes while the broker answers, and shorter than the gateway waits for the broker.
_STILL_SECONDS: Final = 2.0
_CLIENTS: Final = 8
_BATCH_EVENTS: Final = 50
_REPEATED_AFTER_SECONDS: Final = 0.2
#: What a client repeats: Kafka did not answer, no room, no answer at all.
_TO_BE_REPEATED: Final = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.REQUEST_TIMEOUT, None)


class _Clients:
    """Send batches, each until it is acknowledged, in threads."""

    def __init__(self, gateway: GatewayServer, token: str) -> None:
        #: Where they send; another one may take its place.
        self.gateway, self._token = gateway, token
        #: With a None for each client at its end.
        self._batches: Queue[Sequence[JsonEvent] | None] = Queue()
        self._failures: list[BaseException] = []
        #: The answers after which clients repeated a batch; None for no answer.
        self.repeats_by_status: Counter[int | None] = Counter()
        #: The events that were answered with 202 by now.
        self.acknowledged: list[JsonEvent] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many batches no client has begun with."""
        return self._batches.qsize()

    def send(self, events: Sequence[JsonEvent]) -> None:
        """Have clients send events, after those that they were given before."""
        for start in range(0, len(events), _BATCH_EVENTS):
            self._batches.put(events[start : start + _BATCH_EVENTS])

    def join(self, timeout: float) -> None:
        """Wait until all is acknowledged."""
        for _ in self._threads:
            self._batches.put(None)
        ends = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        assert not self._failures, self._failures[0]
        assert not any(thread.is_alive() for thread in self._threads), "not everything is acknowledged"

    def _run(self) -> None:
        try:
            while (batch := self._batches.get()) is not None:
                self._send(batch)
        except BaseException as error:  # noqa: BLE001 - told to whoever joins
            self._failures.append(error)

    def _send(self, batch: Sequence[JsonEvent]) -> None:
        while True:
            try:
                response = self.gateway.post_batch(batch, token=self._token)
                status, text = response.status, response.text
            except OSError as error:
                status, text = None, str(error)
            if status == HTTPStatus.ACCEPTED:
                self.acknowledged += batch
                return
            assert status in _TO_BE_REPEATED, f"{status}: {text}"
            self.repeats_by_status[status] += 1
            time.sleep(_REPEATED_AFTER_SECONDS)


@contextmanager
def _running_gateway(
    scenario: Scenario, events: Sequence[JsonEvent], token: str | None = None
) -> Iterator[tuple[GatewayProcess, str]]:
    """Run a gateway whose token may speak for the sources of these events; give it and the token.

    A token that is given is one of a gateway before it.
    """
    path = scenario.folder / "tokens.toml"
    if token is None:
        token, block = create_token("load", sorted({event["source"] for event in events}), [], None)
        path.write_text("\n".join(block), encoding="utf-8")
    settings = scenario.settings.model_copy(update={"gateway_tokens": path})
    with gateway_process(settings, scenario.folder) as gateway:
        yield gateway, token


def restart_broker_behind_gateway(scenario: Scenario) -> float:
    """Kill the broker and start it again, twice, while clients send 20,000 events through the gateway."""
    events = [
        event | {"id": f"gateway-{event['id']}"}
        for event in shuffled_events(scenario.rng.randrange(10**6), _EVENTS)
        if "retracts" not in event["data"]
    ]
    # However fast the clients are, something is left to be sent in each outage: each has a part of its own.
    size = len(events) // 3 + 1
    first, second, last = (events[start : start + size] for start in range(0, len(events), size))
    with _running_gateway(scenario, events) as (gateway, token):
        clients = _Clients(gateway.client, token)

        def kill_broker_amid(part: Sequence[JsonEvent]) -> None:
            left = scenario.rng.randrange(_CLIENTS, size // _BATCH_EVENTS)
            wait_until(lambda: clients.waiting <= left, f"{left} batches of a part are left", 120)
            clients.send(part)
            scenario.kafka.kill()

        clients.send(first)
        # An outage that the gateway notices, and one of which every client is told.
        kill_broker_amid(second)
        wait_until(lambda: gateway.get("/ready")[0] == HTTPStatus.SERVICE_UNAVAILABLE, "the gateway is not ready")
        scenario.kafka.start()
        kill_broker_amid(last)
        told = clients.repeats_by_status[HTTPStatus.SERVICE_UNAVAILABLE] + _CLIENTS
        wait_until(
            lambda: clients.repeats_by_status[HTTPStatus.SERVICE_UNAVAILABLE] >= told, "clients are told to repeat"
        )
        scenario.kafka.start()
        clients.join(180)
        wait_until(lambda: gateway.get("/ready")[0] == HTTPStatus.OK, "the gateway is ready again")
        assert json.loads(gateway.get("/ready")[1])["ok"]
        assert gateway.process.poll() is None, gateway.log_text[-3000:]
    scenario.extra_accepted += events
    return measure_recovery(scenario)


def stop_gateway_behind_hanging_broker(scenario: Scenario) -> float:
    """Ask a gateway to end (SIGTERM) while the broker stands still (SIGSTOP) and clients wait for their answers."""
    events = [
        event | {"id": f"gateway-{event['id']}"}
        for event in shuffled_events(scenario.rng.randrange(10**6), _STOP_EVENTS)
        if "retracts" not in event["data"]
    ]
    with _running_gateway(scenario, events) as (gateway, token):
        clients = _Clients(gateway.client, token)
        clients.send(events)
        left = scenario.rng.randrange(_CLIENTS, len(events) // _BATCH_EVENTS // 2)
        wait_until(lambda: clients.waiting <= left, f"{left} batches are left", 120)
        scenario.kafka.suspend()
        try:
            wait_until(lambda: _are_all_waiting(clients), "every client waits for the broker")
            told, acknowledged = clients.repeats_by_status[HTTPStatus.SERVICE_UNAVAILABLE], list(clients.acknowledged)
            seconds = gateway.stop()
            assert gateway.process.returncode == 0, gateway.log_text[-3000:]
            assert seconds < scenario.settings.stop_seconds, f"the gateway took {seconds:.1f} s"
            scenario.notes.append(f"the gateway ended after {seconds:.1f} s")
            wait_until(
                lambda: clients.repeats_by_status[HTTPStatus.SERVICE_UNAVAILABLE] >= told + _CLIENTS,
                "every client is told to send again",
            )
            assert clients.acknowledged == acknowledged, "nothing is acknowledged by a broker that stands still"
        finally:
            scenario.kafka.resume()
    scenario.load.pause()
    scenario.wait_until_positions(scenario.log_offsets()[1])
    with read_transaction(scenario.engine) as connection:
        recorded = {tuple(row) for row in connection.execute(select(ledger.c.source, ledger.c.id))}
    assert {(event["source"], event["id"]) for event in acknowledged} <= recorded
    scenario.load.resume()
    with _running_gateway(scenario, events, token) as (gateway, _):
        clients.gateway = gateway.client
        clients.join(180)
    scenario.extra_accepted += events
    return measure_recovery(scenario)


def _are_all_waiting(clients: _Clients) -> bool:
    """Return whether no client has got an answer for a while."""
    before = len(clients.acknowledged), clients.waiting
    time.sleep(_STILL_SECONDS)
    return before == (len(clients.acknowledged), clients.waiting)


FAULTS: Mapping[str, Fault] = {
    "SIGTERM to the gateway while the broker stands still (SIGSTOP)": Fault(stop_gateway_behind_hanging_broker),
    "the broker killed (-9) twice behind the gateway, 20,000 events": Fault(restart_broker_behind_gateway),
}
