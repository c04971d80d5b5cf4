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
from models.database.engine import connect, reading
from models.database.recorder import Store
from models.database.tables import forecasts, ledger, programmes
from models.domain.claims import MilestoneKey
from models.domain.schedule import picture
from models.settings import Settings
from tests.faults.effort import Effort
from tests.faults.ground import Ground
from tests.faults.load import Load
from tests.reading import Event, read_milestones
from tests.storing import row_of
from tests.workers import WorkerProcess, read_topic, wait_until, worker_process

_FORECAST: Final = "milepost_milestone_forecast_timestamp_seconds"
_INFO: Final = "milepost_programme_info"


class Verdict(NamedTuple):
    """What came of one run."""

    #: Acknowledged by the broker, garbage and repeats included, as the log has them.
    records: int
    events: int
    lost: int
    doubled: int


class Scene:
    """One run of a scenario."""

    def __init__(  # noqa: PLR0913 - everything it touches comes in as an argument
        self, settings: Settings, folder: Path, ground: Ground, load: Load, seed: int, ending: ExitStack
    ) -> None:
        self.settings, self.kafka, self.load = settings, ground.kafka, load
        self.postgresql, self.database_proxy = ground.postgresql, ground.postgresql.proxy
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self.folder, self._ending = folder, ending
        self.workers: list[WorkerProcess] = []
        # Past the proxy: what the test sees must not depend on what it does to the worker.
        self.engine: Engine = connect(settings.database)
        ending.callback(self.engine.dispose)
        self.store = Store(self.engine)
        self._before: dict[int, Effort] = {}
        #: Acknowledged events of the scenario's own: accepted, and rejected.
        self.also_said: list[Event] = []
        self.also_rejected = 0
        #: Whether records were deleted that no worker had read: their events are not to be found anywhere.
        self.is_missing_some = False
        #: Whether the log no longer holds every record that was acknowledged.
        self.is_log_cut = False
        #: How long the audit took.
        self.audit_seconds = 0.0

    def start_worker(self, **environment: str) -> WorkerProcess:
        """Start a worker that reaches Kafka, and a PostgreSQL, through the proxies."""
        through = {"kafka": self.kafka.through_proxy}
        url = make_url(self.settings.database)
        if url.get_backend_name() == "postgresql":
            url = url.set(host="127.0.0.1", port=self.database_proxy.port, query={})
            through["database"] = url.render_as_string(hide_password=False)
        settings = self.settings.model_copy(update=through)
        worker = self._ending.enter_context(worker_process(settings, self.folder, **environment))
        self.workers.append(worker)
        return worker

    def note_effort(self) -> None:
        """Note what the workers that run need now, before the fault."""
        self._before = {worker.pid: Effort.of(worker.pid) for worker in self.alive}

    @property
    def alive(self) -> list[WorkerProcess]:
        """The workers that run."""
        return [worker for worker in self.workers if worker.process.poll() is None]

    @property
    def recorded(self) -> int:
        """How many records the positions have passed."""
        return sum(self.store.positions(self.settings.events_topic).values())

    def wait_until_recorded(self, records: int, patience: float = 60) -> float:
        """Wait until so many records are recorded; return how long it took."""
        return wait_until(lambda: self.recorded >= records, f"{records} records are recorded", patience)

    def verify(self, patience: float = 60) -> Verdict:
        """Stop the load, wait until all is recorded and shown, and look for what is not as it must be.

        `patience`, in seconds: how long what was published by then may take.
        """
        said = self.load.stop()
        assert self.alive, self.workers[-1].log[-3000:]
        starts, ends = self.logs()
        records = sum(ends.values()) - sum(starts.values())
        self.wait_until_passed(ends, patience)
        began = time.monotonic()
        wrong, summary = audit(self.settings, self.engine)
        self.audit_seconds = time.monotonic() - began
        assert wrong == [], "\n".join(map(str, wrong[:20]))
        assert summary.read == records
        assert summary.rejected >= (0 if self.is_log_cut else said.garbage + self.also_rejected)
        events = self._expected([*said.events(), *self.also_said])
        today = _today()
        facts, _ = self.store.facts()
        assert [row_of(standing) for standing in picture(facts, today).standings] == read_milestones(events, today)
        wait_until(
            lambda: self._shown() == self._stored(),
            "the pages are what the database says, each on one worker",
            patience,
        )
        for worker in self.alive:
            if (before := self._before.get(worker.pid)) is not None:
                wait_until(
                    lambda pid=worker.pid, before=before: not Effort.of(pid).excess(before),  # type: ignore[misc]
                    f"the worker needs no more than before ({Effort.of(worker.pid)} against {before})",
                    15,
                )
        known = self.store.count_events()
        return Verdict(records, len(events), len(events) - summary.accepted - summary.gone, known - len(events))

    def _expected(self, events: Sequence[Event]) -> list[Event]:
        """Return what must be there of what was acknowledged: all, unless records were deleted unread."""
        if not self.is_missing_some:
            return list(events)
        with reading(self.engine) as connection:
            heard = select(ledger.c.source, ledger.c.id).where(ledger.c.digest.is_not(None))
            there = {tuple(row) for row in connection.execute(heard)}
        for record in read_topic(self.settings, self.settings.events_topic):
            try:
                said = json.loads(record.value)
                there.add((said["source"], said["id"]))
            except (ValueError, TypeError, KeyError):
                continue  # garbage
        return [event for event in events if (event["source"], event["id"]) in there]

    def wait_until_passed(self, ends: Mapping[int, int], patience: float = 60) -> float:
        """Wait until every partition is recorded up to an offset; return how long it took."""

        def passed() -> bool:
            positions = self.store.positions(self.settings.events_topic)
            return all(positions.get(partition, 0) >= end for partition, end in ends.items())

        return wait_until(passed, f"all is recorded up to {dict(ends)}", patience)

    def logs(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return where each partition of the log starts and ends, as soon as the broker tells."""
        told: list[tuple[dict[int, int], dict[int, int]]] = []

        def asked() -> bool:
            # A broker that stood still for long is one again only when its controller has heard of it.
            with suppress(RetriableError), closing(KafkaConsumer(bootstrap_servers=self.settings.kafka)) as consumer:
                topic = self.settings.events_topic
                partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
                if partitions:
                    starts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
                    told.append((_by_number(starts), _by_number(ends)))
            return bool(told)

        wait_until(asked, "the broker tells where its log ends")
        return told[0]

    def _stored(self) -> tuple[Counter[str], dict[MilestoneKey, float]]:
        columns = [forecasts.c[name] for name in (*MilestoneKey._fields, "forecast")]
        with reading(self.engine) as connection:
            names = list(connection.scalars(select(programmes.c.programme)))
            rows = connection.execute(select(*columns).where(forecasts.c.forecast.is_not(None))).all()
        return Counter(names), {MilestoneKey(*key): _midnight(forecast) for *key, forecast in rows}

    def _shown(self) -> tuple[Counter[str], dict[MilestoneKey, float]]:
        """Return how many workers show each programme, and the forecasts they show."""
        names: Counter[str] = Counter()
        shown: dict[MilestoneKey, float] = {}
        for worker in self.alive:
            page = worker.page("/metrics/milestones")
            names.update({labels["programme"] for labels in page.labels(_INFO)})
            for labels, value in page.series(_FORECAST):
                shown[MilestoneKey(labels["programme"], labels["project"], labels["milestone"])] = value
        return names, shown


def _by_number(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {partition.partition: offset for partition, offset in offsets.items()}


def _today() -> date:
    return datetime.now(UTC).date()


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def measured(scene: Scene) -> float:
    """Return the seconds from now until all that the broker has by now is recorded."""
    began = time.monotonic()
    # Of every partition: those of a worker that died wait for another, while the rest goes on.
    scene.wait_until_passed(scene.logs()[1])
    return time.monotonic() - began


@contextmanager
def staged(settings: Settings, folder: Path, ground: Ground, load: Load, seed: int) -> Iterator[Scene]:
    """Set a scene."""
    with ExitStack() as ending:
        yield Scene(settings, folder, ground, load, seed, ending)
