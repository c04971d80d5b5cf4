"""The gateway as an HTTP server: methods, lengths, expectations, and the handshake of CloudEvents' webhooks."""

import json

import pytest

from streams.gateway.content_modes import BATCH_TYPE, STRUCTURED_TYPE
from streams.gateway.tokens import parse_tokens
from tests.helpers.gateway import (
    OFFICE,
    TOKENS,
    GatewayServer,
    SentRecords,
    connect,
    exchange,
    refused,
    report,
    running_endpoint,
)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_or_path_is_told_where_events_go(gateway: GatewayServer, method: str) -> None:
    with connect(gateway) as client:
        client.sendall(f"{method} /events HTTP/1.1\r\nHost: gateway.example\r\n\r\n".encode())
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 405")
    assert b"Allow: OPTIONS,POST" in answer
    response = gateway.post(b"", {}, path="/event")
    assert (response.status, refused(response)) == (404, [])


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        ("", None),
        ("WebHook-Request-Rate: 1000\r\n", b"*"),
        (f"WebHook-Request-Rate: 1\r\nAuthorization: Bearer {OFFICE}\r\n", b"120"),
    ],
)
def test_the_handshake_of_webhooks_is_answered(headers: str, rate: bytes | None) -> None:
    table = parse_tokens(TOKENS.replace('programmes = ["*"]', 'programmes = ["*"]\nrate = 2'))
    with running_endpoint(SentRecords(), tokens=table) as here, connect(here) as client:
        head = f"OPTIONS /events HTTP/1.1\r\nHost: a\r\nWebHook-Request-Origin: eventemitter.example\r\n{headers}"
        client.sendall(f"{head}\r\n".encode())
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"WebHook-Allowed-Origin: eventemitter.example\r\n" in answer
    assert b"Allow: OPTIONS, POST\r\n" in answer
    assert (b"WebHook-Allowed-Rate: " + rate in answer) if rate else b"Allowed-Rate" not in answer


# Expectations


def test_the_answer_to_no_token_waits_for_no_body(gateway: GatewayServer) -> None:
    with connect(gateway) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 401")
    with connect(gateway) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 401")


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(gateway: GatewayServer) -> None:
    body = json.dumps(report()).encode()
    with connect(gateway) as client:
        head = f"Content-Type: {STRUCTURED_TYPE}\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OFFICE}\r\n{head}\r\n".encode())
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(4096).startswith(b"HTTP/1.1 202")


@pytest.mark.parametrize(
    ("target", "head", "status"),
    [
        ("/events", "Content-Type: text/plain\r\nContent-Length: 9\r\n", b"415"),
        ("/events?x=1", f"Content-Type: {STRUCTURED_TYPE}\r\nContent-Length: 9\r\n", b"400"),
        ("/events", f"Content-Type: {STRUCTURED_TYPE}\r\nContent-Length: 999999\r\n", b"413"),
    ],
)
def test_a_body_is_not_asked_for_that_would_be_refused(
    gateway: GatewayServer, target: str, head: str, status: bytes
) -> None:
    start = f"POST {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {OFFICE}\r\n"
    with connect(gateway) as client:
        client.sendall(f"{start}{head}Expect: 100-continue\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 " + status)


# Lengths


@pytest.mark.parametrize("mode", [STRUCTURED_TYPE, BATCH_TYPE])
def test_a_body_without_a_length_is_cut_at_its_limit(gateway: GatewayServer, mode: str) -> None:
    head = f"Content-Type: {mode}\r\nTransfer-Encoding: chunked\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    assert exchange(gateway, head, chunk * 17).startswith(b"HTTP/1.1 413")
    body = json.dumps(report()).encode()
    body = b"[" + body + b"]" if mode == BATCH_TYPE else body
    whole = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    assert exchange(gateway, head, whole).startswith(b"HTTP/1.1 202")


def test_a_body_that_is_compressed_for_its_transfer_is_refused(gateway: GatewayServer) -> None:
    head = f"Content-Type: {STRUCTURED_TYPE}\r\nTransfer-Encoding: gzip, chunked\r\n"
    assert exchange(gateway, head, b"2\r\n{}\r\n0\r\n\r\n").startswith(b"HTTP/1.1 415")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"2\r\n{}xx\r\n0\r\n\r\n"),
        ("Content-Length: -1\r\n", b"{}"),
        ("Content-Length: x\r\n", b"{}"),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
        ("Content-Length: 1\r\n", b"{}"),
        ("Content-Length: 99999999999999999999\r\n", b"{}"),
    ],
)
def test_a_wrong_length_is_refused(gateway: GatewayServer, sent: SentRecords, head: str, body: bytes) -> None:
    sent.clear()
    answer = exchange(gateway, f"Content-Type: {STRUCTURED_TYPE}\r\n{head}", body)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 413"))
    assert b"\r\nContent-Type: application/problem+json\r\n" in answer
    assert b"aiohttp" not in answer
    assert sent == []
