"""The topics of Milepost: their specification, creating them, checking them."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from kafka import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError, NoError, TopicAlreadyExistsError, for_code

from consumers.client import TopicError, admin_client, count_partitions, require_topics
from consumers.topic_reader import OffsetRanges, open_topic
from deploy.child_process import poll_until
from models.settings import Settings

_DAY_MS: Final = 24 * 60 * 60 * 1000


class TopicSpec(NamedTuple):
    """The contract's requirements of a topic."""

    name: str
    partitions: int
    config: Mapping[str, str]


def required_topics(settings: Settings) -> list[TopicSpec]:
    """Return the topics of the contract, section 4."""
    delete, compact = {"cleanup.policy": "delete"}, {"cleanup.policy": "compact"}
    for_ever = {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}
    letters = {"max.message.bytes": str(16 * 1024 * 1024), "delete.retention.ms": str(10 * 365 * _DAY_MS)}
    return [
        TopicSpec(settings.events_topic, settings.partitions, delete | for_ever),
        TopicSpec(settings.programmes_topic, settings.partitions, compact),
        TopicSpec(settings.changes_topic, settings.partitions, delete | {"retention.ms": str(30 * _DAY_MS)}),
        # A dead letter is its record, which the broker limits (1 MiB by default), plus our headers. One that did not
        # fit could never be published, and its partition would stop there for ever.
        # Compaction drops a null value, a tombstone, after delete.retention.ms, a day by default. Here a null value may
        # be the letter of a record whose value was null; and while tombstones stay, a discarded letter differs from a
        # lost one.
        TopicSpec(settings.dead_letters_topic, 1, compact | letters),
    ]


def ensure_topics(settings: Settings) -> list[tuple[TopicSpec, bool]]:
    """Create the topics that are missing and leave the others; return each, and whether it existed. Safe to repeat.

    Raises `TopicError`, before it creates any, for a topic with the wrong number of partitions: changing that would
    move programmes to other partitions, so it is left to a person.
    """
    topics = required_topics(settings)
    with admin_client(settings) as admin:
        existing = count_partitions(admin, [topic.name for topic in topics])
        for topic in topics:
            if (actual := existing.get(topic.name, topic.partitions)) == topic.partitions:
                continue
            mismatch = f"topic {topic.name} on {settings.kafka} has {actual} partitions"
            if topic.name == settings.dead_letters_topic:
                raise TopicError(f"{mismatch} instead of 1: delete it first")
            raise TopicError(
                f"{mismatch}, MILEPOST_PARTITIONS says {topic.partitions}:"
                f" set MILEPOST_PARTITIONS={actual}, or delete the topic first"
            )
        if missing := [topic for topic in topics if topic.name not in existing]:
            _create_topics(settings, admin, missing)
    return [(topic, topic.name in existing) for topic in topics]


def _create_topics(settings: Settings, admin: KafkaAdminClient, topics: list[TopicSpec]) -> None:
    request = {
        # -1 is the broker's default: one replica on one node, and what a cluster is configured with.
        topic.name: {"num_partitions": topic.partitions, "replication_factor": -1, "configs": dict(topic.config)}
        for topic in topics
    }
    for topic in admin.create_topics(request, raise_errors=False)["topics"]:
        error = for_code(topic["error_code"])
        # Another `milepost init` may have been quicker.
        if error not in {NoError, TopicAlreadyExistsError}:
            reason = topic.get("error_message") or error.message
            raise TopicError(f"topic {topic['name']} cannot be made on {settings.kafka}: {reason}")
    admin.wait_for_topics(list(request))


def check_topics(settings: Settings) -> dict[str, int]:
    """Return the number of partitions of every topic; raises `TopicError` for topics that a worker cannot work with.

    The topics keyed by programme may have any number of partitions, but all three the same: the partition of a
    programme decides which worker it belongs to.
    """
    names = [topic.name for topic in required_topics(settings)]
    with admin_client(settings) as admin:
        partitions = require_topics(settings, admin, names)
        _wait_for_coordinator(admin, settings.group)
    events, count = settings.events_topic, partitions[settings.events_topic]
    for name in (settings.programmes_topic, settings.changes_topic):
        if partitions[name] != count:
            raise TopicError(
                f"topic {name} has {partitions[name]} partitions and {events} has {count} on {settings.kafka}, but they"
                " must have equally many: delete the wrong one and run `milepost init`"
            )
    if (count := partitions[settings.dead_letters_topic]) != 1:
        raise TopicError(
            f"topic {settings.dead_letters_topic} has {count} partitions on {settings.kafka} instead of 1:"
            " delete it and run `milepost init`"
        )
    return partitions


def _wait_for_coordinator(admin: KafkaAdminClient, group: str) -> None:
    """Wait until the group has a coordinator, which the broker creates on the first request; give up after 10 s.

    A worker would retry by itself, but its client logs an error each time.
    """

    def exists() -> bool:
        try:
            admin.describe_groups([group])
        except CoordinatorNotAvailableError:
            return False
        return True

    poll_until(exists, timeout_seconds=10, poll_seconds=0.1)


def read_topic_id(settings: Settings) -> str | None:
    """Return the id that distinguishes the events topic from an earlier one of its name; None before Kafka 2.8."""
    with admin_client(settings) as admin:
        [description] = admin.describe_topics([settings.events_topic])
    return str(description["topic_id"]) if description.get("topic_id") else None


def read_offset_ranges(settings: Settings) -> OffsetRanges:
    """Return the first and the end offset of every partition of the events topic."""
    with open_topic(settings, settings.events_topic) as (_, ranges):
        return ranges
