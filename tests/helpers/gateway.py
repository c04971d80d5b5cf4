"""A gateway for tests: its endpoint on a web server of its own, with a publisher that the test chooses."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from models.domain.events import AllowedSources
from models.settings import Settings
from streams.clock import Clock
from streams.gateway.acceptance import CheckedRecord
from streams.gateway.answers import problem_response
from streams.gateway.bodies import BodyReader
from streams.gateway.content_modes import BATCH_TYPE, STRUCTURED_TYPE
from streams.gateway.events import EventsEndpoint
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.tokens import TokenTable, parse_tokens
from streams.web.guard import GuardedApplication
from streams.web.server import WebServer
from tests.helpers.board import HttpResponse, send_request
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import WorkerProcess, free_port, process_environment

OFFICE, OTHER = "office-secret", "other-secret"
#: A second token that may speak for everything below one host, of one programme.
TOKENS = f"""
[[token]]
name = "office"
sha256 = "{sha256(OFFICE.encode()).hexdigest()}"
sources = ["//office.example"]
programmes = ["*"]

[[token]]
name = "other"
sha256 = "{sha256(OTHER.encode()).hexdigest()}"
sources = ["//other.example/*"]
programmes = ["north"]
"""

#: The beginning of a request of the office.
START = f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OFFICE}\r\n"


def report(event_id: str = "1", **overrides: object) -> JsonEvent:
    """Return a report of the office; null in `overrides` leaves an attribute out."""
    event: JsonEvent = {
        "specversion": "1.0",
        "id": event_id,
        "source": "//office.example",
        "type": "milepost.milestone.reported.v1",
        "subject": "north/plant",
        "time": "2026-11-01T09:00:00Z",
        "data": {"milestone": "permit-approved", "classifier": "PLN", "date": "2027-01-15"},
    }
    return {name: value for name, value in (event | overrides).items() if value is not None}


def padded(size: int) -> JsonEvent:
    """Return an event of so many bytes of JSON."""
    event = report(extension="")
    return event | {"extension": "x" * (size - len(json.dumps(event)))}


def refused(response: HttpResponse) -> list[Any]:
    """Return what a refusal says of events; fails when it is no problem details."""
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json
    assert document["type"] == "about:blank"
    assert document["status"] == response.status
    assert document["title"]
    assert document["detail"]
    return list(document.get("events", []))


class SentRecords(list[CheckedRecord]):
    """What was published, as a publisher."""

    async def __call__(self, records: Sequence[CheckedRecord]) -> None:
        """Note records as published."""
        self.extend(records)


class GatewayServer:
    """A gateway that answers."""

    def __init__(self, port: int, metrics: GatewayMetrics | None = None) -> None:
        self.port, self._metrics = port, metrics
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> HttpResponse:
        """Ask for a page."""
        return send_request(urllib.request.Request(f"{self.address}{path}"))  # noqa: S310 - our own

    def post(
        self, body: bytes, headers: Mapping[str, str], token: str | None = OFFICE, path: str = "/events"
    ) -> HttpResponse:
        """Send a request to publish."""
        given = {} if token is None else {"Authorization": f"Bearer {token}"}
        # Without a Content-Type, urllib would say that it is a form.
        named = {"Content-Type": ""} | given | {name.title(): text for name, text in headers.items()}
        request = urllib.request.Request(f"{self.address}{path}", body, named, method="POST")  # noqa: S310 - our own
        if not named["Content-Type"]:
            request.remove_header("Content-type")
            request.add_unredirected_header("Content-type", "")
        return send_request(request)

    def post_structured(self, event: JsonEvent, **options: str | None) -> HttpResponse:
        """Send an event in structured mode."""
        return self.post(json.dumps(event).encode(), {"Content-Type": STRUCTURED_TYPE}, **options)  # type: ignore[arg-type]

    def post_batch(self, events: Sequence[JsonEvent], **options: str | None) -> HttpResponse:
        """Send a batch."""
        return self.post(json.dumps(events).encode(), {"Content-Type": BATCH_TYPE}, **options)  # type: ignore[arg-type]

    def post_binary(self, event: JsonEvent, **options: str | None) -> HttpResponse:
        """Send an event in binary mode."""
        headers = {f"ce-{name}": str(value) for name, value in event.items() if name != "data"}
        body = json.dumps(event["data"]).encode() if "data" in event else b""
        return self.post(body, {"Content-Type": "application/json", **headers}, **options)  # type: ignore[arg-type]

    def count(self, name: str, token: str | None = None, **labels: str) -> float:
        """Return a counter of the gateway, of a token if one is named."""
        labels |= {} if token is None else {"token": token}
        assert self._metrics is not None
        return self._metrics.registry.get_sample_value(f"milepost_gateway_{name}", labels) or 0.0


class GatewayProcess(WorkerProcess):
    """`milepost gateway` as a process of its own; what a worker's process answers is that of its probes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_path: Path, gateway_port: int) -> None:
        super().__init__(process, port, log_path)
        self.client = GatewayServer(gateway_port)


@contextmanager
def gateway_process(
    settings: Settings, folder: Path, metrics_port: int | None = None, host: str = "127.0.0.1"
) -> Iterator[GatewayProcess]:
    """Run a gateway process in a folder until the block ends; ready when it begins."""
    port = free_port()
    log = folder / f"gateway-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from deploy.cli.app import main; main()", "gateway"],
            cwd=folder,
            env=process_environment(settings) | {"MILEPOST_GATEWAY": f"{host}:{port}"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        gateway = GatewayProcess(process, metrics_port or port, log, port)
        try:
            gateway.wait_until_ready()
            yield gateway
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def running_endpoint(
    publish: Callable[[Sequence[CheckedRecord]], object],
    *,
    tokens: TokenTable | None = None,
    allowed_sources: AllowedSources | None = None,
    bodies: BodyReader | None = None,
    max_connections: int = 512,
) -> Iterator[GatewayServer]:
    """Serve `/events` until the block ends."""
    table = tokens or parse_tokens(TOKENS)
    loop, running, ending = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    ports: list[int] = []
    metrics = GatewayMetrics()

    async def serve() -> None:
        guarded = GuardedApplication(None, metrics.count_http_error)
        guarded.error_response = guarded.protocol_error_response = problem_response
        endpoint = EventsEndpoint(
            lambda: table,
            publish,  # type: ignore[arg-type]  # what a test awaits
            metrics,
            Clock(),
            allowed_sources or {},
            bodies or BodyReader(),
        )
        endpoint.add_routes(guarded)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = WebServer(listening, guarded, max_connections, metrics.count_http_error)
            await server.start()
            ports.append(listening.getsockname()[1])
            running.set()
            await ending.wait()
            await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], daemon=True)
    thread.start()
    assert running.wait(30), "the gateway serves"
    try:
        yield GatewayServer(ports[0], metrics)
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        assert not thread.is_alive(), "the gateway stops"
        loop.close()


def connect(gateway: GatewayServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=10)


def exchange(gateway: GatewayServer, head: str, body: bytes) -> bytes:
    """Send a request of the office byte by byte as it stands there; return what is answered."""
    with connect(gateway) as client:
        client.sendall(f"{START}Connection: close\r\n{head}\r\n".encode() + body)
        answer = b""
        try:
            while received := client.recv(65536):
                answer += received
        except ConnectionError:
            pass
        return answer
