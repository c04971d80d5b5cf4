"""Positions: the next offset of every partition, updated in the transaction that writes the events before it.

This table decides where to read; offsets committed to Kafka are only for lag tools. A worker that lost a partition
without noticing finds the position advanced and writes nothing. After a restore of an older backup the position is
behind the worker's offsets, and the worker reads again from there.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    Text,
    Update,
    any_,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from models.database.postgresql import array_parameter, is_postgresql
from models.database.tables import ledger, positions, topics
from models.database.upsert import insert_into
from models.errors import MilepostError


class OffsetRange(NamedTuple):
    """The offsets of a partition that a batch covers; `end` is excluded."""

    topic: str
    partition: int
    start: int
    end: int


class StartOffset(NamedTuple):
    """Where to start reading a partition, and how many unread records the broker has deleted."""

    offset: int
    missed: int = 0


class TopicRecreatedError(MilepostError):
    """The topic is not the one that the positions belong to."""


class PositionReset(NamedTuple):
    """A position that was reset to the start of its log."""

    partition: int
    previous: int
    current: int


#: Between the name and the id of a replaced topic, in the ledger.
REPLACED_TOPIC_SEPARATOR: Final = "@"

_TOPIC_RECREATED_HINT: Final = (
    "the topic was recreated, or this is another cluster's database; name the right database, or accept the topic with"
    " `milepost init --accept-new-topic`, which keeps what is recorded and reads the topic from its start"
)


def lock_positions(
    connection: Connection, offset_ranges: Sequence[OffsetRange]
) -> tuple[dict[tuple[str, int], int], list[tuple[str, int]]]:
    """Lock the positions of a batch until the transaction ends.

    Returns the position of each partition with records still to record, and the *stale* partitions, whose position is
    missing or before the batch's start: the database has read less than the reader assumes.
    """
    unread, stale = {}, []
    locked: dict[tuple[str, int], int] = {}
    for topic in sorted({offsets.topic for offsets in offset_ranges}):
        partitions = [offsets.partition for offsets in offset_ranges if offsets.topic == topic]
        locked |= {(topic, number): at for number, at in _lock_positions(connection, topic, partitions).items()}
    for topic, partition, start, end in offset_ranges:
        position = locked.get((topic, partition))
        if position is None or position < start:
            stale.append((topic, partition))
        elif position < end:
            unread[topic, partition] = position
    return unread, stale


def advance_positions(
    connection: Connection,
    offset_ranges: Sequence[OffsetRange],
    appended_ms: Mapping[tuple[str, int], int] = MappingProxyType({}),
) -> None:
    """Move locked positions to the ends of their ranges, given when the newest event of each partition was appended."""
    rows = [
        {"key_topic": topic, "key_partition": number, "end": end, "appended_ms": appended_ms.get((topic, number), 0)}
        for topic, number, _, end in offset_ranges
    ]
    if not rows:
        return
    if is_postgresql(connection):
        connection.execute(_advance_by_arrays(), {name: [row[name] for row in rows] for name in rows[0]})
    else:
        connection.execute(_ADVANCE_POSITION, rows)


def resolve_start_offsets(
    connection: Connection, topic: str, log_bounds: Mapping[int, tuple[int, int]]
) -> dict[int, StartOffset]:
    """Return where to start reading each partition, given the first and the end offset of its log.

    An unread partition starts at the first offset. Raises `TopicRecreatedError` for a position beyond the end.
    """
    locked, start_offsets = _lock_positions(connection, topic, sorted(log_bounds)), {}
    for partition, (first, end) in log_bounds.items():
        position = locked.get(partition, first)
        if position > end:
            raise TopicRecreatedError(
                f"{topic}:{partition} ends at offset {end}, but the database has read up to {position}:"
                f" {_TOPIC_RECREATED_HINT}"
            )
        if partition not in locked:
            values = {"topic": topic, "partition": partition, "next_offset": first}
            connection.execute(insert_into(positions, connection.dialect.name).values(values).on_conflict_do_nothing())
        elif position < first:
            advance_positions(connection, [OffsetRange(topic, partition, position, first)])
        start_offsets[partition] = StartOffset(max(position, first), missed=max(0, first - position))
    return start_offsets


def read_positions(connection: Connection, topic: str) -> dict[int, int]:
    """Return the next offset by partition of a topic."""
    query = select(positions.c.partition, positions.c.next_offset).where(positions.c.topic == topic)
    return dict(connection.execute(query).all())


def remember_topic_id(connection: Connection, topic: str, topic_id: str) -> None:
    """Store the id of a topic when it is read first; raises `TopicRecreatedError` when the stored id differs."""
    values = {"topic": topic, "topic_id": topic_id}
    connection.execute(insert_into(topics, connection.dialect.name).values(values).on_conflict_do_nothing())
    stored_id = connection.scalar(select(topics.c.topic_id).where(topics.c.topic == topic))
    if stored_id != topic_id:
        raise TopicRecreatedError(
            f"{topic} has the id {topic_id}, but the database has read {stored_id}: {_TOPIC_RECREATED_HINT}"
        )


def reset_positions(
    connection: Connection, topic: str, topic_id: str | None, log_bounds: Mapping[int, tuple[int, int]]
) -> list[PositionReset]:
    """Reset the positions that do not belong to this topic to the start of their logs, and return them.

    Takes the first and the end offset of each log. With a new topic id, these are all positions; otherwise those
    beyond the end of their log. Ledger rows of the replaced topic keep their offsets under the name `<topic>@<id>`, so
    that they are not taken for records of the new topic.
    """
    stored_id = connection.scalar(select(topics.c.topic_id).where(topics.c.topic == topic))
    is_replaced = None not in {stored_id, topic_id} and stored_id != topic_id
    if topic_id is not None:
        insert = insert_into(topics, connection.dialect.name).values(topic=topic, topic_id=topic_id)
        connection.execute(insert.on_conflict_do_update(index_elements=[topics.c.topic], set_={"topic_id": topic_id}))
    locked = _lock_positions(connection, topic, sorted(log_bounds))
    resets = [
        PositionReset(partition, position, first)
        for partition, position in sorted(locked.items())
        for first, end in (log_bounds[partition],)
        if position != first and (is_replaced or position > end)
    ]
    advance_positions(connection, [OffsetRange(topic, *reset) for reset in resets])
    if resets:
        of_old_topic = (ledger.c.topic == topic) & ledger.c.partition.in_([reset.partition for reset in resets])
        replaced_name = f"{topic}{REPLACED_TOPIC_SEPARATOR}{stored_id or 'unknown'}"
        connection.execute(update(ledger).where(of_old_topic).values(topic=replaced_name))
    return resets


def _lock_positions(connection: Connection, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    parameters = {"topic": topic, "partitions": partitions}
    return dict(connection.execute(_select_for_update(connection.dialect.name), parameters).all())


@lru_cache(maxsize=2)
def _select_for_update(dialect: str) -> Select[int, int]:
    # Every transaction locks the rows in the same order.
    number = positions.c.partition
    if dialect == "postgresql":
        # As an array: a statement of as many parameters as partitions would be written anew for every batch.
        is_wanted = number == any_(array_parameter("partitions", number.type))
    else:
        is_wanted = number.in_(bindparam("partitions", expanding=True))
    query = select(number, positions.c.next_offset).where(positions.c.topic == bindparam("topic"), is_wanted)
    return query.order_by(number).with_for_update()


_ADVANCE_POSITION: Final = (
    update(positions)
    .where(positions.c.topic == bindparam("key_topic"), positions.c.partition == bindparam("key_partition"))
    .values(
        next_offset=bindparam("end"),
        newest_event_ms=func.max(positions.c.newest_event_ms, bindparam("appended_ms")),
    )
)


@lru_cache(maxsize=1)
def _advance_by_arrays() -> Update:
    """Return PostgreSQL's statement for any number of positions."""
    types: dict[str, TypeEngine[Any]] = {
        "key_topic": Text(),
        "key_partition": Integer(),
        "end": BigInteger(),
        "appended_ms": BigInteger(),
    }
    new = select(*(func.unnest(array_parameter(name, kind)).label(name) for name, kind in types.items())).subquery()
    return (
        update(positions)
        .where(positions.c.topic == new.c.key_topic, positions.c.partition == new.c.key_partition)
        .values(
            next_offset=new.c.end,
            newest_event_ms=func.greatest(positions.c.newest_event_ms, new.c.appended_ms),
        )
    )
