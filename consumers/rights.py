"""The rights on Kafka that each role needs (contract, section 12), asked before anything starts.

A missing right is not left to the first record that needs it. A broker says which operations it allows on what it
describes. What it does not say (an old broker, a group without members) is taken as allowed.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from consumers.client import admin_client, count_partitions, require_topics
from models.errors import MilepostError
from models.kafka_login import shown_user
from models.settings import Settings

#: How the broker spells the operations of Kafka's own tools.
_SPELLINGS: Final = {
    "Read": "READ",
    "Write": "WRITE",
    "Create": "CREATE",
    "Alter": "ALTER",
    "Describe": "DESCRIBE",
    "DescribeConfigs": "DESCRIBE_CONFIGS",
}
#: Operations that do not come with Describe: a topic that may not be described may have them.
_APART_FROM_DESCRIBE: Final = ("Create", "DescribeConfigs")


class Role(StrEnum):
    """What a program does, and so which rights it needs."""

    WORKER = "worker"
    PUBLISHER = "publisher"
    GATEWAY = "gateway"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    NOTIFY = "notify"
    INIT = "init"
    BOARD = "board"


class Right(NamedTuple):
    """An operation on a topic or a group, as Kafka's own tools name it; a name that ends in * is a prefix."""

    operation: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.name}"


class RightsError(MilepostError):
    """Rights that are missing; one line for each."""


def needed_rights(settings: Settings, role: Role) -> list[Right]:
    """Return the rights of a role, DescribeConfigs last."""
    events, letters = settings.events_topic, settings.dead_letters_topic
    topics = (events, settings.programmes_topic, settings.changes_topic, letters)
    init = (
        ("Describe", "DescribeConfigs") if settings.topics == "managed" else ("Create", "Describe", "DescribeConfigs")
    )
    on_topics: Mapping[Role, Sequence[tuple[str, Sequence[str]]]] = {
        Role.WORKER: (
            (events, ("Read",)),
            (settings.programmes_topic, ("Read", "Write")),
            (settings.changes_topic, ("Write",)),
            (letters, ("Write", "Read")),
        ),
        Role.PUBLISHER: ((events, ("Write",)),),
        Role.GATEWAY: ((events, ("Write",)),),
        Role.OPERATOR: ((letters, ("Read", "Write")), (events, ("Read", "Write"))),
        Role.AUDITOR: ((events, ("Read",)), (letters, ("Read",))),
        Role.NOTIFY: ((settings.changes_topic, ("Read",)),),
        Role.INIT: [(topic, init) for topic in topics],
        Role.BOARD: (),
    }
    groups = {Role.WORKER: settings.group, Role.NOTIFY: settings.notify_group("*")}
    rights = [Right(operation, "topic", topic) for topic, operations in on_topics[role] for operation in operations]
    if role in groups:
        rights.append(Right("Read", "group", groups[role]))
    if role is Role.WORKER:
        rights += [Right("DescribeConfigs", "topic", topic) for topic in topics]
    return rights


def find_missing_rights(admin: KafkaAdminClient, rights: Sequence[Right]) -> list[Right]:
    """Return those of the rights that the broker does not grant."""
    missing: list[Right] = []
    topics = list(dict.fromkeys(right.name for right in rights if right.kind == "topic"))
    allowed = _topic_operations(admin, topics) if topics else {}
    for right in rights:
        if right.kind == "group":
            # Of a prefix, any group tells.
            operations = _group_operations(admin, right.name.replace("*", "any"))
            is_missing = operations is not None and _SPELLINGS[right.operation] not in operations
        else:
            is_missing = _is_missing(admin, right, allowed.get(right.name))
        if is_missing:
            missing.append(right)
    return missing


def describe_missing_right(settings: Settings, right: Right, role: Role) -> str:
    """Return the line about a right that is missing."""
    user = shown_user(settings, f"the user of this {role}")
    return f"Kafka at {settings.kafka} does not allow {right}: grant it to {user}"


def require_rights(
    settings: Settings,
    role: Role,
    topics: Collection[str] | None = None,
    groups: Collection[str] | None = None,
    altered: Collection[str] = (),
) -> None:
    """Raise `RightsError` that names every right that a role lacks, and `TopicError` when one of its topics is missing.

    With `topics`, only those count; `groups` take the place of the role's own; on those `altered`, Alter is needed too.
    Without DescribeConfigs a worker works, and `init` finishes: they warn.
    """
    needed = [
        right
        for right in needed_rights(settings, role)
        if right.operation != "DescribeConfigs" and (topics is None or right.name in topics)
    ]
    if groups is not None:
        needed = [right for right in needed if right.kind != "group"]
        needed += [Right("Read", "group", group) for group in groups]
    names = list(dict.fromkeys(right.name for right in needed if right.kind == "topic"))
    with admin_client(settings) as admin:
        missing = find_missing_rights(admin, needed)
        if role is Role.INIT and not any(right.operation == "Describe" for right in missing):
            # What is there need not be made.
            existing = count_partitions(admin, names)
            missing = [right for right in missing if right.name not in existing]
            missing += find_missing_rights(
                admin, [Right("Alter", "topic", name) for name in altered if name in existing]
            )
        if missing:
            raise RightsError("\nmilepost: ".join(describe_missing_right(settings, right, role) for right in missing))
        if role not in {Role.WORKER, Role.INIT}:  # which say more about their topics
            require_topics(settings, admin, names)


def _topic_operations(admin: KafkaAdminClient, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the operations allowed on each topic, none on one that may not be described; without what is unknown."""
    allowed: dict[str, Sequence[str]] = {}
    for topic in admin.describe_topics(list(names)):
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            allowed[topic["name"]] = ()
        elif topic.get("authorized_operations") and topic["error_code"] != UnknownTopicOrPartitionError.errno:
            allowed[topic["name"]] = topic["authorized_operations"]
    return allowed


def _is_missing(admin: KafkaAdminClient, right: Right, allowed: Sequence[str] | None) -> bool:
    """Return whether a right on a topic is missing, given what is allowed: nothing if it may not be described."""
    if allowed or (allowed is not None and right.operation not in _APART_FROM_DESCRIBE):
        return _SPELLINGS[right.operation] not in allowed
    # A topic that is not there, or may not be described
    if right.operation == "Create":
        request = {right.name: {"num_partitions": 1, "replication_factor": -1}}
        [answer] = admin.create_topics(request, validate_only=True, raise_errors=False)["topics"]
        return bool(answer["error_code"] == TopicAuthorizationFailedError.errno)
    if right.operation == "DescribeConfigs" and allowed is not None:
        resource = ConfigResource(ConfigResourceType.TOPIC, right.name, {"cleanup.policy": None})
        return not admin.describe_configs([resource], config_filter="all")["topic"].get(right.name)
    return False


def _group_operations(admin: KafkaAdminClient, group: str) -> Sequence[str] | None:
    """Return the operations allowed on a group; None when the broker does not say, as of a group that is not there."""
    try:
        description: dict[str, Any] = admin.describe_groups([group])[group]
    except GroupAuthorizationFailedError:
        return ()
    except CoordinatorNotAvailableError:
        return None
    return description.get("authorized_operations") or None
