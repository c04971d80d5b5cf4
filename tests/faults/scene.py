"""Where a fault happens: a topic, a PostgreSQL behind a proxy, workers as processes, a load; and what must be true."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, make_url, select

from consumers.audit import audit
from models.database import connect, reading
from models.milestones import MilestoneKey
from models.schedule import picture
from models.settings import Settings
from models.store import Store
from models.tables import forecasts
from tests.faults.load import Load
from tests.faults.proxy import Proxy, proxied
from tests.reading import read_milestones
from tests.storing import row_of
from tests.workers import WorkerProcess, wait_until, worker_process

_FORECAST = "milepost_milestone_forecast_timestamp_seconds"


class Verdict(NamedTuple):
    """What came of one run."""

    #: Acknowledged by the broker, garbage and repeats included, as the log has them.
    records: int
    events: int
    lost: int
    doubled: int


class Scene:
    """One run of a scenario."""

    def __init__(self, settings: Settings, folder: Path, proxy: Proxy, seed: int, ending: ExitStack) -> None:
        self.settings, self.proxy, self.rng = settings, proxy, random.Random(seed)  # noqa: S311 - no secret
        self._folder, self._ending = folder, ending
        self.workers: list[WorkerProcess] = []
        # Past the proxy: what the test sees must not depend on what it does to the worker.
        self.engine: Engine = connect(settings.database)
        ending.callback(self.engine.dispose)
        self.store = Store(self.engine)

    def start_worker(self, **environment: str) -> WorkerProcess:
        """Start a worker that reaches the database through the proxy."""
        url = make_url(self.settings.database).set(host="127.0.0.1", port=self.proxy.port, query={})
        through = self.settings.model_copy(update={"database": url.render_as_string(hide_password=False)})
        worker = self._ending.enter_context(worker_process(through, self._folder, **environment))
        self.workers.append(worker)
        return worker

    @property
    def recorded(self) -> int:
        """How many records the positions have passed."""
        return sum(self.store.positions(self.settings.events_topic).values())

    def wait_until_recorded(self, records: int, patience: float = 60) -> float:
        """Wait until so many records are recorded; return how long it took."""
        return wait_until(lambda: self.recorded >= records, f"{records} records are recorded", patience)

    def verify(self, load: Load) -> Verdict:
        """Stop the load, wait until all is recorded and shown, and look for what is not as it must be."""
        events, garbage = load.stop()
        alive = [worker for worker in self.workers if worker.process.poll() is None]
        assert alive
        ends = self.ends()
        records = sum(ends.values())
        self.wait_until_passed(ends)
        wrong, summary = audit(self.settings, self.engine)
        assert wrong == [], "\n".join(map(str, wrong[:20]))
        assert summary.read == records
        assert summary.rejected >= garbage
        today = _today()
        facts, _ = self.store.facts()
        read = read_milestones(events, today)
        assert [row_of(standing) for standing in picture(facts, today).standings] == read
        wait_until(lambda: self._shown(alive) == self._stored(), "the pages are what the database says")
        return Verdict(records, len(events), len(events) - summary.accepted, self.store.count_events() - len(events))

    def wait_until_passed(self, ends: Mapping[int, int]) -> float:
        """Wait until every partition is recorded up to an offset; return how long it took."""

        def passed() -> bool:
            positions = self.store.positions(self.settings.events_topic)
            return all(positions.get(partition, 0) >= end for partition, end in ends.items())

        return wait_until(passed, f"all is recorded up to {dict(ends)}")

    def ends(self) -> dict[int, int]:
        """Return where each partition of the log ends now."""
        from kafka import KafkaConsumer, TopicPartition  # noqa: PLC0415 - beside its one use

        consumer = KafkaConsumer(bootstrap_servers=self.settings.kafka)
        try:
            topic = self.settings.events_topic
            partitions = [TopicPartition(topic, number) for number in range(self.settings.partitions)]
            return {tp.partition: end for tp, end in consumer.end_offsets(partitions).items()}
        finally:
            consumer.close()

    def _stored(self) -> dict[MilestoneKey, float]:
        columns = [forecasts.c[name] for name in (*MilestoneKey._fields, "forecast")]
        with reading(self.engine) as connection:
            rows = connection.execute(select(*columns).where(forecasts.c.forecast.is_not(None))).all()
        return {MilestoneKey(*key): _midnight(forecast) for *key, forecast in rows}

    def _shown(self, workers: list[WorkerProcess]) -> dict[MilestoneKey, float]:
        shown: dict[MilestoneKey, float] = {}
        for worker in workers:
            page = worker.page("/metrics/milestones")
            for labels in page.labels(_FORECAST):
                key = MilestoneKey(labels["programme"], labels["project"], labels["milestone"])
                if key in shown:
                    return {}  # on two workers: not what the database says
                shown[key] = page.value(_FORECAST, **labels) or 0.0
        return shown


def _today() -> date:
    return datetime.now(UTC).date()


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def measured(scene: Scene) -> float:
    """Return the seconds from now until all that the broker has by now is recorded."""
    began = time.monotonic()
    # Of every partition: those of a worker that died wait for another, while the rest goes on.
    scene.wait_until_passed(scene.ends())
    return time.monotonic() - began


@contextmanager
def staged(settings: Settings, folder: Path, seed: int) -> Iterator[Scene]:
    """Set a scene; the settings' database is a PostgreSQL on a UNIX socket."""
    socket = make_url(settings.database).query["host"]
    with ExitStack() as ending, proxied(Path(str(socket)) / ".s.PGSQL.5432") as proxy:
        yield Scene(settings, folder, proxy, seed, ending)
