"""`milepost init`: the database's schema and the topics."""

from collections.abc import Iterator

from deploy.topics import make_topics, read_logs, read_topic_id
from models.database.engine import DatabaseError, check_schema, connect, shown, writing
from models.database.migrate import migrate
from models.database.positions import accept_topic
from models.database.tables import SCHEMA
from models.settings import Settings


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
            # Of the right schema by its own account, and without a table: nothing here makes that whole.
            check_schema(engine)
            done = "made"
        yield f"database {shown(engine)}: schema {SCHEMA} {done}"
    finally:
        engine.dispose()
    for topic in make_topics(settings):
        partitions = "1 partition" if topic.partitions == 1 else f"{topic.partitions} partitions"
        yield f"topic {topic.name}: {partitions}, {'found' if topic.found else 'made'}"


def accept_new_topic(settings: Settings) -> Iterator[str]:
    """Set back, in one transaction, the positions that are of an events topic that is gone; give one line for each.

    A worker must not be running: it would go on where it was.
    """
    topic_id, logs = read_topic_id(settings), read_logs(settings)
    engine = connect(settings.database)
    try:
        with writing(engine) as connection:
            done = accept_topic(connection, settings.events_topic, topic_id, logs)
    finally:
        engine.dispose()
    for partition, was, position in done:
        yield f"position {settings.events_topic}:{partition}: set back from {was} to {position}"
    if not done:
        yield f"positions of {settings.events_topic}: nothing to set back"
