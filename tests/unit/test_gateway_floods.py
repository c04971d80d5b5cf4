"""Clients of the gateway that send slowly, too much, or too often: a good one gets in, in time."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Final

import pytest

from streams.gateway.bodies import BodyReader
from streams.gateway.content_modes import BATCH_TYPE, STRUCTURED_TYPE
from streams.gateway.tokens import TokenTable, parse_tokens
from streams.web import connections, small_chunks
from tests.helpers.gateway import (
    OTHER,
    START,
    TOKENS,
    SentRecords,
    connect,
    padded,
    refused,
    report,
    running_endpoint,
)
from tests.helpers.workers import wait_until

KIB: Final = 1024


def limited(rate: int) -> TokenTable:
    """Return the table of tokens with a rate for the office's."""
    return parse_tokens(TOKENS.replace('programmes = ["*"]', f'programmes = ["*"]\nrate = {rate}'))


# Too often


def test_a_token_above_its_rate_is_told_when_to_come_back() -> None:
    with running_endpoint(SentRecords(), tokens=limited(2)) as here:
        assert here.post_batch([report(str(number)) for number in range(5)]).status == 202
        response = here.post_structured(report())
        assert (response.status, refused(response)) == (429, [])
        assert 1 <= int(response.headers["Retry-After"]) <= 3
        assert here.post_structured(report(source="//other.example/a"), token=OTHER).status == 202
        assert here.count("requests_total", "office", outcome="rate-limited") == 1
        time.sleep(int(response.headers["Retry-After"]))
        assert here.post_structured(report()).status == 202


def test_however_many_connections_a_flood_has_its_answers_are_held_back_and_another_token_is_answered() -> None:
    body = json.dumps(report()).encode()
    request = f"{START}Content-Type: {STRUCTURED_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with running_endpoint(SentRecords(), tokens=limited(1)) as here, ExitStack() as closing:
        assert here.post_batch([report(str(number)) for number in range(100)]).status == 202
        clients = [closing.enter_context(connect(here)) for _ in range(400)]
        sent_at = []
        for client in clients:
            sent_at.append(time.monotonic())
            client.sendall(request)
        assert here.post_structured(report(source="//other.example/a"), token=OTHER).status == 202
        for client, began in zip(clients, sent_at, strict=True):
            assert client.recv(4096).startswith(b"HTTP/1.1 429")
            assert time.monotonic() - began >= 0.5
        # At most 200 such answers are due in a second.
        assert time.monotonic() - sent_at[0] >= 1.9


def test_what_a_held_back_client_sends_is_not_kept(sent: SentRecords) -> None:
    head = f"{START}Content-Type: {BATCH_TYPE}\r\nContent-Length: {900 * KIB}\r\n\r\n".encode()
    bodies = BodyReader(max_held_bytes=1 * KIB)
    with running_endpoint(sent, tokens=limited(1), bodies=bodies) as here:
        assert here.post_structured(report()).status == 202
        with connect(here) as client:
            client.sendall(head + b" " * 900 * KIB)
            assert client.recv(4096).startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Type": BATCH_TYPE}])
def test_requests_without_events_count_against_the_rate(headers: dict[str, str]) -> None:
    with running_endpoint(SentRecords(), tokens=limited(2)) as here:
        statuses = [here.post(b"", headers).status for _ in range(3)]
    assert statuses[0] in {400, 415}
    assert statuses == [statuses[0], statuses[0], 429]


# Too slowly


def test_neither_a_slow_body_nor_a_slow_kafka_is_taken_for_a_slow_head(monkeypatch: pytest.MonkeyPatch) -> None:
    async def publish(_: object) -> None:
        await asyncio.sleep(2.5)

    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    body = json.dumps(report()).encode()
    with running_endpoint(publish) as here, connect(here) as client:
        client.sendall(f"{START}Content-Type: {STRUCTURED_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 32):
            time.sleep(0.25)
            client.sendall(body[start : start + 32])
        assert client.recv(4096).startswith(b"HTTP/1.1 202")
        assert here.count("http_errors_total", kind="deadline") == 0


def test_a_body_that_arrives_slowly_is_taken_and_one_that_does_not_arrive_is_refused(sent: SentRecords) -> None:
    sent.clear()
    body = json.dumps(report()).encode()
    head = f"{START}Content-Type: {STRUCTURED_TYPE}\r\n"
    with running_endpoint(sent, bodies=BodyReader(seconds=1.5)) as here:
        with connect(here) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            for start in range(0, len(body), 64):
                time.sleep(0.05)
                client.sendall(body[start : start + 64])
            assert client.recv(4096).startswith(b"HTTP/1.1 202")
        with connect(here) as client:
            client.sendall(f"{head}Content-Length: {len(body) + 1}\r\n\r\n".encode() + body)
            assert client.recv(4096).startswith(b"HTTP/1.1 408")
        with connect(here) as client:
            client.sendall(f"{head}Content-Length: {len(body) + 1}\r\n\r\n".encode() + body)
        wait_until(lambda: here.count("http_errors_total", kind="client-gone") > 0, "a client that went is counted")
        assert here.count("http_errors_total", kind="client-gone") == 1
    assert len(sent) == 1


def test_bodies_that_fill_the_room_give_way_and_a_good_client_gets_in(sent: SentRecords) -> None:
    head = f"{START}Content-Type: {BATCH_TYPE}\r\n"
    with running_endpoint(sent, bodies=BodyReader(max_held_bytes=2 * KIB * KIB)) as here, ExitStack() as closing:
        clients = [closing.enter_context(connect(here)) for _ in range(6)]
        for client in clients:
            client.sendall(f"{head}Content-Length: {900 * KIB}\r\n\r\n".encode() + b" " * 800 * KIB)
        assert here.post_batch([padded(200 * KIB)] * 4).status == 202
        assert clients[0].recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "part",
    [
        "",
        "POST /events HTTP/1.1\r\n",
        f"{START}Content-Type: {STRUCTURED_TYPE}\r\nContent-Length: 99\r\n\r\n{{",
    ],
)
def test_1500_half_sent_requests_do_not_keep_a_good_client_out(sent: SentRecords, part: str) -> None:
    with running_endpoint(sent, max_connections=100) as here, ExitStack() as closing:
        for number in range(1500):
            client = closing.enter_context(connect(here))
            client.sendall(part.encode())
            if number % 100 == 0:
                assert here.post_structured(report()).status == 202
        began = time.monotonic()
        for _ in range(10):
            assert here.post_structured(report()).status == 202
        assert time.monotonic() - began < 5


# In small pieces


CHUNKED: Final = f"{START}Content-Type: {STRUCTURED_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def chunked(body: bytes, size: int) -> bytes:
    """Return a body in chunks of a size, with its end."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [64, 4096, 100_000])
def test_a_large_body_in_chunks_of_a_usual_size_is_taken(sent: SentRecords, size: int) -> None:
    body = json.dumps(padded(250 * KIB)).encode()
    with running_endpoint(sent) as here, connect(here) as client:
        client.sendall(CHUNKED + chunked(body, size))
        assert client.recv(4096).startswith(b"HTTP/1.1 202")


def test_an_event_of_a_usual_size_is_taken_with_a_chunk_for_each_byte(sent: SentRecords) -> None:
    body = json.dumps(report()).encode()
    with running_endpoint(sent) as here, connect(here) as client:
        for _ in range(2):
            client.sendall(CHUNKED + chunked(body, 1))
            assert client.recv(4096).startswith(b"HTTP/1.1 202")


def test_a_body_in_tiny_chunks_is_refused_before_it_is_read_and_the_answer_is_held_back(sent: SentRecords) -> None:
    sent.clear()
    with running_endpoint(sent) as here, connect(here) as client:
        began = time.monotonic()
        client.sendall(CHUNKED + chunked(b" " * 8 * KIB, 1))
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"chunks that are too small" in answer
        assert b"Connection: close" in answer
        assert time.monotonic() - began >= 0.5
        assert here.count("requests_total", "office", outcome="refused") == 1
    assert sent == []


def test_reads_of_single_bytes_are_collected_into_few(sent: SentRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    received = connections.Connection.data_received

    def count_read(connection: connections.Connection, data: bytes) -> None:
        reads.append(len(data))
        received(connection, data)

    monkeypatch.setattr(connections.Connection, "data_received", count_read)
    body = json.dumps(report()).encode()
    with running_endpoint(sent) as here, connect(here) as client:
        began = time.monotonic()
        client.sendall(f"{START}Content-Type: {STRUCTURED_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for number in range(len(body)):
            client.sendall(body[number : number + 1])
            time.sleep(0.004)
        assert client.recv(4096).startswith(b"HTTP/1.1 202")
        seconds = time.monotonic() - began
    # Those that are free, then two reads a second.
    expected = small_chunks.FREE_SMALL_READS + seconds / small_chunks.READ_DELAY_SECONDS + 3
    assert len([size for size in reads if size]) <= expected
    assert expected < len(body) / 2


@pytest.mark.timing
def test_a_crowd_that_sends_a_byte_a_chunk_does_not_keep_a_good_client_waiting(sent: SentRecords) -> None:
    crowd = (
        "import asyncio, sys\n"
        "head, part = sys.argv[2].encode(), b'1\\r\\n \\r\\n' * 1000\n"
        "begun, all_begun = set(), asyncio.Event()\n"
        "async def stand(number):\n"
        "    while True:\n"
        "        try:\n"
        "            reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))\n"
        "            writer.write(head)\n"
        "            while not reader.at_eof():\n"
        "                writer.write(part)\n"
        "                await writer.drain()\n"
        "                begun.add(number)\n"
        "                if len(begun) == 600:\n"
        "                    all_begun.set()\n"
        "                await asyncio.sleep(0.1)\n"
        "            writer.close()\n"
        "        except OSError:\n"
        "            await asyncio.sleep(0.05)\n"
        "async def main():\n"
        "    standing = [asyncio.ensure_future(stand(number)) for number in range(600)]\n"
        "    await all_begun.wait()\n"
        "    print('standing', flush=True)\n"
        "    await asyncio.gather(*standing)\n"
        "asyncio.run(main())\n"
    )
    with running_endpoint(sent) as here:
        command = [sys.executable, "-c", crowd, f"{here.port}", CHUNKED.decode()]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"standing\n"
                waits = []
                for _ in range(100):
                    began = time.monotonic()
                    assert here.post_structured(report(source="//other.example/a"), token=OTHER).status == 202
                    waits.append(time.monotonic() - began)
            finally:
                process.kill()
    assert sorted(waits)[98] < 5
