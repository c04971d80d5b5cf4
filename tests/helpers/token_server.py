"""A small OAuth 2.0 token server: gives JWTs to clients with the right credentials, which a broker can check."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

AUDIENCE = "kafka"
_KEY_ID = "tests"


class Issuer:
    """Signs tokens with a key of its own."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def write_key_set(self, path: Path) -> None:
        """Write the public key as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": _KEY_ID, "alg": "RS256", "use": "sig"}
        key |= {name: _encode(_to_bytes(number)) for name, number in (("n", numbers.n), ("e", numbers.e))}
        path.write_text(json.dumps({"keys": [key]}))

    def issue(self, subject: str, lifetime_seconds: float = 300, audience: str = AUDIENCE) -> str:
        """Return a token; one whose lifetime is less than 0 has expired."""
        now = time.time()
        issued_at = min(now, now + lifetime_seconds) - 60
        claims = {"sub": subject, "aud": audience, "iat": int(issued_at), "exp": int(now + lifetime_seconds)}
        parts = ({"alg": "RS256", "kid": _KEY_ID, "typ": "JWT"}, claims)
        signed = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_encode(self._key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


class TokenServer:
    """The server, and what it was asked."""

    def __init__(self, issuer: Issuer, clients: dict[str, str]) -> None:
        self.issuer, self.clients = issuer, clients
        self.lifetime_seconds = 300.0
        #: A status with which every request is refused.
        self.failure: int | None = None
        self.requests: list[dict[str, list[str]]] = []
        self.issued: list[str] = []
        self.port = 0

    @property
    def endpoint(self) -> str:
        """The URL that gives tokens."""
        return f"http://127.0.0.1:{self.port}/token"

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to a request."""
        self.requests.append(form)
        if self.failure is not None:
            return self.failure, {}
        credentials = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        client, secret = map(unquote_plus, credentials.split(":", 1))
        if self.clients.get(client) != secret:
            return 401, {"error": "invalid_client", "error_description": "no such client, or another secret"}
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        token = self.issuer.issue(client, self.lifetime_seconds)
        self.issued.append(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_seconds}


@contextmanager
def running_token_server(issuer: Issuer, clients: dict[str, str]) -> Iterator[TokenServer]:
    """Run a token server until the block ends."""
    server = TokenServer(issuer, clients)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, body = server.answer(self.headers.get("Authorization", ""), form)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _to_bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
