"""The topics of Milepost: their specification, making sure of them, enlarging and checking them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kafka import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError

from consumers.client import TopicError, admin_client, count_partitions, missing_topic
from consumers.topic_reader import OffsetRanges, open_topic
from deploy.child_process import poll_until
from deploy.topic_creation import NewTopic, create_topics
from deploy.topic_settings import MIN_INSYNC, BrokenPromise, TopicSpec, find_broken_promises
from models.settings import Settings

#: More than a dead letter can have; see `models.domain.dead_letters`.
MAX_RECORD_BYTES: Final = 1024 * 1024
_DAY_MS: Final = 24 * 60 * 60 * 1000
#: What is rejected waits in that topic alone.
_RESOLVE_LETTERS_FIRST: Final = (
    "replay or discard what `milepost dead-letters list` shows; once it shows none, remove it and run `milepost init`"
)


class UnevenTopicsError(TopicError):
    """Topics that belong together have different numbers of partitions; there is a line for each."""


class Replication(NamedTuple):
    """How safe the topics that are made are; None: as the broker is configured."""

    #: How many replicas a topic has.
    replicas: int | None = None
    #: How many of them must have a record before it counts as written: `min.insync.replicas`.
    min_insync: int | None = None

    def check(self) -> None:
        """Raise `TopicError` for topics that nobody could ever write to: the broker would make them."""
        if self.min_insync is not None and (self.replicas is None or self.min_insync > self.replicas):
            raise TopicError(
                f"--min-insync {self.min_insync} takes --replication R, with an R that is not smaller: a topic with"
                " fewer replicas refuses every record"
            )

    @property
    def config(self) -> Mapping[str, str]:
        """The settings of a topic."""
        return {} if self.min_insync is None else {MIN_INSYNC: str(self.min_insync)}


#: One replica on one node, and what a cluster says.
BROKER_DEFAULT: Final = Replication()
#: Kafka's own number for the replicas that the broker is configured with.
_DEFAULT_REPLICAS: Final = -1


class CheckedTopics(NamedTuple):
    """What a worker finds."""

    partitions: Mapping[str, int]
    #: What breaks a promise without losing events.
    warnings: Sequence[BrokenPromise]


def required_topics(settings: Settings) -> list[TopicSpec]:
    """Return the topics of the contract, section 4."""
    delete, compact = {"cleanup.policy": "delete"}, {"cleanup.policy": "compact"}
    for_ever = {"retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "LogAppendTime"}
    letters = {"max.message.bytes": str(MAX_RECORD_BYTES), "delete.retention.ms": str(10 * 365 * _DAY_MS)}
    return [
        TopicSpec(settings.events_topic, settings.partitions, delete | for_ever, is_log=True),
        TopicSpec(settings.programmes_topic, settings.partitions, compact),
        TopicSpec(settings.changes_topic, settings.partitions, delete | {"retention.ms": str(30 * _DAY_MS)}),
        # A dead letter that did not fit could never be published, and its partition would stop there for ever. They are
        # bounded below what brokers take by default.
        # Compaction drops a null value, a tombstone, after delete.retention.ms, a day by default. Here a null value may
        # be the letter of a record whose value was null; and while tombstones stay, a discarded letter differs from a
        # lost one.
        TopicSpec(settings.dead_letters_topic, 1, compact | letters),
    ]


def ensure_topics(
    settings: Settings, *, enlarge: bool = False, replication: Replication = BROKER_DEFAULT
) -> tuple[list[tuple[TopicSpec, bool]], list[BrokenPromise]]:
    """Create the topics that are missing; return each, whether it existed, and what breaks a promise. Safe to repeat.

    With `enlarge`, topics with fewer partitions than the settings say get the others. Programmes may then go on in
    other partitions: events count in any order, and running workers stop.

    Raises `TopicError`, before it changes anything, with a line for each topic that has another number of partitions.
    """
    topics = required_topics(settings)
    with admin_client(settings) as admin:
        existing = count_partitions(admin, [topic.name for topic in topics])
        unlike = [topic for topic in topics if existing.get(topic.name, topic.partitions) != topic.partitions]
        small = [topic for topic in unlike if enlarge and existing[topic.name] < topic.partitions]
        if wrong := [_wrong_count(settings, topic, existing[topic.name]) for topic in unlike if topic not in small]:
            raise TopicError("\n".join(wrong))
        if small:
            admin.create_partitions({topic.name: topic.partitions for topic in small})
        replicas = replication.replicas or _DEFAULT_REPLICAS
        new = [
            NewTopic(topic, replicas, {**topic.config, **replication.config})
            for topic in topics
            if topic.name not in existing
        ]
        refused = create_topics(settings, admin, new)
        told = {(promise.topic, promise.setting) for promise in refused}
        broken = [each for each in find_broken_promises(admin, topics) if (each.topic, each.setting) not in told]
        broken = [*refused, *broken]
    return [(topic, topic.name in existing) for topic in topics], broken


def find_small_topics(settings: Settings) -> list[str]:
    """Return the topics with fewer partitions than the settings say."""
    expected = {topic.name: topic.partitions for topic in required_topics(settings)}
    with admin_client(settings) as admin:
        existing = count_partitions(admin, list(expected))
    return [name for name, count in existing.items() if count < expected[name]]


def _wrong_count(settings: Settings, topic: TopicSpec, actual: int) -> str:
    mismatch = f"topic {topic.name} on {settings.kafka} has {actual} partitions"
    if topic.name == settings.dead_letters_topic:
        return f"{mismatch} instead of 1: {_RESOLVE_LETTERS_FIRST}"
    remedy = f"set MILEPOST_PARTITIONS={actual}"
    if actual < topic.partitions:
        remedy += f", or enlarge all topics with `milepost init --partitions {topic.partitions}`"
    return f"{mismatch}, {topic.partitions} are asked for: {remedy}"


def check_managed_topics(settings: Settings) -> tuple[Mapping[str, int], list[BrokenPromise]]:
    """Return the partitions of the topics that others manage, and what breaks a promise.

    Raises `TopicError`, with a line for each that is missing, and for each with another number of partitions than its
    sisters.
    """
    topics = required_topics(settings)
    with admin_client(settings) as admin:
        partitions = count_partitions(admin, [topic.name for topic in topics])
        missing = [_describe_missing(settings, topic) for topic in topics if topic.name not in partitions]
        if faults := [*missing, *describe_uneven_topics(settings, partitions)]:
            raise TopicError("\n".join(faults))
        return partitions, find_broken_promises(admin, topics)


def _describe_missing(settings: Settings, topic: TopicSpec) -> str:
    config = ", ".join(f"{setting}={value}" for setting, value in topic.config.items())
    count = "1 partition" if topic.partitions == 1 else f"{topic.partitions} partitions"
    return f"{missing_topic(settings, topic.name)}, with {count} and {config}"


def check_topics(settings: Settings) -> CheckedTopics:
    """Return what a worker has to know of its topics; raises `TopicError`, with a line for each fault.

    The topics keyed by programme may have any number of partitions, but all three the same: the partition of a
    programme decides which worker it belongs to.
    """
    topics = required_topics(settings)
    with admin_client(settings) as admin:
        partitions = count_partitions(admin, [topic.name for topic in topics])
        existing = [topic for topic in topics if topic.name in partitions]
        broken = find_broken_promises(admin, existing) if existing else []
        missing = [missing_topic(settings, topic.name) for topic in topics if topic not in existing]
        uneven = [*describe_uneven_topics(settings, partitions)]
        if faults := [*missing, *(str(promise) for promise in broken if promise.is_fatal)]:
            raise TopicError("\n".join([*faults, *uneven]))
        if uneven:
            raise UnevenTopicsError("\n".join(uneven))
        _wait_for_coordinator(admin, settings.group)
    return CheckedTopics(partitions, broken)


def describe_uneven_topics(settings: Settings, partitions: Mapping[str, int]) -> Iterator[str]:
    """Return a line for each topic with another number of partitions than its sisters."""
    events = settings.events_topic
    sisters = [name for name in (events, settings.programmes_topic, settings.changes_topic) if name in partitions]
    largest = max((partitions[name] for name in sisters), default=0)
    for name in sisters[1:] if events in partitions else ():
        if (count := partitions[name]) != partitions[events]:
            yield (
                f"topic {name} has {count} partitions and {events} has {partitions[events]} on {settings.kafka}, but"
                f" they must have equally many: `milepost init --partitions {largest}` enlarges the smaller ones, and"
                " workers go on by themselves"
            )
    if (count := partitions.get(settings.dead_letters_topic, 1)) != 1:
        yield (
            f"topic {settings.dead_letters_topic} has {count} partitions on {settings.kafka} instead of 1:"
            f" {_RESOLVE_LETTERS_FIRST}"
        )


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
