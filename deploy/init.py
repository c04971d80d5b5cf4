"""`milepost init`: the database's schema and the topics."""

from collections.abc import Iterator

from deploy.topics import ensure_topics, read_offset_ranges, read_topic_id
from models.database.engine import DatabaseError, check_schema, make_engine, redacted_url, write_transaction
from models.database.migrate import migrate
from models.database.positions import reset_positions
from models.database.tables import SCHEMA_REVISION
from models.settings import Settings


def create_schema_and_topics(settings: Settings) -> Iterator[str]:
    """Make what is missing and leave what is there; give one line for each. Safe to repeat, and waits for nothing."""
    engine = make_engine(settings.database)
    try:
        try:
            check_schema(engine)
            done = "found"
        except DatabaseError:
            # Empty or older: brought forward. Out of reach or newer: said again, better, by what follows.
            migrate(engine)
            # Of the right schema by its own account, and without a table: nothing here makes that whole.
            check_schema(engine)
            done = "made"
        yield f"database {redacted_url(engine)}: schema {SCHEMA_REVISION} {done}"
    finally:
        engine.dispose()
    for topic in ensure_topics(settings):
        partitions = "1 partition" if topic.partitions == 1 else f"{topic.partitions} partitions"
        yield f"topic {topic.name}: {partitions}, {'found' if topic.existed else 'made'}"


def accept_new_topic(settings: Settings) -> Iterator[str]:
    """Set back, in one transaction, the positions that are of an events topic that is gone; give one line for each.

    A worker must not be running: it would go on where it was.
    """
    topic_id, logs = read_topic_id(settings), read_offset_ranges(settings)
    engine = make_engine(settings.database)
    try:
        with write_transaction(engine) as connection:
            done = reset_positions(connection, settings.events_topic, topic_id, logs)
    finally:
        engine.dispose()
    for partition, was, position in done:
        yield f"position {settings.events_topic}:{partition}: set back from {was} to {position}"
    if not done:
        yield f"positions of {settings.events_topic}: nothing to set back"
