"""A client of the gateway for benchmarks, as a process of its own: `python -m tests.benchmarks.gateway_client JSON`.

It sends requests on some connections for some seconds, each as soon as the one before is answered, and prints what came
of them as JSON.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any, NamedTuple

import uvloop

from streams.gateway.content_modes import BATCH_TYPE, STRUCTURED_TYPE


class Traffic(NamedTuple):
    """What is sent."""

    port: int
    token: str
    source: str
    connections: int
    seconds: float
    #: Events of a request; one alone goes in structured mode.
    events: int = 1


class TrafficResult(NamedTuple):
    """What came of it: the seconds to each answer that says that all is accepted, and how many others there were."""

    answers: list[float]
    others: dict[str, int]
    seconds: float

    @property
    def requests_per_second(self) -> float:
        """How many requests a second were accepted."""
        return len(self.answers) / self.seconds


class RunningTraffic(NamedTuple):
    """A process that sends, and the file of its output: an event loop leaves a pipe as one that does not wait."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]


def start_traffic(traffic: Traffic) -> RunningTraffic:
    """Start a process that sends."""
    output = tempfile.TemporaryFile()  # noqa: SIM115 - read and closed at the end of the process
    command = [sys.executable, "-m", "tests.benchmarks.gateway_client", json.dumps(traffic)]
    return RunningTraffic(subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=output), output)


def read_result(running: RunningTraffic) -> TrafficResult:
    """Wait for the end of a process that sends; return what came of it."""
    assert running.process.wait(120) == 0
    with running.output as output:
        output.seek(0)
        return TrafficResult(*json.load(output))


class _Sender:
    def __init__(self, traffic: Traffic) -> None:
        self._traffic, self._number = traffic, 0
        self.answers: list[float] = []
        self.others: Counter[str] = Counter()
        self._ends = time.monotonic() + traffic.seconds

    def _event(self) -> dict[str, Any]:
        self._number += 1
        return {
            "specversion": "1.0",
            "id": f"{os.getpid()}-{self._number}",
            "source": self._traffic.source,
            "type": "milepost.milestone.reported.v1",
            "subject": f"programme-{self._number % 50}/project-{self._number % 7}",
            "time": "2026-11-01T09:00:00Z",
            "data": {
                "milestone": "permit-approved",
                "classifier": "PLN",
                "date": "2027-01-15",
                "remark": "r" * 150,
            },
        }

    def _request(self) -> bytes:
        if self._traffic.events == 1:
            media_type, body = STRUCTURED_TYPE, json.dumps(self._event()).encode()
        else:
            media_type, body = BATCH_TYPE, json.dumps([self._event() for _ in range(self._traffic.events)]).encode()
        lines = [
            "POST /events HTTP/1.1",
            "Host: gateway.example",
            f"Authorization: Bearer {self._traffic.token}",
            f"Content-Type: {media_type}",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def send_again_and_again(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._traffic.port)
        while time.monotonic() < self._ends:
            request = self._request()
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            status = head[9:12].decode()
            if status == "202":
                self.answers.append(time.perf_counter() - began)
            else:
                self.others[status] += 1
        writer.close()


async def _main(traffic: Traffic) -> TrafficResult:
    sender = _Sender(traffic)
    began = time.monotonic()
    await asyncio.gather(*(sender.send_again_and_again() for _ in range(traffic.connections)))
    return TrafficResult(sender.answers, dict(sender.others), time.monotonic() - began)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(_main(Traffic(*json.loads(sys.argv[1]))))))
