"""Where to read: the next offset of every partition, moved in the transaction that holds the events before it.

Kafka's own committed offsets are advice for lag tools; this table decides. A worker that lost a partition without
knowing it finds the position moved on and writes nothing; a database that was restored from an older copy finds
its position behind what the worker thinks, and the worker reads again from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, select, update

from models.database.tables import ledger, positions, topics
from models.database.upsert import insert_into
from models.errors import MilepostError


class OffsetRange(NamedTuple):
    """The offsets of one partition that a batch covers: start included, end not."""

    topic: str
    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class StartOffset:
    """Where to read a partition from, and how many records are gone that were never read."""

    offset: int
    missed: int = 0


class TopicRecreatedError(MilepostError):
    """A position lies beyond the end of the log: the topic is not the one that was read."""


#: Between the name and the id of a topic that is gone, in the ledger.
REPLACED_TOPIC_SEPARATOR: Final = "@"

_TOPIC_RECREATED_HINT: Final = (
    "the topic was made anew, or this is another cluster's database; name the right database, or accept the topic with"
    " `milepost init --accept-new-topic`, which keeps what is recorded and reads the topic from its start"
)


def _partition_condition(topic: str, partition: int) -> ColumnElement[bool]:
    return (positions.c.topic == topic) & (positions.c.partition == partition)


def lock_positions(
    connection: Connection, offset_ranges: Sequence[OffsetRange]
) -> tuple[dict[tuple[str, int], int], list[tuple[str, int]]]:
    """Lock the positions of a batch until the transaction ends.

    Returns where each partition stands that has something to do, and the partitions that are *stale*: their
    position lies before the span, so the database knows less than the reader thinks.
    """
    ahead, stale = {}, []
    stands: dict[tuple[str, int], int] = {}
    for topic in sorted({span.topic for span in offset_ranges}):
        partitions = [span.partition for span in offset_ranges if span.topic == topic]
        rows = connection.execute(_LOCK_POSITIONS, {"topic": topic, "partitions": partitions})
        stands.update({(topic, partition): position for partition, position in rows})
    for span in offset_ranges:
        position = stands.get((span.topic, span.partition))
        if position is None or position < span.start:
            stale.append((span.topic, span.partition))
        elif position < span.end:
            ahead[span.topic, span.partition] = position
    return ahead, stale


def advance_positions(connection: Connection, offset_ranges: Sequence[OffsetRange]) -> None:
    """Move claimed positions to the ends of their spans."""
    if offset_ranges:
        connection.execute(
            _ADVANCE_POSITION,
            [{"its_topic": span.topic, "its_partition": span.partition, "end": span.end} for span in offset_ranges],
        )


# Locked in one order, whoever locks them.
_LOCK_POSITIONS: Final = (
    select(positions.c.partition, positions.c.next_offset)
    .where(positions.c.topic == bindparam("topic"), positions.c.partition.in_(bindparam("partitions", expanding=True)))
    .order_by(positions.c.partition)
    .with_for_update()
)
_ADVANCE_POSITION: Final = (
    update(positions)
    .where(positions.c.topic == bindparam("its_topic"), positions.c.partition == bindparam("its_partition"))
    .values(next_offset=bindparam("end"))
)


def resolve_start_offsets(
    connection: Connection, topic: str, log_bounds: Mapping[int, tuple[int, int]]
) -> dict[int, StartOffset]:
    """Say where to read each partition from, given the first and the end offset of its log.

    A partition never read starts at its log's start. Raises `LogMadeAnewError` for a position beyond the end.
    """
    taken = {}
    for partition, (first, end) in sorted(log_bounds.items()):
        row = _partition_condition(topic, partition)
        position = connection.scalar(select(positions.c.next_offset).where(row).with_for_update())
        if position is None:
            values = {"topic": topic, "partition": partition, "next_offset": first}
            connection.execute(insert_into(positions, connection.dialect.name).values(values).on_conflict_do_nothing())
            taken[partition] = StartOffset(first)
        elif position > end:
            raise TopicRecreatedError(
                f"{topic}:{partition} ends at offset {end}, but the database has read up to {position}:"
                f" {_TOPIC_RECREATED_HINT}"
            )
        elif position < first:
            connection.execute(update(positions).where(row).values(next_offset=first))
            taken[partition] = StartOffset(first, missed=first - position)
        else:
            taken[partition] = StartOffset(position)
    return taken


def read_positions(connection: Connection, topic: str) -> dict[int, int]:
    """Return the next offset of every partition of a topic that was ever taken up."""
    query = select(positions.c.partition, positions.c.next_offset).where(positions.c.topic == topic)
    return dict(connection.execute(query).all())


def remember_topic_id(connection: Connection, topic: str, topic_id: str) -> None:
    """Remember which topic is read, the first time; raises `LogMadeAnewError` when it was another one before."""
    values = {"topic": topic, "topic_id": topic_id}
    connection.execute(insert_into(topics, connection.dialect.name).values(values).on_conflict_do_nothing())
    known = connection.scalar(select(topics.c.topic_id).where(topics.c.topic == topic))
    if known != topic_id:
        raise TopicRecreatedError(
            f"{topic} has the id {topic_id}, but the database has read {known}: {_TOPIC_RECREATED_HINT}"
        )


class PositionReset(NamedTuple):
    """A position that was set back to the start of its log."""

    partition: int
    previous: int
    current: int


def reset_positions(
    connection: Connection, topic: str, topic_id: str | None, log_bounds: Mapping[int, tuple[int, int]]
) -> list[PositionReset]:
    """Set back to the start of their log the positions that cannot be of this topic; return them.

    Given the first and the end offset of each log. Without an id, or with the one that is known, those are the
    positions beyond the end; with another id, all of them. What was recorded of the topic that is gone keeps its place
    there, under a name that nothing is looked for in: `<topic>@<id>`.
    """
    known = connection.scalar(select(topics.c.topic_id).where(topics.c.topic == topic))
    is_other = None not in {known, topic_id} and known != topic_id
    if topic_id is not None:
        values = {"topic": topic, "topic_id": topic_id}
        setting = insert_into(topics, connection.dialect.name).values(values)
        connection.execute(setting.on_conflict_do_update(index_elements=[topics.c.topic], set_={"topic_id": topic_id}))
    done = []
    for partition, (first, end) in sorted(log_bounds.items()):
        row = _partition_condition(topic, partition)
        was = connection.scalar(select(positions.c.next_offset).where(row).with_for_update())
        if was is not None and was != first and (is_other or was > end):
            connection.execute(update(positions).where(row).values(next_offset=first))
            done.append(PositionReset(partition, was, first))
    if done:
        its = (ledger.c.topic == topic) & ledger.c.partition.in_([one.partition for one in done])
        connection.execute(
            update(ledger).where(its).values(topic=f"{topic}{REPLACED_TOPIC_SEPARATOR}{known or 'unknown'}")
        )
    return done
