"""Whether topics are set as the contract promises, section 4: whoever made them may have set them otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from models.views.formatting import format_count

#: Settings for which more is as good; -1 is without a limit.
_MINIMA: Final = {"retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"}
#: With so much of a setting nobody need be warned: what Confluent Cloud allows.
_ENOUGH: Final = {"delete.retention.ms": str(701 * 24 * 60 * 60 * 1000)}
#: How many replicas have to take a record before it counts as written.
MIN_INSYNC: Final = "min.insync.replicas"
_CONSEQUENCES: Final = {
    "message.timestamp.type": "publishers' clocks stand for the broker's, and no claim is rejected as time-in-future",
    "retention.ms": "Kafka deletes records that are to be kept longer",
    "retention.bytes": "Kafka deletes records that are to be kept longer",
    "delete.retention.ms": "a discarded dead letter cannot be told from a lost one after that",
    "max.message.bytes": "the largest rejected records do not fit in",
    MIN_INSYNC: "a record counts as written as soon as the brokers' default says",
}


class TopicSpec(NamedTuple):
    """The contract's requirements of a topic."""

    name: str
    partitions: int
    config: Mapping[str, str]
    #: Whether a worker must not run when compaction deletes records of it.
    is_log: bool = False


class BrokenPromise(NamedTuple):
    """A setting of a topic that is not as promised, or is unknown; as text, one line."""

    topic: str
    setting: str
    problem: str
    #: Whether events would be lost.
    is_fatal: bool = False

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.problem}"


def describe_settings(admin: KafkaAdminClient, topics: Sequence[TopicSpec]) -> Mapping[str, Mapping[str, str | None]]:
    """Return the values of the promised settings by topic, and `MIN_INSYNC`, of topics that exist.

    None of a topic where nobody says: the broker says nothing about a topic whose configuration this client may not
    describe.
    """
    names = {topic.name: dict.fromkeys([*topic.config, MIN_INSYNC]) for topic in topics}
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, settings) for topic, settings in names.items()]
    described = admin.describe_configs(resources, config_filter="all")["topic"] if resources else {}
    return {
        topic.name: {name: setting.get("value") for name, setting in described.get(topic.name, {}).items()}
        for topic in topics
    }


def find_broken_promises(admin: KafkaAdminClient, topics: Sequence[TopicSpec]) -> list[BrokenPromise]:
    """Return what breaks a promise, of topics that exist, and what keeps records from being written."""
    described = describe_settings(admin, topics)
    broken = [broken for topic in topics for broken in _compare(topic, described[topic.name])]
    return [*broken, *find_replica_faults(admin, described)]


def find_replica_faults(
    admin: KafkaAdminClient, described: Mapping[str, Mapping[str, str | None]]
) -> list[BrokenPromise]:
    """Return the topics that take no record, or none while a broker is down; of those whose settings may be seen."""
    least = {topic: int(value) for topic, settings in described.items() if (value := settings.get(MIN_INSYNC))}
    if not least:
        return []
    replicas = {
        topic["name"]: min((len(partition["replica_nodes"]) for partition in topic["partitions"]), default=0)
        for topic in admin.describe_topics(list(least))
    }
    faults = (judge_replicas(topic, at_least, replicas.get(topic, 0)) for topic, at_least in least.items())
    return [fault for fault in faults if fault is not None]


def judge_replicas(topic: str, min_insync: int, replicas: int) -> BrokenPromise | None:
    """Return what is wrong with so many replicas of the partitions of a topic; None where that is unknown or well."""
    # A single replica is away with its broker, whatever this setting says.
    if not replicas or min_insync < replicas or min_insync == replicas == 1:
        return None
    has = f"{MIN_INSYNC} is {min_insync}, and a partition has {format_count(replicas, 'replica')}"
    means = "nothing can be written" if min_insync > replicas else "nothing can be written while one broker is down"
    change = f"kafka-configs.sh --alter --topic {topic} --add-config {MIN_INSYNC}={max(1, replicas - 1)}"
    return BrokenPromise(topic, MIN_INSYNC, f"{has}: {means}; `{change}` sets it, or give it more replicas")


def _compare(topic: TopicSpec, described: Mapping[str, str | None]) -> Iterator[BrokenPromise]:
    if not described:
        problem = "its settings could not be checked: that takes the right DescribeConfigs on it"
        yield BrokenPromise(topic.name, "settings", problem)
    for setting, required in topic.config.items():
        value = described.get(setting)
        if value is None or _is_kept(setting, value, required):
            continue
        is_fatal = topic.is_log and setting == "cleanup.policy" and "compact" in value
        change = f"kafka-configs.sh --alter --topic {topic.name} --add-config {setting}={required}"
        problem = f"{setting} is {value}, not {required}: {describe_consequence(setting, value)}; `{change}` sets it"
        yield BrokenPromise(topic.name, setting, problem, is_fatal)


def _is_kept(setting: str, value: str, required: str) -> bool:
    if value == required or setting not in _MINIMA:
        return value == required
    required = _ENOUGH.get(setting, required)
    return value == "-1" or (required != "-1" and int(value) >= int(required))


def describe_consequence(setting: str, value: str) -> str:
    """Return what it means that a setting is not as promised."""
    if setting == "cleanup.policy":
        if "compact" in value:
            return "compaction deletes all but the newest record of each key"
        return "records are deleted when they are old, not when a newer one replaces them"
    return _CONSEQUENCES[setting]
