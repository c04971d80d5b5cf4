"""Whether topics are set as the contract promises, section 4: whoever made them may have set them otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

#: Settings for which more is as good; -1 is without a limit.
_MINIMA: Final = {"retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"}
#: With so much of a setting nobody need be warned: what Confluent Cloud allows.
_ENOUGH: Final = {"delete.retention.ms": str(701 * 24 * 60 * 60 * 1000)}
_CONSEQUENCES: Final = {
    "message.timestamp.type": "publishers' clocks stand for the broker's, and no claim is rejected as time-in-future",
    "retention.ms": "Kafka deletes records that are to be kept longer",
    "retention.bytes": "Kafka deletes records that are to be kept longer",
    "delete.retention.ms": "a discarded dead letter cannot be told from a lost one after that",
    "max.message.bytes": "the largest rejected records do not fit in",
    "min.insync.replicas": "a record counts as written as soon as the brokers' default says",
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
    """Return the values of the promised settings by topic, of topics that exist; none of a topic where nobody says."""
    # The broker says nothing about a topic whose configuration this client may not describe.
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name, dict.fromkeys(topic.config)) for topic in topics]
    described = admin.describe_configs(resources, config_filter="all")["topic"]
    return {
        topic.name: {name: setting.get("value") for name, setting in described.get(topic.name, {}).items()}
        for topic in topics
    }


def find_broken_promises(admin: KafkaAdminClient, topics: Sequence[TopicSpec]) -> list[BrokenPromise]:
    """Return what breaks a promise, of topics that exist."""
    described = describe_settings(admin, topics)
    return [broken for topic in topics for broken in _compare(topic, described[topic.name])]


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
