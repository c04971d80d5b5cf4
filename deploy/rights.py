"""The rights on Kafka that a worker needs, asked before anything starts: a missing one is not left to the first record.

A broker says which operations it allows on what it describes. What it does not say (an old broker, a group without
members) is taken as allowed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError, GroupAuthorizationFailedError, TopicAuthorizationFailedError

from consumers.client import admin_client, require_topics
from models.errors import MilepostError
from models.kafka_login import shown_user
from models.settings import Settings

#: How Kafka's own tools spell the operations.
_SPELLINGS: Final = {"READ": "Read", "WRITE": "Write"}


class RightsError(MilepostError):
    """Rights without which a worker cannot work; one line for each."""


def require_worker_rights(settings: Settings) -> None:
    """Raise `RightsError` that names every missing right and its resource (contract, section 12).

    Without DescribeConfigs a worker works: see `deploy.topic_settings`.
    """
    needed = {
        settings.events_topic: ("READ",),
        settings.programmes_topic: ("READ", "WRITE"),
        settings.changes_topic: ("WRITE",),
        settings.dead_letters_topic: ("WRITE", "READ"),
    }
    with admin_client(settings) as admin:
        topics = _topic_operations(admin, list(needed))
        group_operations = _group_operations(admin, settings.group)
    missing = [
        f"{_SPELLINGS[operation]} on topic {topic}"
        for topic, operations in needed.items()
        for operation in operations
        if operation not in topics.get(topic, operations)
    ]
    if group_operations is not None and "READ" not in group_operations:
        missing.append(f"Read on group {settings.group}")
    if missing:
        user = shown_user(settings, "the user of this worker")
        lines = (f"Kafka at {settings.kafka} does not allow {right}: grant it to {user}" for right in missing)
        raise RightsError("\nmilepost: ".join(lines))


def require_notify_rights(settings: Settings, groups: Sequence[str]) -> None:
    """Raise `TopicError` when `changes` is missing, and `RightsError` for each right on it or a group that is."""
    topic = settings.changes_topic
    with admin_client(settings) as admin:
        missing = [] if "READ" in _topic_operations(admin, [topic]).get(topic, ("READ",)) else [f"topic {topic}"]
        if not missing:
            require_topics(settings, admin, [topic])
        for group in groups:
            operations = _group_operations(admin, group)
            if operations is not None and "READ" not in operations:
                missing.append(f"group {group}")
    if missing:
        user = shown_user(settings, "the user of this process")
        lines = (f"Kafka at {settings.kafka} does not allow Read on {name}: grant it to {user}" for name in missing)
        raise RightsError("\nmilepost: ".join(lines))


def require_write_right(settings: Settings, topic: str) -> None:
    """Raise `TopicError` when a topic is missing, and `RightsError` when it may not be written to."""
    with admin_client(settings) as admin:
        operations = _topic_operations(admin, [topic]).get(topic, ("WRITE",))
        if "WRITE" in operations:
            require_topics(settings, admin, [topic])
            return
    user = shown_user(settings, "the user of this gateway")
    raise RightsError(f"Kafka at {settings.kafka} does not allow Write on topic {topic}: grant it to {user}")


def _topic_operations(admin: KafkaAdminClient, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the operations allowed on each topic, none on one that may not be described; without what is unknown."""
    allowed: dict[str, Sequence[str]] = {}
    for topic in admin.describe_topics(list(names)):
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            allowed[topic["name"]] = ()
        elif topic.get("authorized_operations"):
            allowed[topic["name"]] = topic["authorized_operations"]
    return allowed


def _group_operations(admin: KafkaAdminClient, group: str) -> Sequence[str] | None:
    """Return the operations allowed on a group; None when the broker does not say, as of a group that is not there."""
    try:
        description: dict[str, Any] = admin.describe_groups([group])[group]
    except GroupAuthorizationFailedError:
        return ()
    except CoordinatorNotAvailableError:
        return None
    return description.get("authorized_operations") or None
