"""Rights that are missing, on Kafka and in PostgreSQL, are named at the start of a command that needs them."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from sqlalchemy import make_url, text
from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.kafka.broker import run_broker
from deploy.rights import RightsError, require_notify_rights, require_worker_rights
from deploy.topics import check_topics, ensure_topics
from models.database.engine import make_engine
from models.database.rights import require_table_rights
from models.settings import Settings, read_settings
from tests.helpers.databases import grant
from tests.helpers.event_generators import random_events
from tests.helpers.recorder import migrated_engine
from tests.helpers.workers import free_port, wait_until

Login = Callable[[str], Settings]

GROUP_READ = ("GROUP", "milepost", "READ")
TOPIC_RIGHTS = [
    ("TOPIC", "milepost.events", "READ"),
    ("TOPIC", "milepost.programmes", "READ"),
    ("TOPIC", "milepost.programmes", "WRITE"),
    ("TOPIC", "milepost.changes", "WRITE"),
    ("TOPIC", "milepost.dead-letters", "WRITE"),
    ("TOPIC", "milepost.dead-letters", "READ"),
]
TOPICS = ("events", "programmes", "changes", "dead-letters")
CONFIGS = [("TOPIC", f"milepost.{name}", "DESCRIBE_CONFIGS") for name in TOPICS]
LETTERS_WRITE = ("TOPIC", "milepost.dead-letters", "WRITE")
DESCRIBE_EVENTS = ("TOPIC", "milepost.events", "DESCRIBE")
#: The users of the broker, with their rights.
USERS: Mapping[str, list[tuple[str, str, str]]] = {
    "worker": [GROUP_READ, *TOPIC_RIGHTS, *CONFIGS],
    "noletters": [GROUP_READ, *CONFIGS, *(right for right in TOPIC_RIGHTS if right != LETTERS_WRITE)],
    "noconfigs": [GROUP_READ, *TOPIC_RIGHTS],
    "notifier": [("TOPIC", "milepost.changes", "READ"), ("GROUP", "milepost-notify-one", "READ")],
    "looker": [DESCRIBE_EVENTS],
    "nobody": [],
}


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Give the addresses of a Kafka with an authoriser: one for everything without a login, one for the users."""
    port, login, controller = free_port(), free_port(), free_port()
    listeners = f"PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login}"
    users = " ".join(f'user_{user}="secret"' for user in USERS)
    overrides = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    folder = tmp_path_factory.mktemp("rights") / "kafka"
    with run_broker(folder, port=port, property_overrides=overrides) as broker:
        ensure_topics(Settings(kafka=broker.bootstrap_servers, partitions=2))
        with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)) as admin:
            allow, any_host = ACLPermissionType.ALLOW, "*"
            admin.create_acls(
                [
                    ACL(f"User:{user}", any_host, ACLOperation[right], allow, ResourcePattern(ResourceType[kind], name))
                    for user, rights in USERS.items()
                    for kind, name, right in rights
                ]
            )
        yield broker.bootstrap_servers, f"127.0.0.1:{login}"


def environment_of(user: str, address: str) -> dict[str, str]:
    return {
        "MILEPOST_KAFKA": address,
        "MILEPOST_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "MILEPOST_KAFKA_SASL_MECHANISM": "PLAIN",
        "MILEPOST_KAFKA_SASL_USERNAME": user,
        "MILEPOST_KAFKA_SASL_PASSWORD": "secret",
    }


@pytest.fixture
def login(brokers: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Login:
    """Give a function that lets the commands of this test run as a user."""
    monkeypatch.chdir(tmp_path)

    def login(user: str) -> Settings:
        for name, value in environment_of(user, brokers[1]).items():
            monkeypatch.setenv(name, value)
        return read_settings()

    return login


def milepost(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments, prog_name="milepost")


def error_lines(*arguments: str) -> list[str]:
    result = milepost(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return result.stderr.splitlines()


def missing_rights(settings: Settings) -> list[str]:
    try:
        require_worker_rights(settings)
    except RightsError as error:
        return [line.partition(" does not allow ")[2].partition(":")[0] for line in str(error).splitlines()]
    return []


# Kafka


def test_a_worker_with_the_rights_of_the_contract_is_refused_nothing(login: Login) -> None:
    settings = login("worker")
    wait_until(lambda: not missing_rights(settings), "the rights are in force")
    assert check_topics(settings)[1] == []


def test_a_broker_without_an_authoriser_refuses_nothing(kafka: str) -> None:
    ensure_topics(settings := Settings(kafka=kafka, prefix="unguarded", partitions=1))
    require_worker_rights(settings)


def test_every_missing_right_is_named_with_its_resource_before_a_worker_starts(login: Login) -> None:
    assert missing_rights(login("nobody")) == [
        *(f"{right.capitalize()} on topic {name}" for _, name, right in TOPIC_RIGHTS),
        "Read on group milepost",
    ]


def test_a_worker_that_may_not_write_dead_letters_ends_before_the_first_of_them(login: Login) -> None:
    settings = login("noletters")
    with migrated_engine(settings.database):
        pass
    refused = "does not allow Write on topic milepost.dead-letters: grant it to noletters"
    assert error_lines("worker", "--web", "127.0.0.1:0") == [f"milepost: Kafka at {settings.kafka} {refused}"]


def test_what_tells_targets_needs_its_topic_and_the_group_of_each_and_nothing_else(login: Login) -> None:
    settings = login("notifier")
    require_notify_rights(settings, ["milepost-notify-one"])
    with pytest.raises(RightsError, match=r"does not allow Read on group milepost-notify-two: grant it to notifier$"):
        require_notify_rights(settings, ["milepost-notify-one", "milepost-notify-two"])
    with pytest.raises(RightsError, match=r"does not allow Read on topic milepost.changes: grant it to nobody"):
        require_notify_rights(login("nobody"), [])


def test_settings_that_may_not_be_read_are_a_warning(login: Login) -> None:
    settings = login("noconfigs")
    require_worker_rights(settings)
    warnings = {str(promise) for promise in check_topics(settings)[1]}
    problem = "its settings could not be checked: that takes the right DescribeConfigs on it"
    assert warnings == {f"topic milepost.{name}: {problem}" for name in TOPICS}


def test_commands_that_kafka_refuses_name_the_topic_and_do_not_ask_whether_kafka_runs(login: Login) -> None:
    Path("event.jsonl").write_text(json.dumps(random_events(1, 1)[0]))
    settings = login("looker")
    expected = {
        ("publish", "event.jsonl"): "may write to no topic",
        ("dead-letters", "list"): "topic milepost.dead-letters",
        ("init",): "topic milepost.",
    }
    for arguments, told in expected.items():
        result = milepost(*arguments)
        [line] = result.stderr.splitlines()
        assert result.exit_code == 1
        assert f"Kafka at {settings.kafka} does not allow this: " in line
        assert told in line
        assert "{" not in line


# PostgreSQL


def test_a_role_that_may_only_read_can_look_and_a_worker_names_the_rights_it_lacks(
    postgresql_url: str, role_url: str
) -> None:
    role = make_url(role_url).username
    [line] = error_lines("status", "--database", role_url)
    assert f"may not be read by role {role}: permission denied" in line
    grant(postgresql_url, role_url, "SELECT")
    for arguments in (("status",), ("rebuild", "--diff")):
        assert milepost(*arguments, "--database", role_url).exit_code == 0
    [line] = error_lines("worker", "--database", role_url, "--web", "127.0.0.1:0")
    assert f"role {role} lacks INSERT, UPDATE, DELETE on checkpoints, dependencies, forecasts" in line
    grant(postgresql_url, role_url, "SELECT, INSERT, UPDATE, DELETE")
    require_table_rights(engine := make_engine(role_url))
    engine.dispose()


def test_a_role_that_may_not_create_tables_is_told_so_by_init(postgresql_url: str) -> None:
    role = f"r{uuid4().hex[:12]}"
    with make_engine(postgresql_url).begin() as connection:
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    url = make_url(postgresql_url).set(username=role).render_as_string(hide_password=False)
    [line] = error_lines("init", "--database", url)
    assert f"role {role} may not create the tables: permission denied for schema public; run `milepost init` as" in line
    with make_engine(postgresql_url).begin() as connection:
        connection.execute(text("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
    [line] = error_lines("status", "--database", url)
    assert f"has no schema that role {role} may use" in line
    with make_engine(postgresql_url).begin() as connection:
        connection.execute(text(f"DROP ROLE {role}"))
