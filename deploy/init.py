"""`milepost init`: creates the database's schema and the topics."""

from collections.abc import Iterator

from consumers.client import TopicError
from consumers.rights import Role, require_rights
from deploy.topics import (
    BROKER_DEFAULT,
    Replication,
    check_managed_topics,
    ensure_topics,
    find_small_topics,
    read_offset_ranges,
    read_topic_id,
)
from models.configured_engine import make_configured_engine
from models.data_folder import make_folder
from models.database.engine import (
    DatabaseError,
    check_schema,
    redacted_url,
    sqlite_file,
    write_transaction,
)
from models.database.migrate import migrate
from models.database.positions import reset_positions
from models.database.tables import SCHEMA_REVISION
from models.settings import Settings


def create_schema_and_topics(
    settings: Settings, *, enlarge: bool = False, replication: Replication = BROKER_DEFAULT
) -> Iterator[str]:
    """Create what is missing and leave what exists; yield a line for each, and for each setting not as promised.

    Safe to repeat, and waits for nothing. With `enlarge`, topics get as many partitions as the settings say.
    """
    replication.check()
    if settings.topics == "managed" and (enlarge or replication != BROKER_DEFAULT):
        raise TopicError("MILEPOST_TOPICS is managed: whoever manages the topics decides on partitions and replicas")
    engine = make_configured_engine(settings)
    try:
        if (file := sqlite_file(engine)) is not None and file.exists():
            make_folder(file.parent)  # closes a `.milepost` that an earlier version left open
        try:
            check_schema(engine)
            outcome = "found"
        except DatabaseError:
            # An empty or older schema is migrated; an unreachable database or a newer schema fails again here.
            migrate(engine)
            # A database that claims the right schema but lacks a table cannot be repaired here.
            check_schema(engine)
            outcome = "made"
        yield f"database {redacted_url(engine)}: schema {SCHEMA_REVISION} {outcome}"
    finally:
        engine.dispose()
    require_rights(settings, Role.INIT)
    small = find_small_topics(settings) if enlarge else []
    if small:
        require_rights(settings, Role.INIT, altered=small)
    if settings.topics == "managed":
        partitions, broken_promises = check_managed_topics(settings)
        outcomes = [(name, count, "found") for name, count in partitions.items()]
    else:
        topics, broken_promises = ensure_topics(settings, enlarge=enlarge, replication=replication)
        outcomes = [
            (topic.name, topic.partitions, "enlarged" if topic.name in small else "found" if existed else "made")
            for topic, existed in topics
        ]
    for name, count, outcome in outcomes:
        yield f"topic {name}: {'1 partition' if count == 1 else f'{count} partitions'}, {outcome}"
    for promise in broken_promises:
        yield f"warning: {promise}" + ("; no worker starts before" if promise.is_fatal else "")


def accept_new_topic(settings: Settings) -> Iterator[str]:
    """Reset, in one transaction, the positions of an events topic that was recreated; yield one line for each.

    No worker may run meanwhile: it would continue at its old position.
    """
    topic_id, offset_ranges = read_topic_id(settings), read_offset_ranges(settings)
    engine = make_configured_engine(settings)
    try:
        with write_transaction(engine) as connection:
            moves = reset_positions(connection, settings.events_topic, topic_id, offset_ranges)
    finally:
        engine.dispose()
    for partition, previous, position in moves:
        yield f"position {settings.events_topic}:{partition}: set back from {previous} to {position}"
    if not moves:
        yield f"positions of {settings.events_topic}: nothing to set back"
