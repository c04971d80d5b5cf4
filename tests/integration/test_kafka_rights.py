"""Rights on Kafka: each role does its whole work with exactly its own, and with one less says which right on what.

The contract's table, section 12, is written down here a second time.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaAdminClient
from typer.testing import CliRunner, Result

from consumers.rights import RightsError, Role, require_rights
from deploy.cli import app
from deploy.cli.options import utc_now
from deploy.doctor import Finding, examine
from deploy.topics import check_topics, ensure_topics
from models.settings import Settings
from tests.helpers.databases import grant
from tests.helpers.documented_rights import documented_rights
from tests.helpers.event_generators import random_events, structured_record
from tests.helpers.gateway import TOKENS, gateway_process, report
from tests.helpers.mail import mail_server
from tests.helpers.notify import notify_process, row, system_block, write_changes, write_targets
from tests.helpers.recorder import migrated_engine
from tests.helpers.secure_kafka import PASSWORD, Right, SecureKafka, set_environment
from tests.helpers.webhooks import receiver
from tests.helpers.workers import WorkerProcess, publish_records, read_topic, wait_until, worker_process

TOPICS: Final = ("events", "programmes", "changes", "dead-letters")


def on(topic: str, *operations: str) -> list[Right]:
    return [Right("TOPIC", f"milepost.{topic}", operation) for operation in operations]


GROUP: Final = Right("GROUP", "milepost", "READ")
WORKER: Final = [
    *on("events", "READ"),
    *on("programmes", "READ", "WRITE"),
    *on("changes", "WRITE"),
    *on("dead-letters", "WRITE", "READ"),
    GROUP,
]
CONFIGS: Final = [right for topic in TOPICS for right in on(topic, "DESCRIBE_CONFIGS")]
ROLES: Final[Mapping[str, list[Right]]] = {
    "worker": [*WORKER, *CONFIGS],
    "publisher": on("events", "WRITE"),
    "gateway": on("events", "WRITE"),
    "operator": [*on("dead-letters", "READ", "WRITE"), *on("events", "READ", "WRITE")],
    "auditor": [*on("events", "READ"), *on("dead-letters", "READ")],
    "notify": [*on("changes", "READ"), Right("GROUP", "milepost-notify-*", "READ")],
    "init": [Right("TOPIC", "*", operation) for operation in ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")],
}
ENLARGER: Final = [*ROLES["init"], Right("TOPIC", "*", "ALTER")]
#: Each role with each of its rights taken away.
CASES: Final = [(role, right) for role, rights in ROLES.items() for right in rights]
SPELLINGS: Final = {"DESCRIBE_CONFIGS": "DescribeConfigs"}


def user_without(role: str, right: Right) -> str:
    return f"{role}-without-{right.operation}-{right.kind}-{right.name}".replace("*", "x")


def words(right: Right) -> str:
    """Return a right as the product names it."""
    return f"{SPELLINGS.get(right.operation, right.operation.capitalize())} on {right.kind.lower()} "


@pytest.fixture(scope="module")
def kafka_with_users(secure_kafka: SecureKafka) -> SecureKafka:
    """Give the broker with the topics, and with a user for each role and for each right less."""
    ensure_topics(Settings(kafka=secure_kafka.address("admin"), partitions=2))
    less = {user_without(role, right): [each for each in ROLES[role] if each != right] for role, right in CASES}
    secure_kafka.add_users({**ROLES, **less, "nobody": [], "looker": on("events", "DESCRIBE"), "enlarger": ENLARGER})
    return secure_kafka


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a migrated database in the folder in which the test stands."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/milepost.db"
    with migrated_engine(url):
        yield url


def milepost(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments, prog_name="milepost")


def wrong(findings: list[Finding]) -> list[str]:
    return [f"{finding.check}: {finding.detail}" for finding in findings if not finding.is_ok]


def run_doctor(settings: Settings, role: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[dict[str, Any]]]:
    set_environment(monkeypatch, settings)
    result = milepost("doctor", "--role", role, "--json")
    assert result.stderr == ""
    assert PASSWORD not in result.stdout
    return result.exit_code, json.loads(result.stdout)


# The doctor


@pytest.mark.parametrize("role", [*ROLES, "board"])
def test_the_doctor_finds_nothing_wrong_with_exactly_the_rights_of_a_role(
    role: str, kafka_with_users: SecureKafka, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kafka_with_users.settings(role, database=database, partitions=2)
    status, found = run_doctor(settings, role, monkeypatch)
    assert [each for each in found if each["warning"] or not each["ok"]] == []
    assert status == 0
    checks = {each["check"].partition(" ")[0] for each in found}
    assert {"clock", "versions"} <= checks
    assert ("login" in checks) == (role != "board")
    assert ("schema" in checks) == (role in {"worker", "auditor", "notify", "init", "board"})


@pytest.mark.parametrize(("role", "right"), CASES, ids=lambda value: str(value).replace(" ", ""))
def test_the_doctor_names_the_right_that_a_role_lacks_and_nothing_else(
    role: str, right: Right, kafka_with_users: SecureKafka, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = user_without(role, right)
    settings = kafka_with_users.settings(user, database=database, partitions=2)
    status, found = run_doctor(settings, role, monkeypatch)
    lines = [each for each in found if each["warning"] or not each["ok"]]
    # As the worker and `init`: without it they go on, and warn.
    is_warning = right.operation == "DESCRIBE_CONFIGS"
    assert status == (not is_warning)
    assert lines
    for line in lines:
        assert (line["ok"], line["warning"]) == (is_warning, is_warning)
        assert words(right) in f"{line['check']} {line['detail']}"
    named = [line for line in lines if line["check"].startswith("right ")]
    assert len(named) == (4 if role == "init" else 1)
    for line in named:
        assert f"does not allow {words(right)}" in line["detail"]
        assert f"--allow-principal 'User:{user}'" in line["detail"]


def test_the_doctor_says_only_that_the_login_is_refused_and_goes_on_with_the_database(
    kafka_with_users: SecureKafka, database: str
) -> None:
    nobody = kafka_with_users.settings("nobody-at-all", database=database)
    found = list(examine(nobody, Role.WORKER, utc_now))
    assert [finding.check for finding in found] == [
        "login",
        "database",
        "schema",
        "rights on tables",
        "clock",
        "versions",
    ]
    assert [finding.is_ok for finding in found] == [False, True, True, True, True, True]
    assert "refuses the login of 'nobody-at-all'" in found[0].detail


def test_the_commands_of_the_documentation_grant_what_each_role_needs_and_nothing_else() -> None:
    granted = documented_rights()
    needed = {role: set(rights) for role, rights in ROLES.items()}
    needed["init"] = {right._replace(name="milepost.*") for right in needed["init"]}
    assert {user: set(rights) for user, rights in granted.items()} == needed
    assert all(len(rights) == len(set(rights)) for rights in granted.values())


def test_the_doctor_says_until_when_a_certificate_counts_and_against_what_it_was_verified(
    kafka_with_users: SecureKafka, database: str
) -> None:
    settings = kafka_with_users.settings("auditor", database=database)
    found = {each.check: each for each in examine(settings, Role.AUDITOR, utc_now)}["TLS to Kafka"]
    assert (found.is_ok, found.is_warning) == (True, False)
    words = r"127\.0\.0\.1 has a certificate of authority until \d{4}-\d\d-\d\d, verified against "
    assert re.fullmatch(f"{words}{re.escape(str(settings.kafka_ssl_cafile))}", found.detail)
    soon = examine(settings, Role.AUDITOR, lambda: utc_now() + timedelta(days=80))
    warning = {each.check: each for each in soon}["TLS to Kafka"]
    assert (warning.is_ok, warning.is_warning) == (True, True)
    assert re.search(r": it ends in \d days, renew it$", warning.detail)
    clear = kafka_with_users.settings(listener="clear", kafka_sasl_mechanism="PLAIN", database=database)
    assert not [each for each in examine(clear, Role.AUDITOR, utc_now) if each.check == "TLS to Kafka"]


def test_the_doctor_says_what_is_wrong_with_a_database_and_makes_none(
    secure_kafka: SecureKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = secure_kafka.settings(database="sqlite:///nowhere/milepost.db")
    [_, schema, *_] = list(examine(settings, Role.BOARD, utc_now))
    assert (schema.check, schema.is_ok) == ("schema", False)
    assert "run `milepost init`" in schema.detail
    assert not list(tmp_path.iterdir())


def test_the_doctor_compares_with_postgresql_and_names_the_rights_on_tables(postgresql_url: str, role_url: str) -> None:
    settings = Settings(database=role_url)
    with migrated_engine(postgresql_url):
        grant(postgresql_url, role_url, "SELECT")
        found = {finding.check: finding for finding in examine(settings, Role.BOARD, utc_now)}
        assert all(finding.is_ok for finding in found.values()), found
        assert found["clock"].detail == "within 30 s of that of PostgreSQL"
        assert "PostgreSQL 1" in found["versions"].detail
        assert found["pool"].detail == "none: the server itself answers, and statements are prepared"
        assert "TLS to PostgreSQL" not in found, "a socket of this machine needs none"
        [wrong] = [
            each for each in examine(settings, Role.BOARD, lambda: utc_now() - timedelta(minutes=2)) if not each.is_ok
        ]
        assert wrong.detail.startswith("it is 120 s behind that of PostgreSQL")
        lacking = [each for each in examine(settings, Role.WORKER, utc_now) if each.check == "rights on tables"]
        assert "lacks INSERT, UPDATE, DELETE on" in lacking[0].detail
        grant(postgresql_url, role_url, "SELECT, INSERT, UPDATE")
        [last] = [each for each in examine(settings, Role.WORKER, utc_now) if each.check == "rights on tables"]
        assert "lacks DELETE on" in last.detail


# The whole work of each role


def test_a_worker_with_its_rights_records_rejects_forecasts_and_tells_changes(
    kafka_with_users: SecureKafka, database: str, tmp_path: Path
) -> None:
    admin = Settings(kafka=kafka_with_users.address("admin"))
    settings = kafka_with_users.settings("worker", database=database, log_end_seconds=0.5)
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        publish_records(admin, [(b"north", *structured_record(report("a"))), (b"north", [], b"no event")])
        wait_until(
            lambda: worker.scrape().value("milepost_dead_letters_waiting", reason="malformed") == 1, "it is rejected"
        )
        wait_until(lambda: "plant" in worker.get("/metrics/milestones")[1], "it is forecast")
        wait_until(lambda: bool(read_topic(admin, "milepost.changes")), "the change is told")
        lines = [line for line in worker.log_text.splitlines() if " INFO " not in line]
        assert [line for line in lines if "rejected milepost.events" not in line] == []
        worker.stop()


def test_publisher_gateway_operator_and_auditor_do_their_work_with_their_rights(
    kafka_with_users: SecureKafka, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act_as(role: str) -> Settings:
        settings = kafka_with_users.settings(role, database=database, partitions=2)
        set_environment(monkeypatch, settings)
        return settings

    act_as("publisher")
    Path("events.jsonl").write_text("\n".join(map(json.dumps, random_events(1, 3))))
    assert milepost("publish", "events.jsonl").stdout.startswith("published 3 events")

    (tmp_path / "tokens.toml").write_text(TOKENS)
    gateway = act_as("gateway").model_copy(update={"gateway_tokens": tmp_path / "tokens.toml"})
    with gateway_process(gateway, tmp_path) as running:
        assert running.client.post_structured(report("b")).status == 202

    worker = kafka_with_users.settings("worker", database=database, log_end_seconds=0.5)
    publish_records(Settings(kafka=kafka_with_users.address("admin")), [(None, [], b"again no event")] * 2)
    with worker_process(worker, tmp_path) as process:
        process.wait_until_ready()
        wait_until(lambda: (process.scrape().value("milepost_dead_letters_waiting") or 0) >= 2, "both are rejected")
        process.stop()

    act_as("operator")
    keys = [letter["key"] for letter in json.loads(milepost("dead-letters", "list", "--json").stdout)]
    assert milepost("dead-letters", "show", keys[0]).exit_code == 0
    assert milepost("dead-letters", "discard", keys[0]).exit_code == 0
    assert milepost("dead-letters", "replay", keys[1]).exit_code == 0

    act_as("auditor")
    assert milepost("audit").exit_code == 0


def test_notify_with_its_rights_tells_its_targets_and_remembers_that_it_did(
    kafka_with_users: SecureKafka, database: str, tmp_path: Path
) -> None:
    admin = Settings(kafka=kafka_with_users.address("admin"), partitions=2)
    settings = kafka_with_users.settings("notify", database=database, partitions=2)
    with receiver() as system, mail_server() as mailbox:
        people = f'name = "two"\nurl = "{mailbox.url}"\n'
        targets = write_targets(tmp_path, system_block("one", system.url), people)

        def is_reading(notify: WorkerProcess) -> bool:
            page = notify.scrape()
            return all(
                page.value("milepost_notify_assigned_partitions", target=name) == settings.partitions
                for name in ("one", "two")
            )

        with notify_process(settings, tmp_path, targets) as notify:
            wait_until(lambda: is_reading(notify), "both targets are read for")
            written = write_changes(admin, [row()])
            wait_until(lambda: len(system.requests) == len(written), "the system is told")
            wait_until(lambda: len(mailbox.messages) == 1, "people are told")
            notify.stop()
            assert [line for line in notify.log_text.splitlines() if " INFO " not in line] == []
        with notify_process(settings, tmp_path, targets) as notify:
            wait_until(lambda: is_reading(notify), "another process goes on")
            written += write_changes(admin, [row("last")])
            wait_until(lambda: len(system.requests) == len(written), "the last is told")
            assert [request.body for request in system.requests] == written


def test_init_makes_topics_with_its_rights_and_names_what_it_lacks(
    kafka_with_users: SecureKafka, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, describe, _ = ROLES["init"]
    refused = {user_without("init", create): "Create", user_without("init", describe): "Describe"}
    for user in (*refused, "init"):
        set_environment(monkeypatch, kafka_with_users.settings(user, database=database, prefix="fresh", partitions=1))
        result = milepost("init")
        lines = result.stderr.splitlines()
        assert [line.partition("does not allow ")[2].partition(":")[0] for line in lines] == (
            [] if user == "init" else [f"{refused[user]} on topic fresh.{topic}" for topic in TOPICS]
        )
        assert result.exit_code == bool(lines)
    with closing(KafkaAdminClient(bootstrap_servers=kafka_with_users.address("admin"))) as admin:
        assert {f"fresh.{topic}" for topic in TOPICS} <= set(admin.list_topics())


def test_init_names_the_right_that_more_partitions_take(
    kafka_with_users: SecureKafka, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(user: str, *options: str) -> Result:
        settings = kafka_with_users.settings(user, database=database, prefix="growing", partitions=1)
        set_environment(monkeypatch, settings)
        return milepost("init", *options)

    assert init("init").exit_code == 0
    refused = init("init", "--partitions", "2")
    assert [line.partition("does not allow ")[2].partition(":")[0] for line in refused.stderr.splitlines()] == [
        f"Alter on topic growing.{topic}" for topic in ("events", "programmes", "changes")
    ]
    assert "topic growing.events: 2 partitions, enlarged" in init("enlarger", "--partitions", "2").stdout


# The start of each role's program


def arguments_of(role: str) -> tuple[str, ...]:
    """Return the command that starts the program of a role."""
    commands = {
        "worker": ("worker", "--web", "127.0.0.1:0"),
        "publisher": ("publish", "event.jsonl"),
        "gateway": ("gateway",),
        "operator": ("dead-letters", "replay", "--all"),
        "auditor": ("audit",),
        "notify": ("notify",),
    }
    return commands[role]


@pytest.mark.parametrize(
    ("role", "right"),
    [case for case in CASES if case[0] != "init" and case[1] not in CONFIGS],
    ids=lambda value: str(value).replace(" ", ""),
)
def test_a_program_that_lacks_a_right_ends_at_its_start_with_one_line_that_names_it(
    role: str, right: Right, kafka_with_users: SecureKafka, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = user_without(role, right)
    settings = kafka_with_users.settings(user, database=database, gateway="127.0.0.1:0")
    set_environment(monkeypatch, settings)
    Path("event.jsonl").write_text(json.dumps(report("c")))
    Path("tokens.toml").write_text(TOKENS)
    monkeypatch.setenv("MILEPOST_GATEWAY_TOKENS", "tokens.toml")
    monkeypatch.setenv("MILEPOST_NOTIFY", str(write_targets(Path(), system_block("one", "http://127.0.0.1:1/"))))
    result = milepost(*arguments_of(role))
    assert (result.exit_code, result.stdout) == (1, "")
    name = right.name.replace("*", "one")
    assert result.stderr == (
        f"milepost: Kafka at {settings.kafka} does not allow {words(right)}{name}: grant it to {user}\n"
    )


def test_every_missing_right_is_named_with_its_resource(kafka_with_users: SecureKafka) -> None:
    with pytest.raises(RightsError) as error:
        require_rights(kafka_with_users.settings("nobody"), Role.WORKER)
    named = [line.partition(" does not allow ")[2].partition(":")[0] for line in str(error.value).splitlines()]
    assert named == [f"{words(right)}{right.name}" for right in WORKER]


def test_what_tells_targets_needs_the_group_of_each(kafka_with_users: SecureKafka) -> None:
    settings = kafka_with_users.settings("notify")
    require_rights(settings, Role.NOTIFY, groups=["milepost-notify-one", "milepost-notify-two"])
    with pytest.raises(RightsError, match=r"does not allow Read on group other-notify-two: grant it to notify$"):
        require_rights(settings, Role.NOTIFY, groups=["milepost-notify-one", "other-notify-two"])


def test_settings_that_may_not_be_read_are_a_warning_of_the_worker(kafka_with_users: SecureKafka) -> None:
    for right in CONFIGS:
        settings = kafka_with_users.settings(user_without("worker", right))
        require_rights(settings, Role.WORKER)
        [warning] = map(str, check_topics(settings)[1])
        problem = "its settings could not be checked: that takes the right DescribeConfigs on it"
        assert warning == f"topic {right.name}: {problem}"


def test_a_broker_without_an_authorizer_refuses_nothing(kafka: str) -> None:
    ensure_topics(settings := Settings(kafka=kafka, prefix="unguarded", partitions=1))
    for role in Role:
        require_rights(settings, role)


def test_a_command_that_kafka_refuses_later_names_the_topic_and_does_not_ask_whether_kafka_runs(
    kafka_with_users: SecureKafka, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kafka_with_users.settings("looker", database=database)
    set_environment(monkeypatch, settings)
    result = milepost("dead-letters", "list")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"milepost: Kafka at {settings.kafka} does not allow this: topic milepost.dead-letters")
