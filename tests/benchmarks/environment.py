"""Where benchmarks run: a Kafka, a PostgreSQL and folders of their own, started when the first asks for them."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from sqlalchemy import text

from deploy.kafka.broker import run_broker
from deploy.topics import ensure_topics
from models.database.engine import make_engine
from models.database.migrate import migrate
from models.database.recorder import Recorder
from models.settings import Settings
from tests.benchmarks.traced_worker import TracedWorker, running_traced_worker
from tests.helpers.databases import DatabaseFactory
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import publish


class Workspace:
    """Topics and a database nobody used before."""

    def __init__(self, settings: Settings, recorder: Recorder, folder: Path) -> None:
        self.settings, self.recorder, self.folder = settings, recorder, folder

    def publish_untimed(self, events: Iterable[JsonEvent]) -> int:
        """Publish events that nobody times; return how many, when the broker has them."""
        return publish(self.settings, events)

    def running_worker(
        self, *, with_forecasts: bool = True, with_ticker: bool = False
    ) -> AbstractContextManager[TracedWorker]:
        """Run a worker here until the block ends."""
        return running_traced_worker(self.settings, self.folder, with_forecasts=with_forecasts, with_ticker=with_ticker)

    def wait_until_shown(self, worker: TracedWorker, records: int) -> None:
        """Wait until a worker has committed so many records, and shows what became of them."""
        worker.wait_until_recorded(records)
        worker.wait_until_shown(self.recorder.read_revisions())


class BenchmarkEnvironment:
    """Gives places; what it started ends with `ending`."""

    def __init__(self, exit_stack: ExitStack, report_progress: Callable[[str], None]) -> None:
        self._exit_stack, self.report_progress = exit_stack, report_progress
        #: What answered when it was asked for its version.
        self.postgresql_version: str | None = None

    @property
    def data_date(self) -> date:
        """Today, as the workers here see it."""
        return datetime.now(UTC).date()

    @cached_property
    def _folder(self) -> Path:
        return Path(self._exit_stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-benchmarks-")))

    @cached_property
    def _kafka(self) -> str:
        return self._exit_stack.enter_context(
            run_broker(self._folder / "kafka", report_progress=self.report_progress)
        ).bootstrap_servers

    @cached_property
    def _databases(self) -> DatabaseFactory:
        return DatabaseFactory(self._exit_stack, os.environ.get("MILEPOST_TEST_DATABASE"))

    @contextmanager
    def workspace(self, *, partitions: int = 12, backend: str = "postgresql") -> Iterator[Workspace]:
        """Give a place, with settings as they are by default; afterwards its database is gone."""
        name = f"benchmark-{uuid4().hex[:12]}"
        folder = self._folder / name
        folder.mkdir()
        with self._databases.new_database(backend) as database:
            settings = Settings(kafka=self._kafka, database=database, prefix=name, group=name, partitions=partitions)
            ensure_topics(settings)
            engine = make_engine(database)
            try:
                migrate(engine)
                if backend == "postgresql":
                    with engine.connect() as connection:
                        self.postgresql_version = connection.scalar(text("SHOW server_version"))
                yield Workspace(settings, Recorder(engine), folder)
            finally:
                engine.dispose()
