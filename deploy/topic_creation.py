"""Creates topics with what the broker allows: a managed Kafka refuses some settings, or allows less than is asked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kafka import KafkaAdminClient
from kafka.errors import (
    InvalidConfigurationError,
    InvalidRequestError,
    NoError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    for_code,
)

from consumers.client import TopicError
from deploy.topic_settings import BrokenPromise, TopicSpec, describe_consequence
from models.settings import Settings
from models.text import one_line

_DAY_MS: Final = 24 * 60 * 60 * 1000
#: What to ask for instead of a value that is refused, the best first: Confluent Cloud allows 701 days, others less.
_LOWER_VALUES: Final[Mapping[str, Sequence[int]]] = {
    "delete.retention.ms": (701 * _DAY_MS, 90 * _DAY_MS, 7 * _DAY_MS),
    "retention.ms": (365 * _DAY_MS, 90 * _DAY_MS, 30 * _DAY_MS, 7 * _DAY_MS),
}
#: How a broker refuses a setting.
_REFUSALS: Final = (InvalidConfigurationError, PolicyViolationError, InvalidRequestError)


class NewTopic(NamedTuple):
    """A topic to be made."""

    spec: TopicSpec
    #: How many replicas; -1 as the broker is configured.
    replicas: int
    #: Its settings: those that are promised, and those that were asked for.
    config: Mapping[str, str]


def create_topics(settings: Settings, admin: KafkaAdminClient, topics: Sequence[NewTopic]) -> list[BrokenPromise]:
    """Create topics; return each setting that the broker refused, with what the topic has instead and what that means.

    Raises `TopicError` for a topic that cannot be made at all.
    """
    refused: list[BrokenPromise] = []
    for topic, (error, reason) in zip(topics, _request(admin, topics), strict=True):
        # Another `milepost init` may have been quicker.
        if error in {NoError, TopicAlreadyExistsError}:
            continue
        if error not in _REFUSALS or not topic.config:
            raise TopicError(_cannot_be_made(settings, topic, reason))
        config, promises = _find_allowed(admin, topic)
        [(next_error, next_reason)] = _request(admin, [topic._replace(config=config)])
        if next_error not in {NoError, TopicAlreadyExistsError}:
            raise TopicError(_cannot_be_made(settings, topic, next_reason))
        refused += promises
    if topics:
        admin.wait_for_topics([topic.spec.name for topic in topics])
    return refused


def _cannot_be_made(settings: Settings, topic: NewTopic, reason: str) -> str:
    line = f"topic {topic.spec.name} cannot be made on {settings.kafka}: {reason}"
    return f"{line}; make it by hand, and set MILEPOST_TOPICS=managed"


def _request(
    admin: KafkaAdminClient, topics: Sequence[NewTopic], *, validate_only: bool = False
) -> Iterator[tuple[Any, str]]:
    """Ask the broker for topics; return, in their order, the class of the error of each, and the reason."""
    if not topics:
        return
    request = {
        topic.spec.name: {
            "num_partitions": topic.spec.partitions,
            "replication_factor": topic.replicas,
            "configs": dict(topic.config),
        }
        for topic in topics
    }
    answer = admin.create_topics(request, validate_only=validate_only, raise_errors=False)["topics"]
    by_name = {topic["name"]: topic for topic in answer}
    for name in request:
        error = for_code(by_name[name]["error_code"])
        yield error, one_line(by_name[name].get("error_message") or error.message)


def _find_allowed(admin: KafkaAdminClient, topic: NewTopic) -> tuple[dict[str, str], list[BrokenPromise]]:
    """Return the settings that the broker allows, asked one at a time, and what becomes of the others."""
    allowed: dict[str, str] = {}
    promises: list[BrokenPromise] = []
    for setting, wanted in topic.config.items():
        reason = _why_refused(admin, topic, setting, wanted)
        if reason is None:
            allowed[setting] = wanted
            continue
        lower = next(
            (
                str(value)
                for value in _LOWER_VALUES.get(setting, ())
                if _is_less(value, wanted) and _why_refused(admin, topic, setting, str(value)) is None
            ),
            None,
        )
        outcome = "the topic is made without this setting"
        if lower is not None:
            allowed[setting] = lower
            outcome = f"the topic is made with {lower}"
        problem = (
            f"Kafka refuses {setting}={wanted} ({reason}): {outcome}: {describe_consequence(setting, lower or '')}"
        )
        promises.append(BrokenPromise(topic.spec.name, setting, problem))
    return allowed, promises


def _is_less(value: int, wanted: str) -> bool:
    return wanted == "-1" or value < int(wanted)


def _why_refused(admin: KafkaAdminClient, topic: NewTopic, setting: str, value: str) -> str | None:
    """Return why the broker refuses a setting alone; None when it does not."""
    [(error, reason)] = _request(admin, [topic._replace(config={setting: value})], validate_only=True)
    return reason if error in _REFUSALS else None
