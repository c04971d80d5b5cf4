"""The consumer group of a target: where it begins, and what it remembers (`streams.notify.offsets`)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, OffsetMetadataTooLargeError

from models.settings import Settings
from streams.kafka.compat import patch_aiokafka
from streams.kafka.config import aiokafka_options
from streams.notify.offsets import GroupNotes, OffsetTracker, decode_offsets

#: How long a group waits for a member that was killed.
_SESSION_MS: Final = 6_000
_MAX_FETCH_BYTES: Final = 1024 * 1024


def create_consumer(settings: Settings, target: str) -> AIOKafkaConsumer:
    """Return a consumer of a target's group, not started."""
    patch_aiokafka()
    return AIOKafkaConsumer(
        **aiokafka_options(settings),
        group_id=settings.notify_group(target),
        enable_auto_commit=False,
        # A partition without an offset in a group that has others is new: nothing of it was delivered.
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=_SESSION_MS,
        heartbeat_interval_ms=_SESSION_MS // 3,
        max_partition_fetch_bytes=_MAX_FETCH_BYTES,
        fetch_max_bytes=_MAX_FETCH_BYTES,
    )


async def begin_group(settings: Settings, target: str, notes: GroupNotes) -> None:
    """Let a new target's group begin at the log's end; that of a known one stays where it is.

    Committed before a member joins: what comes from now on is delivered, whatever happens to this process. A group that
    has members takes no such commit, so that of two processes that start at once none moves the other's offsets.
    """
    consumer = create_consumer(settings, target)
    try:
        partitions = await _start_with_all_partitions(consumer, settings.changes_topic)
        if any(offset >= 0 for offset, _ in (await _fetch_committed(consumer, partitions)).values()):
            return
        ends = await consumer.end_offsets(partitions)
        try:
            await _commit(consumer, {partition: OffsetTracker(end) for partition, end in ends.items()}, notes)
        except CommitFailedError:
            # Another process was faster.
            return
    finally:
        await consumer.stop()


async def read_trackers(
    consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, tuple[OffsetTracker, GroupNotes]]:
    """Return where a group stands at some partitions.

    At their start where it has no offset, or one after the end of the log, which was truncated. (With a topic that is
    removed Kafka forgets the offsets of groups: its targets are new then.)
    """
    partitions = [*partitions]
    committed = await _fetch_committed(consumer, partitions)
    starts, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    trackers = {}
    for partition, (offset, metadata) in committed.items():
        tracker, notes = decode_offsets(max(offset, 0), metadata)
        if not 0 <= offset <= ends[partition]:
            tracker = OffsetTracker(starts[partition])
        trackers[partition] = tracker, notes
    return trackers


async def commit(
    consumer: AIOKafkaConsumer, trackers: Mapping[TopicPartition, OffsetTracker], notes: GroupNotes
) -> None:
    """Commit where a group stands. Raises `KafkaError`; not when the partitions are another member's by now."""
    try:
        await _commit(consumer, trackers, notes)
    except (CommitFailedError, IllegalStateError):
        return


async def _commit(
    consumer: AIOKafkaConsumer, trackers: Mapping[TopicPartition, OffsetTracker], notes: GroupNotes
) -> None:
    try:
        await consumer.commit({partition: tracker.encode(notes) for partition, tracker in trackers.items()})
    except OffsetMetadataTooLargeError:
        # A broker that allows less: what lies after the first open offset is repeated after a restart.
        await consumer.commit({partition: tracker.encode(notes, 0) for partition, tracker in trackers.items()})


async def _start_with_all_partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    await consumer.start()
    await consumer._client.force_metadata_update()  # noqa: SLF001 - it has no other way
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001 - as above
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    if not partitions:
        raise KafkaError(f"topic {topic} is missing")
    consumer.assign(partitions)
    return partitions


async def _fetch_committed(
    consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, tuple[int, str]]:
    """Return offset and metadata of partitions; the consumer's own `committed` leaves the metadata out."""
    found: Mapping[TopicPartition, Any] = await consumer._coordinator.fetch_committed_offsets([*partitions])  # noqa: SLF001 - as above
    return {
        partition: (found[partition].offset, found[partition].metadata) if partition in found else (-1, "")
        for partition in partitions
    }
