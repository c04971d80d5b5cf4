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

from deploy.kafka.broker import running_broker
from deploy.topics import make_topics
from models.database.engine import connect
from models.database.migrate import migrate
from models.database.recorder import Store
from models.settings import Settings
from tests.benchmarks.watching import WatchedWorker, watched_worker
from tests.databases import Databases
from tests.reading import Event
from tests.workers import publish


class Place:
    """Topics and a database nobody used before."""

    def __init__(self, settings: Settings, store: Store, folder: Path) -> None:
        self.settings, self.store = settings, store
        self._folder = folder

    def load(self, events: Iterable[Event]) -> int:
        """Publish events that nobody times; return how many, when the broker has them."""
        return publish(self.settings, events)

    def worker(self, *, draws: bool = True, ticks: bool = False) -> AbstractContextManager[WatchedWorker]:
        """Run a worker here until the block ends."""
        return watched_worker(self.settings, self._folder, draws=draws, ticks=ticks)

    def wait_until_shown(self, worker: WatchedWorker, records: int) -> None:
        """Wait until a worker has committed so many records, and shows what became of them."""
        worker.wait_until_recorded(records)
        worker.wait_until_shown(self.store.revisions())


class Ground:
    """Gives places; what it started ends with `ending`."""

    def __init__(self, ending: ExitStack, say: Callable[[str], None]) -> None:
        self._ending, self.say = ending, say
        #: What answered when it was asked for its version.
        self.postgresql_version: str | None = None

    @property
    def day(self) -> date:
        """Today, as the workers here see it."""
        return datetime.now(UTC).date()

    @cached_property
    def _folder(self) -> Path:
        return Path(self._ending.enter_context(tempfile.TemporaryDirectory(prefix="milepost-benchmarks-")))

    @cached_property
    def _kafka(self) -> str:
        return self._ending.enter_context(running_broker(self._folder / "kafka", announce=self.say)).bootstrap

    @cached_property
    def _databases(self) -> Databases:
        return Databases(self._ending, os.environ.get("MILEPOST_TEST_DATABASE"))

    @contextmanager
    def place(self, *, partitions: int = 12, kind: str = "postgresql") -> Iterator[Place]:
        """Give a place, with settings as they are by default; afterwards its database is gone."""
        name = f"benchmark-{uuid4().hex[:12]}"
        folder = self._folder / name
        folder.mkdir()
        with self._databases.fresh(kind) as database:
            settings = Settings(kafka=self._kafka, database=database, prefix=name, group=name, partitions=partitions)
            make_topics(settings)
            engine = connect(database)
            try:
                migrate(engine)
                if kind == "postgresql":
                    with engine.connect() as connection:
                        self.postgresql_version = connection.scalar(text("SHOW server_version"))
                yield Place(settings, Store(engine), folder)
            finally:
                engine.dispose()
