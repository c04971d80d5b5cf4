"""A system that is told of changes over HTTP, answers as a test says, and remembers what it was sent."""

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

SECRET = "whsec_" + b64encode(b"a secret of thirty-two bytes ...").decode()
OTHER_SECRET = "whsec_" + b64encode(b"another secret, of 32 bytes long").decode()


class Request(NamedTuple):
    """A request that was received."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The event in the body."""
        event: dict[str, Any] = json.loads(self.body)
        return event


class Reply(NamedTuple):
    """What to answer, when the test lets go of it."""

    status: int = 204
    headers: Mapping[str, str] = {}
    release: threading.Event | None = None


class Receiver:
    """The system. What it answers may be changed while it runs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hook"
        self.requests: list[Request] = []
        self.reply: Callable[[Request], Reply] = lambda _request: Reply()

    def events(self) -> list[dict[str, Any]]:
        """Return the events that were taken, in their order."""
        return [request.event for request in [*self.requests] if self.reply(request).status < 300]


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """Run a system until the block ends."""
    system: Receiver

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            reply = system.reply(request)
            system.requests.append(request)
            if reply.release is not None:
                reply.release.wait(60)
            self.send_response(reply.status)
            for name, value in {"content-length": "0", **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - as a redirect that is followed would ask

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    system = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield system
    finally:
        server.shutdown()
        server.server_close()
