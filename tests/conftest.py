"""What every kind of test shares: a real Kafka for the session, real databases, workers."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings as hypothesis_settings

from consumers.compat import patch_kafka_python
from deploy.kafka.broker import run_broker
from deploy.topics import ensure_topics
from models.database.engine import make_engine
from models.database.migrate import migrate
from models.settings import Settings

pytest_plugins = [
    "tests.helpers.containers",
    "tests.helpers.databases",
    "tests.helpers.parallel",
    "tests.helpers.secure_kafka",
]

# Tests have clients of kafka-python of their own. Theirs, too, leave no socket to the garbage collector, whose warning
# would fail whichever test runs then.
patch_kafka_python()

# Two cores are shared with brokers and databases: how long an example takes says nothing.
hypothesis_settings.register_profile("milepost", deadline=None)
hypothesis_settings.load_profile("milepost")


@pytest.fixture(autouse=True)
def _clear_milepost_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("MILEPOST_") and name != "MILEPOST_TEST_DATABASE":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _restore_log_filters() -> Iterator[None]:
    """Take back the filters that a program in this process adds to the root logger's handlers, pytest's among them."""
    before = {handler: [*handler.filters] for handler in logging.root.handlers}
    yield
    for handler, filters in before.items():
        handler.filters[:] = filters


@pytest.fixture(scope="session", autouse=True)
def _no_usual_port() -> Iterator[None]:
    """Keep Prometheus off its usual port, which the tests of another process may be about to take."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("deploy.prometheus.process._DEFAULT_PORT", 0)
        yield


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the bootstrap address of a real Kafka that lives as long as the session."""
    folder: Path = tmp_path_factory.mktemp("kafka")
    with run_broker(folder, report_progress=lambda _: None) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def fresh_settings(kafka: str, database_url: str) -> Settings:
    """Give settings with topics, a group and a database nobody used before, ready for a worker."""
    return prepare_settings(kafka, database_url)


@pytest.fixture
def sqlite_settings(kafka: str, sqlite_url: str) -> Settings:
    """Give the same on SQLite alone, for what has nothing to do with the database."""
    return prepare_settings(kafka, sqlite_url)


@pytest.fixture
def postgresql_settings(kafka: str, postgresql_url: str) -> Settings:
    """Give the same on PostgreSQL alone, for what takes more than one worker."""
    return prepare_settings(kafka, postgresql_url)


def prepare_settings(bootstrap: str, database_url: str) -> Settings:
    """Return settings of their own name, with topics made and the database migrated."""
    settings = prepare_topics(bootstrap, database_url)
    engine = make_engine(database_url)
    try:
        migrate(engine)
    finally:
        engine.dispose()
    return settings


def prepare_topics(bootstrap: str, database_url: str) -> Settings:
    """Return settings of their own name, with topics made, for a database that has its tables."""
    name = f"test-{uuid4().hex[:12]}"
    settings = Settings(
        kafka=bootstrap,
        database=database_url,
        prefix=name,
        group=name,
        partitions=4,
        web="127.0.0.1:0",
        log_end_seconds=0.5,
    )
    ensure_topics(settings)
    return settings
