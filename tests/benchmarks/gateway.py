"""The gateway: single events and batches, its memory, and what a token's flood takes from another."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
import uvloop
from aiokafka import AIOKafkaProducer

from deploy.gateway import create_token
from models.domain.envelope import STRUCTURED_HEADERS
from models.settings import Settings
from streams.gateway.acceptance import CheckedRecord
from streams.gateway.content_modes import Record
from streams.gateway.producer import EventProducer
from streams.kafka.config import aiokafka_options
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.gateway_client import Traffic, TrafficResult, read_result, start_traffic
from tests.benchmarks.options import RunOptions
from tests.helpers.gateway import gateway_process, report

_SECONDS: Final = 5.0
_WARM_UP_SECONDS: Final = 2.0
_BATCH_EVENTS: Final = 100
_BATCH_CONNECTIONS: Final = 8
_SINGLE_CONNECTIONS: Final = 32
#: The victim sends on so many connections; a flood has a rate, and never waits.
_VICTIM_CONNECTIONS, _FLOOD_RATE = 8, 100.0
_FLOODS_CONNECTIONS: Final = (64, 400)
_SOURCES: Final = {"victim": "//victim.example", "flood": "//flood.example"}


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Send as fast as it goes."""
    yield from merge_runs(_run(environment, options, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, options: RunOptions, number: int) -> list[Figure]:
    seconds = _SECONDS * options.scale
    with environment.workspace() as place:
        folder = place.folder
        tokens = _write_tokens(folder / "tokens.toml")
        settings = place.settings.model_copy(update={"gateway_tokens": folder / "tokens.toml"})
        with gateway_process(settings, folder) as gateway:
            port, token, source = gateway.client.port, tokens["victim"], _SOURCES["victim"]
            read_result(start_traffic(Traffic(port, token, source, _SINGLE_CONNECTIONS, _WARM_UP_SECONDS)))
            environment.report_progress(f"run {number + 1}: single events")
            process = psutil.Process(gateway.pid)
            used_before = _processor_seconds(process)
            single = read_result(start_traffic(Traffic(port, token, source, _SINGLE_CONNECTIONS, seconds)))
            used = _processor_seconds(process) - used_before
            environment.report_progress(f"run {number + 1}: batches")
            batches = read_result(
                start_traffic(Traffic(port, token, source, _BATCH_CONNECTIONS, seconds, _BATCH_EVENTS))
            )
            environment.report_progress(f"run {number + 1}: the same producer alone")
            alone = uvloop.run(_publish_alone(settings, seconds))
            collected = uvloop.run(_publish_collected(settings, seconds))
            environment.report_progress(f"run {number + 1}: floods")
            victim = Traffic(port, token, source, _VICTIM_CONNECTIONS, seconds)
            calm, beside = list[TrafficResult](), list[TrafficResult]()
            for connections in _FLOODS_CONNECTIONS:
                # One after the other: what else the machine does changes.
                calm.append(read_result(start_traffic(victim)))
                flood = start_traffic(
                    Traffic(port, tokens["flood"], _SOURCES["flood"], connections, seconds + _WARM_UP_SECONDS)
                )
                beside.append(read_result(start_traffic(victim)))
                read_result(flood)
            memory = process.memory_info().rss
        assert not any(result.others for result in (single, batches, *calm, *beside))
    batched = batches.requests_per_second * _BATCH_EVENTS
    title = f"single events, {_SINGLE_CONNECTIONS} connections"
    return [
        Figure(f"{title}: requests/s", "number", [single.requests_per_second], [Target("median", 3000, "least")]),
        Figure(f"{title}: until the answer", "s", single.answers, [Target("p99", 0.060)]),
        Figure(f"{title}: processor time of the gateway for a request", "s", [used / len(single.answers)]),
        Figure(f"batches of {_BATCH_EVENTS}: events/s", "number", [batched]),
        Figure("aiokafka's producer with nothing before it: events/s", "number", [alone]),
        Figure("the gateway's, which collects by partition, with nothing before it: events/s", "number", [collected]),
        Figure(
            "batches, of what aiokafka's producer reaches", "ratio", [batched / alone], [Target("median", 0.6, "least")]
        ),
        *(
            Figure(
                f"requests/s of a token while another floods on {connections} connections, of those without",
                "ratio",
                [flooded.requests_per_second / before.requests_per_second],
                [Target("median", 2 / 3, "least")],
            )
            for connections, before, flooded in zip(_FLOODS_CONNECTIONS, calm, beside, strict=True)
        ),
        Figure("memory of the gateway", "bytes", [memory], [Target("most", 150_000_000)]),
    ]


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _write_tokens(path: Path) -> dict[str, str]:
    """Write the file of tokens; return each by its name."""
    made = {
        name: create_token(name, [source], [], _FLOOD_RATE if name == "flood" else None)
        for name, source in _SOURCES.items()
    }
    path.write_text("\n".join(line for _, block in made.values() for line in block), encoding="utf-8")
    return {name: token for name, (token, _) in made.items()}


def _records() -> list[CheckedRecord]:
    """Return a batch as the gateway would publish it."""
    records = []
    for number in range(_BATCH_EVENTS):
        event = report(str(number), subject=f"programme-{number % 50}/project-{number % 7}")
        event["data"] = event["data"] | {"remark": "r" * 150}
        record = Record(STRUCTURED_HEADERS, json.dumps(event).encode())
        records.append(CheckedRecord(f"programme-{number % 50}", record))
    return records


async def _publish_alone(settings: Settings, seconds: float) -> float:
    """Publish batches with the library's own `send`; return how many events a second it came to."""
    producer = AIOKafkaProducer(
        **aiokafka_options(settings),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        linger_ms=2,
        max_batch_size=256 * 1024,
    )

    async def publish(records: Sequence[CheckedRecord]) -> None:
        sent = [
            await producer.send(settings.events_topic, value, programme.encode(), headers=list(headers))
            for programme, (headers, value) in records
        ]
        await asyncio.gather(*sent)

    await producer.start()
    try:
        return await _publish_again_and_again(publish, seconds)
    finally:
        await producer.stop()


async def _publish_collected(settings: Settings, seconds: float) -> float:
    """Publish batches with the gateway's own producer; return how many events a second it came to."""
    producer = EventProducer(aiokafka_options(settings), settings.events_topic)
    await producer.start()
    try:
        return await _publish_again_and_again(producer.publish, seconds)
    finally:
        await producer.stop()


async def _publish_again_and_again(
    publish: Callable[[Sequence[CheckedRecord]], Awaitable[None]], seconds: float
) -> float:
    records, sent = _records(), 0
    began = time.monotonic()

    async def run() -> None:
        nonlocal sent
        while time.monotonic() < began + seconds:
            await publish(records)
            sent += len(records)

    await asyncio.gather(*(run() for _ in range(_BATCH_CONNECTIONS)))
    return sent / (time.monotonic() - began)
