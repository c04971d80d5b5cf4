"""`milepost init`: the database's schema and the topics."""

from collections.abc import Iterator

from deploy.topics import make_topics
from models.database import DatabaseError, check_schema, connect, shown
from models.schema import migrate
from models.settings import Settings
from models.tables import SCHEMA


def prepare(settings: Settings) -> Iterator[str]:
    """Make what is missing and leave what is there; give one line for each. Safe to repeat, and waits for nothing."""
    engine = connect(settings.database)
    try:
        try:
            check_schema(engine)
            done = "found"
        except DatabaseError:
            # Empty or older: brought forward. Out of reach or newer: said again, better, by what follows.
            migrate(engine)
            done = "made"
        yield f"database {shown(engine)}: schema {SCHEMA} {done}"
    finally:
        engine.dispose()
    for topic in make_topics(settings):
        partitions = "1 partition" if topic.partitions == 1 else f"{topic.partitions} partitions"
        yield f"topic {topic.name}: {partitions}, {'found' if topic.found else 'made'}"
