"""The topics of Milepost: what they have to be like, making them, checking them."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Final, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, NoError, TopicAlreadyExistsError, for_code

from consumers.client import TopicError, count_partitions, create_client, kafka_errors, missing_topic_error, topic_id_of
from models.settings import Settings

_DAY_MS: Final = 24 * 60 * 60 * 1000
_COORDINATOR_TIMEOUT_S: Final = 10.0
_COORDINATOR_POLL_S: Final = 0.1


class TopicSpec(NamedTuple):
    """What a topic has to be like."""

    name: str
    partitions: int
    config: Mapping[str, str]


class EnsuredTopic(NamedTuple):
    """A topic that is there now."""

    name: str
    partitions: int
    #: Whether it was there before.
    existed: bool


def required_topics(settings: Settings) -> list[TopicSpec]:
    """Return the topics of the contract, section 4."""
    return [
        TopicSpec(
            settings.events_topic,
            settings.partitions,
            {"cleanup.policy": "delete", "retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
        ),
        TopicSpec(settings.programmes_topic, settings.partitions, {"cleanup.policy": "compact"}),
        TopicSpec(
            settings.changes_topic,
            settings.partitions,
            {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY_MS)},
        ),
        # A record that the events topic took may be as large as the broker allows (1 MiB unless it says otherwise), and
        # its dead letter carries our headers on top. One that did not fit could never be rejected, and its partition
        # would stand still before it for ever.
        # To Kafka a null value is a tombstone, which compaction drops after a day; here it may be a letter, of a record
        # whose value was null. And as long as tombstones stay, a letter that was discarded can be told from a lost one.
        TopicSpec(
            settings.dead_letters_topic,
            1,
            {
                "cleanup.policy": "compact",
                "max.message.bytes": str(16 * 1024 * 1024),
                "delete.retention.ms": str(10 * 365 * _DAY_MS),
            },
        ),
    ]


def ensure_topics(settings: Settings) -> list[EnsuredTopic]:
    """Make the topics that are missing and leave the others as they are; safe to repeat.

    Raises `TopicError` for one that has another number of partitions than it should: that cannot be changed without
    moving programmes to other partitions, so it is left to a person. Nothing is made then.
    """
    wanted = required_topics(settings)
    with kafka_errors(settings) as options, closing(create_client(KafkaAdminClient, **options)) as admin:
        there = count_partitions(admin, [topic.name for topic in wanted])
        for topic in wanted:
            _check_partition_count(settings, topic, there.get(topic.name, topic.partitions))
        if absent := [topic for topic in wanted if topic.name not in there]:
            _create_topics(settings, admin, absent)
    return [EnsuredTopic(topic.name, topic.partitions, topic.name in there) for topic in wanted]


def _check_partition_count(settings: Settings, topic: TopicSpec, actual: int) -> None:
    if actual == topic.partitions:
        return
    if topic.name == settings.dead_letters_topic:
        raise TopicError(
            f"topic {topic.name} on {settings.kafka} has {actual} partitions instead of 1: delete it first"
        )
    raise TopicError(
        f"topic {topic.name} on {settings.kafka} has {actual} partitions, MILEPOST_PARTITIONS says {topic.partitions}:"
        f" set MILEPOST_PARTITIONS={actual}, or delete the topic first"
    )


def _create_topics(settings: Settings, admin: KafkaAdminClient, topics: list[TopicSpec]) -> None:
    request = {
        # The broker's own default, so that one node gets one replica and a cluster gets what it is run with.
        topic.name: {"num_partitions": topic.partitions, "replication_factor": -1, "configs": dict(topic.config)}
        for topic in topics
    }
    answer = admin.create_topics(request, raise_errors=False)
    for topic in answer["topics"]:
        error = for_code(topic["error_code"])
        # Another `milepost init` may have been quicker.
        if error not in {NoError, TopicAlreadyExistsError}:
            said = topic.get("error_message") or error.message
            raise TopicError(f"topic {topic['name']} cannot be made on {settings.kafka}: {said}")
    admin.wait_for_topics(list(request))


def check_topics(settings: Settings) -> dict[str, int]:
    """Return the number of partitions of every topic; raises `TopicError` for what a worker cannot work with.

    The topics keyed by programme may have any number of partitions, but all three the same: which worker a programme
    belongs to is told by its partition.
    """
    wanted = required_topics(settings)
    with kafka_errors(settings) as options, closing(create_client(KafkaAdminClient, **options)) as admin:
        there = count_partitions(admin, [topic.name for topic in wanted])
        _wait_for_coordinator(admin, settings.group)
    for topic in wanted:
        if topic.name not in there:
            raise missing_topic_error(settings, topic.name)
    events, count = settings.events_topic, there[settings.events_topic]
    for sister in (settings.programmes_topic, settings.changes_topic):
        if there[sister] != count:
            raise TopicError(
                f"topic {sister} has {there[sister]} partitions and {events} has {count} on {settings.kafka}, but they"
                " must have equally many: delete the wrong one and run `milepost init`"
            )
    if (letters := there[settings.dead_letters_topic]) != 1:
        raise TopicError(
            f"topic {settings.dead_letters_topic} has {letters} partitions on {settings.kafka} instead of 1:"
            " delete it and run `milepost init`"
        )
    return there


def _wait_for_coordinator(admin: KafkaAdminClient, group: str) -> None:
    """Wait until the group has a coordinator, which a broker makes the first time anybody asks; not for ever.

    A worker asks again and again by itself, and its client logs an error each time.
    """
    patience = time.monotonic() + _COORDINATOR_TIMEOUT_S
    while True:
        try:
            admin.describe_groups([group])
        except CoordinatorNotAvailableError:
            if time.monotonic() > patience:
                return
            time.sleep(_COORDINATOR_POLL_S)
        else:
            return


def read_topic_id(settings: Settings) -> str | None:
    """Return the id of the events topic, where the broker has ids."""
    with kafka_errors(settings) as options, closing(create_client(KafkaAdminClient, **options)) as admin:
        return topic_id_of(admin, settings.events_topic)


def read_offset_ranges(settings: Settings) -> dict[int, tuple[int, int]]:
    """Return the first and the end offset of every partition of the events topic."""
    topic = settings.events_topic
    with kafka_errors(settings) as options, closing(create_client(KafkaConsumer, **options)) as consumer:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        first, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        return {tp.partition: (first[tp], end[tp]) for tp in partitions}
