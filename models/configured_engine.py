"""The engine of the database that the settings describe."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import ArgumentError

from models.database.engine import (
    LOCK_TIMEOUT_MS,
    make_engine,  # noqa: TID251 - with every setting
)
from models.database.postgresql_engine import Credentials, parse_postgresql_url
from models.settings import Settings
from models.settings_file import read_secret_file


def make_configured_engine(settings: Settings, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> Engine:
    """Return an engine that has opened nothing yet. Raises `DatabaseError` for a URL that cannot work.

    A file that holds the URL is read again for each connection, for user and password alone: they may change under a
    process that runs, the database may not.
    """
    file = settings.database_file
    return make_engine(
        settings.database,
        lock_timeout_ms,
        is_prepared=settings.database_prepared,
        read_credentials=None if file is None else lambda: _read_credentials(file),
    )


@contextmanager
def open_configured_engine(settings: Settings) -> Iterator[Engine]:
    """Yield the engine of `make_configured_engine`, and dispose of it at the end."""
    engine = make_configured_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def _read_credentials(file: Path) -> Credentials:
    """Return user and password of the URL in a file. Raises `ValueError`, which shows nothing of the content."""
    content = read_secret_file(str(file))
    try:
        url = parse_postgresql_url(content)
    except (ArgumentError, ValueError):
        raise ValueError(f"{file} holds no URL of a database") from None
    return Credentials(url.username, url.password)
