"""Workers for tests: as processes, as they are run, or inside the test, to look into them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from deploy import child_process
from models.database.engine import dispose_engine, make_engine
from models.database.recorder import Recorder
from models.errors import MilepostError
from models.settings import Settings
from streams.app import WorkerComponents, create_app
from streams.worker import RootService
from tests.helpers.event_generators import Headers, structured_record
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import count_events

#: How long a condition may take to come true on a machine that is busy with other tests.
TIMEOUT_SECONDS = 60.0

Labels = dict[str, str]


def wait_until(condition: Callable[[], bool], description: str, timeout: float = TIMEOUT_SECONDS) -> float:
    """Wait until something is true; return how long it took. Fails with what was waited for."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout:
            raise AssertionError(f"not within {timeout:.0f} s: {description}")
        time.sleep(0.02)
    return time.monotonic() - began


def free_port() -> int:
    """Return a port that nothing listens on at this moment."""
    return child_process.free_port("127.0.0.1", 0)


def publish(
    settings: Settings, events: Iterable[JsonEvent], *, key_of: Callable[[JsonEvent], bytes | None] | None = None
) -> int:
    """Publish events in structured mode, by default keyed by programme; return how many."""
    keyed = key_of or (lambda event: event["subject"].split("/")[0].encode())
    return publish_records(settings, ((keyed(event), *structured_record(event)) for event in events))


def publish_records(
    settings: Settings, records: Iterable[tuple[bytes | None, Headers, bytes | None]], topic: str | None = None
) -> int:
    """Publish records as they are, by default to the events topic; wait for the broker, and return how many."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka, acks="all", linger_ms=5)
    try:
        sent = [
            producer.send(topic or settings.events_topic, key=key, headers=headers, value=value)
            for key, headers, value in records
        ]
        producer.flush()
        for future in sent:
            future.get(timeout=TIMEOUT_SECONDS)
    finally:
        producer.close()
    return len(sent)


def read_topic(settings: Settings, topic: str) -> list[Any]:
    """Return every record of a topic, from its start to its present end."""
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, group_id=None, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        records: list[Any] = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=500).values():
                records.extend(batch)
        return records
    finally:
        consumer.close()


class MetricsPage:
    """A scraped page, read by the library's own parser."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples that have these labels, or None when there are none."""
        values = [
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None

    def labels(self, name: str) -> list[Labels]:
        """Return the label sets of a metric."""
        return [labels for labels, _ in self.series(name)]

    def series(self, name: str) -> list[tuple[Labels, float]]:
        """Return the label sets of a metric, each with its value."""
        return [(dict(sample.labels), sample.value) for sample in self._samples if sample.name == name]


class WorkerProcess:
    """`milepost worker`, or `milepost board`, as a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
        self.process, self.port, self._log_path = process, port, log_path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def log_text(self) -> str:
        """Its log so far."""
        return self._log_path.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a page; status 0 when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def scrape(self, path: str = "/metrics") -> MetricsPage:
        """Return a page of metrics."""
        return MetricsPage(self.get(path)[1])

    def wait_until_ready(self, timeout: float = TIMEOUT_SECONDS) -> float:
        """Wait until `/ready` says so; return how long it took."""

        def ready() -> bool:
            assert self.process.poll() is None, f"the process ended with {self.process.returncode}:\n{self.log_text}"
            return self.get("/ready")[0] == 200

        return wait_until(ready, "the process is ready", timeout)

    def stop(self, signal_number: int = signal.SIGTERM) -> float:
        """Signal it and wait for its end; return how long that took."""
        began = time.monotonic()
        self.process.send_signal(signal_number)
        self.process.wait(TIMEOUT_SECONDS)
        return time.monotonic() - began


@contextmanager
def worker_process(settings: Settings, folder: Path, **environment: str) -> Iterator[WorkerProcess]:
    """Run a worker process in a folder until the block ends."""
    program = "from deploy.cli.app import main; main()"
    with _serving_process("worker", program, settings, folder, environment) as worker:
        yield worker


@contextmanager
def board_process(database: str, folder: Path, **environment: str) -> Iterator[WorkerProcess]:
    """Run `milepost board` in a folder until the block ends; it ends at once where it loads a Kafka client or Faust."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['faust', 'aiokafka', 'kafka']));"
        " from deploy.cli.app import main; main()"
    )
    with _serving_process("board", program, Settings(database=database), folder, environment) as board:
        yield board


@contextmanager
def _serving_process(
    command: str, program: str, settings: Settings, folder: Path, environment: Mapping[str, str]
) -> Iterator[WorkerProcess]:
    port = free_port()
    log = folder / f"{command}-{port}.log"
    variables = process_environment(settings) | {"MILEPOST_WEB": f"127.0.0.1:{port}", **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", program, command],
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        worker = WorkerProcess(process, port, log)
        try:
            yield worker
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def process_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings, and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    return inherited | settings_environment(settings)


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that say these settings, secrets included."""
    fields = settings.model_dump(mode="json", exclude_defaults=True)
    fields |= {name: value.get_secret_value() for name, value in settings if isinstance(value, SecretStr)}
    return {
        f"MILEPOST_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    }


@asynccontextmanager
async def running_app(settings: Settings, recorder: Recorder | None = None) -> AsyncIterator[WorkerComponents]:
    """Run the application inside the test until the block ends; ready when it begins."""
    own = Recorder(make_engine(settings.database)) if recorder is None else recorder
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    refusals: list[MilepostError] = []
    milepost = create_app(settings, own, [listening], refusals.append)
    root = RootService([*milepost.services, milepost.app])
    starting = asyncio.ensure_future(root.start())
    try:
        await wait_until_async(
            lambda: not milepost.health.readiness_problems() or bool(root.crash_reason), "the application is ready"
        )
        assert root.crash_reason is None, root.crash_reason
        yield milepost
    finally:
        await starting
        await root.stop()
        listening.close()
        dispose_engine(own.engine)


async def wait_until_async(condition: Callable[[], bool], description: str, deadline: float = TIMEOUT_SECONDS) -> None:
    """Wait, inside a loop, until something is true."""
    async with asyncio.timeout(deadline) as bound:
        while not condition():  # noqa: ASYNC110 - conditions of every kind, few of them an event's
            await asyncio.sleep(0.01)
    assert not bound.expired(), description


def count_recorded_events(recorder: Recorder) -> int:
    """Return how many events the ledger holds."""
    return count_events(recorder)


def last_offsets(records: Sequence[Any]) -> dict[int, int]:
    """Return the last offset of each partition among records."""
    return {record.partition: record.offset for record in records}
