"""Where a fault happens: topics, a database, workers behind proxies, a load; and what must be true afterwards."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import RetriableError
from sqlalchemy import Engine, make_url, select

from consumers.audit import audit
from models.database.engine import make_engine, read_transaction
from models.database.recorder import Recorder
from models.database.tables import forecasts, ledger, programmes
from models.domain.claims import MilestoneKey
from models.domain.schedule import compute_schedule
from models.settings import Settings
from streams.metrics.store import SERIES_PER_PROGRAMME
from tests.faults.environment import FaultEnvironment
from tests.faults.load import LoadGenerator
from tests.faults.resources import ProcessResources
from tests.helpers.oracle import JsonEvent, expected_milestones
from tests.helpers.recorder import count_events, json_status_row, load_facts
from tests.helpers.workers import WorkerProcess, read_topic, wait_until, worker_process

_FORECAST_METRIC: Final = "milepost_milestone_forecast_timestamp_seconds"
_INFO_METRIC: Final = "milepost_programme_info"
#: Within so many seconds after all is recorded, a worker needs no more than before the fault.
_RELEASE_SECONDS: Final = 15.0


class Verdict(NamedTuple):
    """What came of one run."""

    #: Acknowledged by the broker, garbage and repeats included, as the log has them.
    records: int
    events: int
    lost: int
    doubled: int


class Scenario:
    """One run of a scenario."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self,
        settings: Settings,
        folder: Path,
        environment: FaultEnvironment,
        load: LoadGenerator,
        seed: int,
        exit_stack: ExitStack,
    ) -> None:
        self.settings, self.kafka, self.load = settings, environment.kafka, load
        self.postgresql, self.database_proxy = environment.postgresql, environment.postgresql.proxy
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self.folder, self._exit_stack = folder, exit_stack
        self.workers: list[WorkerProcess] = []
        # Past the proxy: what the test sees must not depend on what it does to the worker.
        self.engine: Engine = make_engine(settings.database)
        exit_stack.callback(self.engine.dispose)
        self.recorder = Recorder(self.engine)
        self._resources_before: dict[int, ProcessResources] = {}
        #: Acknowledged events of the scenario's own: accepted, and rejected.
        self.extra_accepted: list[JsonEvent] = []
        self.extra_rejected = 0
        #: Offsets of aborted records and of the markers that end transactions.
        self.uncommitted_offsets = 0
        #: Whether records were deleted that no worker had read: their events are not to be found anywhere.
        self.has_deleted_unread = False
        #: Whether the log no longer holds every record that was acknowledged.
        self.is_log_truncated = False
        #: What else was measured, in words.
        self.notes: list[str] = []
        #: How long the audit took.
        self.audit_seconds = 0.0

    def start_worker(self, **environment: str) -> WorkerProcess:
        """Start a worker that reaches Kafka, and a PostgreSQL, through the proxies."""
        through = {"kafka": self.kafka.proxied_bootstrap}
        url = make_url(self.settings.database)
        if url.get_backend_name() == "postgresql":
            url = url.set(host="127.0.0.1", port=self.database_proxy.port, query={})
            through["database"] = url.render_as_string(hide_password=False)
        settings = self.settings.model_copy(update=through)
        worker = self._exit_stack.enter_context(worker_process(settings, self.folder, **environment))
        self.workers.append(worker)
        return worker

    def snapshot_resources(self) -> None:
        """Note what the workers that run need now, before the fault."""
        self._resources_before = {worker.pid: ProcessResources.measure(worker.pid) for worker in self.running_workers}

    @property
    def running_workers(self) -> list[WorkerProcess]:
        """The workers that run."""
        return [worker for worker in self.workers if worker.process.poll() is None]

    @property
    def recorded_records(self) -> int:
        """How many records the positions have passed."""
        return sum(self.recorder.read_positions(self.settings.events_topic).values())

    def wait_until_recorded(self, records: int, timeout: float = 60) -> float:
        """Wait until so many records are recorded; return how long it took."""
        return wait_until(lambda: self.recorded_records >= records, f"{records} records are recorded", timeout)

    def verify(self, timeout: float = 60) -> Verdict:
        """Stop the load, wait until all is recorded and shown, and look for what is not as it must be.

        `patience`, in seconds: how long what was published by then may take.
        """
        said = self.load.stop()
        assert self.running_workers, self.workers[-1].log_text[-3000:]
        starts, ends = self.log_offsets()
        records = sum(ends.values()) - sum(starts.values())
        self.wait_until_positions(ends, timeout)
        began = time.monotonic()
        wrong, summary = audit(self.settings, self.engine)
        self.audit_seconds = time.monotonic() - began
        assert wrong == [], "\n".join(map(str, wrong[:20]))
        assert (summary.records_read, summary.unread) == (records - self.uncommitted_offsets, 0)
        assert summary.rejected >= (0 if self.is_log_truncated else said.malformed + self.extra_rejected)
        events = self._expected_events([*said.events(), *self.extra_accepted])
        today = _today()
        facts, _ = load_facts(self.recorder)
        assert [
            json_status_row(standing) for standing in compute_schedule(facts, today).statuses
        ] == expected_milestones(events, today)
        wait_until(
            self._has_pages_as_stored,
            "the pages are what the database says, each programme on one worker",
            timeout,
        )
        for worker in self.running_workers:
            if (before := self._resources_before.get(worker.pid)) is not None:
                _wait_until_no_growth(worker.pid, before)
        known = count_events(self.recorder)
        return Verdict(records, len(events), len(events) - summary.accepted - summary.expired, known - len(events))

    def _expected_events(self, events: Sequence[JsonEvent]) -> list[JsonEvent]:
        """Return what must be there of what was acknowledged: all, unless records were deleted unread."""
        if not self.has_deleted_unread:
            return list(events)
        with read_transaction(self.engine) as connection:
            heard = select(ledger.c.source, ledger.c.id).where(ledger.c.digest.is_not(None))
            there = {tuple(row) for row in connection.execute(heard)}
        for record in read_topic(self.settings, self.settings.events_topic):
            try:
                said = json.loads(record.value)
                there.add((said["source"], said["id"]))
            except (ValueError, TypeError, KeyError):
                continue  # garbage
        return [event for event in events if (event["source"], event["id"]) in there]

    def wait_until_positions(self, ends: Mapping[int, int], timeout: float = 60) -> float:
        """Wait until every partition is recorded up to an offset; return how long it took."""

        def has_passed() -> bool:
            positions = self.recorder.read_positions(self.settings.events_topic)
            return all(positions.get(partition, 0) >= end for partition, end in ends.items())

        return wait_until(has_passed, f"all is recorded up to {dict(ends)}", timeout)

    def log_offsets(self, topic: str | None = None) -> tuple[dict[int, int], dict[int, int]]:
        """Return where each partition of a topic, by default the log, starts and ends, as soon as the broker tells."""
        topic = topic or self.settings.events_topic
        told: list[tuple[dict[int, int], dict[int, int]]] = []

        def has_offsets() -> bool:
            # A broker that stood still for long is one again only when its controller has heard of it.
            with suppress(RetriableError), closing(KafkaConsumer(bootstrap_servers=self.settings.kafka)) as consumer:
                partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
                if partitions:
                    starts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
                    told.append((_by_partition(starts), _by_partition(ends)))
            return bool(told)

        wait_until(has_offsets, "the broker tells where its log ends")
        return told[0]

    def _has_pages_as_stored(self) -> bool:
        """Return whether each programme is on the page of one worker; or of too many, as many as there is room for."""
        (names, shown), (stored_names, stored) = self._shown_forecasts(), self._stored_forecasts()
        room = len(self.running_workers) * (self.settings.max_series // SERIES_PER_PROGRAMME)
        if len(stored_names) > room == names.total():
            stored_names = Counter(stored_names.keys() & names.keys())
            stored = {key: forecast for key, forecast in stored.items() if key.programme in names}
        return (names, shown) == (stored_names, stored)

    def _stored_forecasts(self) -> tuple[Counter[str], dict[MilestoneKey, float]]:
        columns = [forecasts.c[name] for name in (*MilestoneKey._fields, "forecast")]
        with read_transaction(self.engine) as connection:
            names = list(connection.scalars(select(programmes.c.programme)))
            rows = connection.execute(select(*columns).where(forecasts.c.forecast.is_not(None))).all()
        return Counter(names), {MilestoneKey(*key): _midnight_timestamp(forecast) for *key, forecast in rows}

    def _shown_forecasts(self) -> tuple[Counter[str], dict[MilestoneKey, float]]:
        """Return how many workers show each programme, and the forecasts they show."""
        names: Counter[str] = Counter()
        shown: dict[MilestoneKey, float] = {}
        for worker in self.running_workers:
            page = worker.scrape("/metrics/milestones")
            names.update({labels["programme"] for labels in page.labels(_INFO_METRIC)})
            for labels, value in page.series(_FORECAST_METRIC):
                shown[MilestoneKey(labels["programme"], labels["project"], labels["milestone"])] = value
        return names, shown


def _wait_until_no_growth(pid: int, before: ProcessResources) -> None:
    """Wait until a process needs no more than before; fails with what it needs at the end."""
    now = ProcessResources.measure(pid)

    def has_shrunk() -> bool:
        nonlocal now
        now = ProcessResources.measure(pid)
        return not now.has_grown_beyond(before)

    try:
        wait_until(has_shrunk, "the worker needs no more than before", _RELEASE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error} ({now} against {before})") from None


def _by_partition(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {partition.partition: offset for partition, offset in offsets.items()}


def _today() -> date:
    return datetime.now(UTC).date()


def _midnight_timestamp(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def measure_recovery(scenario: Scenario) -> float:
    """Return the seconds from now until all that the broker has by now is recorded."""
    began = time.monotonic()
    # Of every partition: those of a worker that died wait for another, while the rest goes on.
    scenario.wait_until_positions(scenario.log_offsets()[1])
    return time.monotonic() - began


@contextmanager
def running_scenario(
    settings: Settings, folder: Path, environment: FaultEnvironment, load: LoadGenerator, seed: int
) -> Iterator[Scenario]:
    """Set a scene."""
    with ExitStack() as ending:
        yield Scenario(settings, folder, environment, load, seed, ending)
