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

from deploy.gateway import create_token
from tests.faults.fault import Fault
from tests.faults.load import shuffled_events
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.gateway import GatewayProcess, GatewayServer, gateway_process
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import wait_until

_EVENTS: Final = 20_000
_CLIENTS: Final = 8
_BATCH_EVENTS: Final = 50
_REPEATED_AFTER_SECONDS: Final = 0.2
#: What a client repeats: Kafka did not answer, no room, no answer at all.
_TO_BE_REPEATED: Final = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.REQUEST_TIMEOUT, None)


class _Clients:
    """Send batches, each until it is acknowledged, in threads."""

    def __init__(self, gateway: GatewayServer, token: str) -> None:
        self._gateway, self._token = gateway, token
        #: With a None for each client at its end.
        self._batches: Queue[Sequence[JsonEvent] | None] = Queue()
        self._failures: list[BaseException] = []
        #: The answers after which clients repeated a batch; None for no answer.
        self.repeats_by_status: Counter[int | None] = Counter()
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
                response = self._gateway.post_batch(batch, token=self._token)
                status, text = response.status, response.text
            except OSError as error:
                status, text = None, str(error)
            if status == HTTPStatus.ACCEPTED:
                return
            assert status in _TO_BE_REPEATED, f"{status}: {text}"
            self.repeats_by_status[status] += 1
            time.sleep(_REPEATED_AFTER_SECONDS)


@contextmanager
def _running_gateway(scenario: Scenario, events: Sequence[JsonEvent]) -> Iterator[tuple[GatewayProcess, str]]:
    """Run a gateway whose token may speak for the sources of these events; give it and the token."""
    token, block = create_token("load", sorted({event["source"] for event in events}), [], None)
    path = scenario.folder / "tokens.toml"
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


FAULTS: Mapping[str, Fault] = {
    "the broker killed (-9) twice behind the gateway, 20,000 events": Fault(restart_broker_behind_gateway),
}
