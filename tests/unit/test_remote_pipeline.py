"""The state of the pipeline over HTTP: bounded in time and size, and rarely asked for, whatever answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Final, ParamSpec

import pytest
from prometheus_client import generate_latest

from streams.metrics.pipeline import Metrics
from streams.web import remote_pipeline
from streams.web.pipeline_status import PipelineCounts, PipelineStatus
from streams.web.remote_pipeline import HttpPipelineReader

READY: Final = b'{"ok": true, "reasons": {}}'
#: What may pass besides the wait for answers, on a machine that is busy with other tests.
SLOW_MACHINE_SECONDS: Final = 10

P = ParamSpec("P")
Respond = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def in_an_event_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run a test that is a coroutine."""

    @wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        async def run_test() -> None:
            await test(*arguments, **named)

        asyncio.run(run_test())

    return run


class FakeWorker:
    """An address at which anything may answer."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.address, self.paths = "", list[str]()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer request after request."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ")[1].decode()
                self.paths.append(path)
                await self._respond(path, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def fake_worker(respond: Respond) -> AsyncIterator[FakeWorker]:
    """Serve an address until the block ends."""
    worker = FakeWorker(respond)
    server = await asyncio.start_server(worker.handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    worker.address = f"{host}:{port}"
    try:
        yield worker
    finally:
        server.close()


def answering(pages: Mapping[str, tuple[int, bytes]]) -> Respond:
    """Answer each path with a status and a body, and others as a healthy worker does."""

    async def respond(path: str, writer: asyncio.StreamWriter) -> None:
        status, body = pages.get(path, (200, READY))
        writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    return respond


def metrics_page(metrics: Metrics) -> bytes:
    return generate_latest(metrics.registry)


async def read_status(*workers: str) -> PipelineStatus:
    status = (await HttpPipelineReader(workers).read()).pipeline
    assert status is not None
    return status


@in_an_event_loop
async def test_without_workers_one_sentence_says_that_nothing_is_known() -> None:
    schema = await HttpPipelineReader(()).read()

    assert schema.pipeline is None
    assert schema.pipeline_error is not None
    assert "MILEPOST_WORKERS names no worker" in schema.pipeline_error


@in_an_event_loop
async def test_what_two_workers_say_is_one_status() -> None:
    one, two = Metrics("0"), Metrics("0")
    for metrics, position in ((one, 5), (two, 7)):
        metrics.position.labels("events", "0").set(position)
        metrics.log_end.labels("events", "0").set(9)
        metrics.lag_seconds.labels("events", "0").set(9 - position)
    one.rejected.labels("malformed").inc(2)
    two.set_dead_letters_waiting({"malformed": 4})
    two.rejected.labels("malformed").inc(3)
    one.count_source_events("office", "accepted", 40)
    two.count_source_events("office", "rejected", 70)
    one.source_seen("office", 1_790_000_000)
    two.source_seen("office", 1_790_000_100)
    not_ready = b'{"ok": false, "reasons": {"kafka": "does not answer"}}'
    async with (
        fake_worker(answering({"/metrics": (200, metrics_page(one)), "/ready": (503, not_ready)})) as first,
        fake_worker(answering({"/metrics": (200, metrics_page(two))})) as second,
    ):
        status = await read_status(first.address, second.address)

        assert status.reasons == {f"{first.address} kafka": "does not answer"}
    assert [(row.partition, row.position, row.log_end, row.lag_seconds) for row in status.partitions] == [(0, 7, 9, 2)]
    assert status.rejected == {"malformed": 5}
    assert status.waiting == {"malformed": 4}
    assert [(row.source, row.last_event_seconds, row.is_flooding) for row in status.sources] == [
        ("office", 1_790_000_100, True)
    ]
    assert status.events == {"accepted": 0, "duplicate": 0, "rejected": 0}


@in_an_event_loop
async def test_a_worker_that_is_away_is_named_and_the_others_count() -> None:
    metrics = Metrics("0")
    metrics.rejected.labels("malformed").inc(2)
    async with fake_worker(answering({"/metrics": (200, metrics_page(metrics))})) as worker:
        status = await read_status("127.0.0.1:1", worker.address)

    assert status.reasons == {"127.0.0.1:1": "does not answer"}
    assert status.rejected == {"malformed": 2}


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: Mapping[str, list[str]]) -> None:
    """Let names stand for addresses, as a name server would say."""
    system = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self: asyncio.BaseEventLoop, host: str, port: int, **options: Any) -> Any:  # noqa: ANN401 - as in asyncio
        found = [await system(self, address, port, **options) for address in addresses.get(host, [host])]
        return [entry for entries in found for entry in entries]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)


@in_an_event_loop
async def test_a_name_that_stands_for_several_addresses_is_a_worker_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics("0")
    metrics.rejected.labels("malformed").inc(2)
    resolve(monkeypatch, {"workers.example": ["127.0.0.1", "127.0.0.2", "127.0.0.2", "::1"], "other": ["127.0.0.1"]})
    async with fake_worker(answering({"/metrics": (200, metrics_page(metrics))})) as worker:
        port = worker.address.rpartition(":")[2]
        schema = await HttpPipelineReader([f"workers.example:{port}", worker.address]).read()

    # One address of one family: the loopback's IPv6 address would be a worker of its own.
    assert schema.workers == [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]
    assert schema.pipeline is not None
    assert schema.pipeline.rejected == {"malformed": 2}
    assert schema.pipeline.reasons == {f"127.0.0.2:{port}": "does not answer"}


@in_an_event_loop
async def test_a_bounded_number_of_workers_is_asked_and_the_page_says_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_pipeline, "MAX_WORKERS", 2)
    resolve(monkeypatch, {"workers.example": ["127.0.0.2", "127.0.0.3", "127.0.0.4"]})
    async with fake_worker(answering({})) as worker:
        schema = await HttpPipelineReader([f"workers.example:{worker.address.rpartition(':')[2]}"]).read()

    assert schema.pipeline is not None
    assert len(schema.workers) == 2
    assert schema.pipeline.reasons["MILEPOST_WORKERS"] == "only 2 of 3 workers are asked"


@in_an_event_loop
async def test_workers_are_asked_once_however_often_the_page_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_worker(answering({"/metrics": (200, metrics_page(Metrics("0")))})) as worker:
        reader = HttpPipelineReader([worker.address])
        await asyncio.gather(*(reader.read() for _ in range(50)))
        await reader.read()

        assert sorted(worker.paths) == ["/live", "/metrics", "/ready"]
        monkeypatch.setattr(remote_pipeline, "CACHE_SECONDS", 0.0)
        expired = HttpPipelineReader([worker.address])
        await expired.read()
        await expired.read()
        assert len(worker.paths) == 9


async def _never(_path: str, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _endless_header(_path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 x\r\n")
    while True:
        writer.write(b"a: b\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def _slow_body(_path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 x\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless_body(path: str, writer: asyncio.StreamWriter) -> None:
    if path != "/metrics":
        await answering({})(path, writer)
        return
    writer.write(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"# " + b"x" * 0xFFFD + b"\n\r\n")
        await writer.drain()


async def _reset(_path: str, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (_never, "does not answer"),
        (_endless_header, "does not answer"),
        (_slow_body, "does not answer"),
        (_endless_body, "answers with more than 4096 KiB"),
        (_reset, "does not answer"),
        (answering({"/ready": (200, b"x" * 100_000)}), "answers with more than 64 KiB"),
        (answering({"/ready": (200, b"{}")}), "does not answer as a worker does"),
        (answering({"/ready": (200, b"\xff")}), "does not answer as a worker does"),
        (answering({"/metrics": (404, b"")}), "answers with status 404"),
        (answering({"/live": (302, b"")}), "answers with status 302"),
        (answering({"/metrics": (200, b"<html>")}), "does not answer as a worker does"),
        (answering({"/metrics": (200, b"\xff")}), "does not answer as a worker does"),
        (answering({"/metrics": (200, b"x{" + b"a" * 3_000_000)}), "does not answer as a worker does"),
        (answering({"/metrics": (200, b"milepost_position 5\n")}), "does not answer as a worker does"),
        (
            answering({"/metrics": (200, b'milepost_position{topic="a",partition="0"} NaN\n')}),
            "does not answer as a worker does",
        ),
        (
            answering(
                {"/metrics": (200, b'milepost_source_last_event_timestamp_seconds{source="a"} 1e300\n')},
            ),
            "does not answer as a worker does",
        ),
    ],
)
@in_an_event_loop
async def test_whatever_answers_is_bounded_and_a_reason(
    respond: Respond, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What answers at all has its time, on a busy machine too.
    if respond in {_never, _endless_header, _slow_body}:
        monkeypatch.setattr(remote_pipeline, "ANSWER_SECONDS", 0.5)
    async with fake_worker(respond) as worker, asyncio.timeout(remote_pipeline.ANSWER_SECONDS + SLOW_MACHINE_SECONDS):
        assert (await read_status(worker.address)).reasons == {worker.address: reason}


@in_an_event_loop
async def test_reasons_are_few_short_and_printable() -> None:
    many = ",".join(f'"\\u001b{number}": "{"x" * 1000}"' for number in range(50))
    ready = (503, f'{{"ok": false, "reasons": {{{many}}}}}'.encode())
    async with fake_worker(answering({"/ready": ready, "/metrics": (200, metrics_page(Metrics("0")))})) as worker:
        reasons = (await read_status(worker.address)).reasons

    assert len(reasons) == remote_pipeline.MAX_REASONS
    assert all(name.isprintable() and len(reason) <= 300 for name, reason in reasons.items())


def test_dead_letters_that_two_workers_count_while_a_partition_moves_do_not_add_up() -> None:
    both = PipelineCounts(waiting={"malformed": 3})
    both.add(PipelineCounts(waiting={"malformed": 2, "invalid-data": 1}))
    both.add(PipelineCounts())

    assert both.to_status({}).waiting == {"malformed": 3, "invalid-data": 1}
    assert PipelineCounts().to_status({}).waiting is None
