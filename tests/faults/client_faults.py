"""Faults of who looks: crowds of connections that send half a request, do not read, or ask for ever other things."""

import asyncio
import random
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from functools import partial
from http import HTTPStatus
from typing import Final

from tests.faults.fault import Fault
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.workers import WorkerProcess

_CONNECTIONS: Final = 1500
#: How long a crowd stays, and how long each of its connections does before another takes its place.
_CROWD_SECONDS, _CONNECTION_SECONDS = 12.0, 6.0
#: Linux's usual limit of open files.
_WORKER_FILES: Final = 1024
_MAX_LIVE_SECONDS: Final = 1.0
#: Of the events that are recorded while a crowd stands there, this share is committed within a second.
_MIN_IN_TIME: Final = 0.99
#: Clients that ask for any past, and what they ask for of a programme.
_READERS: Final = 200
_PAGES: Final = ("", "/trend")
_DELAY: Final = "milepost_event_delay_seconds"

#: Returns what a connection sends first.
Request = Callable[[random.Random], bytes]


def _get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def _random_page(rng: random.Random) -> bytes:
    path = rng.choice(["/", "/api/programmes", "/programmes/programme-1", "/api/programmes/programme-1/milestones"])
    return _get(f"{path}?{rng.choice(['offset', 'x'])}={rng.randrange(10**9)}")


_REQUESTS: Final[Mapping[str, Request]] = {
    "half a head": lambda _: b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "silence": lambda _: b"",
    "scrapes not read": lambda _: _get("/metrics/milestones"),
    "pages not read": lambda _: _get("/programmes/programme-1"),
    "streams not read": lambda _: _get("/api/stream"),
    "random queries": _random_page,
    "a body in chunks of a byte": lambda _: _get("/", "Transfer-Encoding: chunked\r\n") + b"1\r\n \r\n" * 20_000,
    "a body without end": lambda _: _get("/", "Content-Length: 1000000\r\n"),
}


@contextmanager
def _crowd(port: int, request: Request, seed: int) -> Iterator[None]:
    """Keep connections open that read nothing, each for a few seconds, then another in its place."""
    ending = threading.Event()

    async def connect_again_and_again(rng: random.Random) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(rng.uniform(0, _CROWD_SECONDS / 6))
        while not ending.is_set():
            with socket.socket() as connection, suppress(OSError):
                connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await loop.sock_connect(connection, ("127.0.0.1", port))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CONNECTION_SECONDS / 2):
                        await loop.sock_sendall(connection, request(rng))
                await asyncio.sleep(rng.uniform(0, 2 * _CONNECTION_SECONDS))
            await asyncio.sleep(0.1)

    async def run() -> None:
        crowd = [asyncio.ensure_future(connect_again_and_again(random.Random(seed + n))) for n in range(_CONNECTIONS)]  # noqa: S311 - no secret
        while not ending.is_set():  # noqa: ASYNC110 - the event is another thread's
            await asyncio.sleep(0.1)
        for connecting in crowd:
            connecting.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=[run()], daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _random_picture(rng: random.Random) -> str:
    day, other = (date(1990, 1, 1) + timedelta(rng.randrange(40_000)) for _ in range(2))
    path = rng.choice(["/", "/api/programmes", *(f"/programmes/programme-{n}{end}" for n in (1, 2) for end in _PAGES)])
    names = rng.choice([["day"], ["as_of"], ["compare"], ["day", "as_of"], ["day", "as_of", "compare"]])
    time_of_day = f"T{rng.randrange(24):02}:{rng.randrange(60):02}:00.{rng.randrange(10**6)}Z"
    values = {"day": f"{day}", "as_of": f"{_random_past_day(rng)}{time_of_day}", "compare": f"{other}"}
    return f"{path}?{'&'.join(f'{name}={values[name]}' for name in names)}"


def _random_past_day(rng: random.Random) -> date:
    """Return a day on which the load's events are stamped, or one near them."""
    return date(2025, 1, 1) + timedelta(rng.randrange(1000))


@contextmanager
def _readers(port: int, seed: int) -> Iterator[Counter[int]]:
    """Let clients ask for pictures of random days, each again and again; count the answers by status."""
    statuses, ending = Counter[int](), threading.Event()

    async def ask_again_and_again(rng: random.Random) -> None:
        while not ending.is_set():
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(_get(_random_picture(rng), "Connection: close\r\n"))
                head = await reader.readline()
                while await reader.read(1 << 16):
                    pass
                writer.close()
                statuses[int(head.split()[1])] += 1

    async def run() -> None:
        await asyncio.gather(*(ask_again_and_again(random.Random(seed + n)) for n in range(_READERS)))  # noqa: S311 - no secret

    thread = threading.Thread(target=asyncio.run, args=[run()], daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        ending.set()
        thread.join()


def ask_for_any_past(scenario: Scenario) -> float:
    """Let clients ask for pictures of ever other days; recording goes on as if nobody asked."""
    worker = scenario.workers[0]
    count, in_time = _delays(worker)
    with _readers(worker.port, scenario.rng.randrange(10**9)) as statuses:
        time.sleep(_CROWD_SECONDS)
        new_count, new_in_time = _delays(worker)
    _require_in_time(new_count - count, new_in_time - in_time)
    allowed = {HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}
    assert statuses.keys() <= allowed, statuses
    assert statuses[HTTPStatus.OK] > _CROWD_SECONDS, statuses
    return measure_recovery(scenario)


def _require_in_time(count: float, in_time: float) -> None:
    """Fail unless nearly all of so many recorded events were committed within a second."""
    assert count, "events are recorded"
    assert in_time / count >= _MIN_IN_TIME, (
        f"{in_time / count:.1%} of {count:.0f} events were committed within a second"
    )


def _delays(worker: WorkerProcess) -> tuple[float, float]:
    """Return how many events were recorded, and how many of them within a second."""
    page = worker.scrape("/metrics")
    return page.value(f"{_DELAY}_count") or 0.0, page.value(f"{_DELAY}_bucket", le="1.0") or 0.0


def crowd_the_board(sort: str, scenario: Scenario) -> float:
    """Let a crowd stand on the board's listener; recording and probes go on as if nobody looked."""
    worker = scenario.workers[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (_WORKER_FILES, _WORKER_FILES))
    slowest = 0.0
    try:
        count, in_time = _delays(worker)
        with _crowd(worker.port, _REQUESTS[sort], scenario.rng.randrange(10**9)):
            ends = time.monotonic() + _CROWD_SECONDS
            while (asked := time.monotonic()) < ends:
                status, text = worker.get("/live")
                assert status == HTTPStatus.OK, f"/live: {status} {text}"
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.1)
            new_count, new_in_time = _delays(worker)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert slowest < _MAX_LIVE_SECONDS, f"/live took {slowest:.2f} s"
    _require_in_time(new_count - count, new_in_time - in_time)
    return measure_recovery(scenario)


FAULTS: Mapping[str, Fault] = {
    **{f"1,500 connections: {sort}": Fault(partial(crowd_the_board, sort)) for sort in _REQUESTS},
    f"{_READERS} clients ask for any past": Fault(ask_for_any_past),
}
