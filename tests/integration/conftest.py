"""Recorders on migrated, empty databases."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from models.database.recorder import Recorder
from tests.helpers.recorder import migrated_engine, new_recorder


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give a migrated database, each kind in turn."""
    with migrated_engine(database_url) as engine:
        yield engine


@pytest.fixture
def recorder(engine: Engine) -> Recorder:
    """Give a recorder that has taken up four empty partitions."""
    return new_recorder(engine)


@pytest.fixture
def shared_recorder(postgresql_url: str) -> Iterator[Recorder]:
    """Give the same on PostgreSQL alone, where two may write at once."""
    with migrated_engine(postgresql_url) as engine:
        yield new_recorder(engine)
