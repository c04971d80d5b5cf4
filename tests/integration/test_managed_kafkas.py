"""`milepost init` on Kafkas that do not allow every setting, and where others make the topics.

A topic policy of the broker refuses what managed Kafkas refuse: tests/data/topic_policy.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from typer.testing import CliRunner, Result

from consumers.client import admin_client
from deploy.cli import app
from deploy.topic_settings import describe_settings
from deploy.topics import required_topics
from models.settings import Settings
from tests.helpers.secure_kafka import SecureKafka, needs_topic_policy, set_environment
from tests.helpers.workers import wait_until


def milepost(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments, prog_name="milepost")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings_of(kafka: SecureKafka, prefix: str, **overrides: str) -> Settings:
    return kafka.settings(listener="admin", prefix=prefix, partitions=2, **overrides)


def values(settings: Settings) -> dict[str, dict[str, str | None]]:
    """Return the settings that the topics have."""
    with admin_client(settings) as admin:
        described = describe_settings(admin, required_topics(settings))
    return {topic.removeprefix(f"{settings.prefix}."): dict(config) for topic, config in described.items()}


def warnings(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [line.removeprefix("warning: ") for line in result.stdout.splitlines() if line.startswith("warning: ")]


REFUSED = "topic {}.dead-letters: Kafka refuses delete.retention.ms=315360000000"
LOST = "a discarded dead letter cannot be told from a lost one after that"


@needs_topic_policy
def test_a_setting_that_is_too_much_is_lowered_to_what_is_allowed(
    secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(secure_kafka, "confluent")
    set_environment(monkeypatch, settings)
    first = milepost("init")
    limit = "delete.retention.ms must be at most 60566400000"
    assert warnings(first) == [f"{REFUSED.format('confluent')} ({limit}): the topic is made with 60566400000: {LOST}"]
    assert "topic confluent.dead-letters: 1 partition, made" in first.stdout
    assert values(settings)["dead-letters"]["delete.retention.ms"] == "60566400000"
    assert values(settings)["events"]["retention.ms"] == "-1"
    # Repeated, and in a worker, this is nothing to warn of: it is what there is to have.
    assert warnings(milepost("init")) == []


@needs_topic_policy
def test_a_setting_that_may_not_be_set_is_left_out_and_what_that_means_is_said(
    secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, reason = settings_of(secure_kafka, "serverless"), "Config delete.retention.ms is not supported"
    set_environment(monkeypatch, settings)
    assert warnings(milepost("init")) == [
        f"{REFUSED.format('serverless')} ({reason}): the topic is made without this setting: {LOST}"
    ]
    [again] = warnings(milepost("init"))
    assert again.startswith("topic serverless.dead-letters: delete.retention.ms is 86400000, not 315360000000: ")
    assert values(settings)["dead-letters"]["cleanup.policy"] == "compact"


@needs_topic_policy
def test_each_of_many_refusals_is_a_line_and_the_topics_are_made(
    secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(secure_kafka, "hubs")
    set_environment(monkeypatch, settings)
    told = {line.partition("=")[0] for line in warnings(milepost("init"))}
    refuses = "topic hubs.{}: Kafka refuses {}"
    assert told == {
        refuses.format("events", "retention.ms"),
        refuses.format("events", "retention.bytes"),
        refuses.format("events", "message.timestamp.type"),
        refuses.format("dead-letters", "delete.retention.ms"),
        refuses.format("dead-letters", "max.message.bytes"),
    }
    assert values(settings)["events"]["retention.ms"] == "7776000000"
    assert values(settings)["changes"]["retention.ms"] == "2592000000"
    doctor = milepost("doctor", "--role", "init")
    # As a worker, which runs on such topics.
    assert doctor.exit_code == 0
    wrong = [line for line in doctor.stdout.splitlines() if line.startswith("warn  topic")]
    assert len(wrong) == 3  # of the five, the broker has one by default, and another is not looked at
    assert any("hubs.events message.timestamp.type: " in line and "publishers' clocks" in line for line in wrong)


@needs_topic_policy
def test_a_kafka_that_refuses_every_topic_says_why_and_what_to_do(
    secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(secure_kafka, "closed")
    set_environment(monkeypatch, settings)
    result = milepost("init")
    assert result.exit_code == 1
    assert result.stderr == (
        f"milepost: topic closed.events cannot be made on {settings.kafka}: topics are made in the console; make it by"
        " hand, and set MILEPOST_TOPICS=managed\n"
    )


# Topics that others manage


@pytest.fixture
def managed(secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Give settings of a prefix without topics, which are managed."""
    settings = settings_of(secure_kafka, "managed", topics="managed")
    set_environment(monkeypatch, settings)
    yield settings
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        left = [name for name in admin.list_topics() if name.startswith("managed.")]
        if left:
            admin.delete_topics(left)
            wait_until(lambda: not set(left) & set(admin.list_topics()), "the topics are gone")


def test_managed_topics_are_never_made_and_each_that_is_missing_is_a_line_with_its_settings(managed: Settings) -> None:
    result = milepost("init")
    lines = result.stderr.splitlines()
    assert result.exit_code == 1
    where = f"is missing on {managed.kafka}: have it made (MILEPOST_TOPICS is managed), with"
    assert lines[0] == (
        f"milepost: topic managed.events {where} 2 partitions and cleanup.policy=delete, retention.ms=-1,"
        " retention.bytes=-1, message.timestamp.type=LogAppendTime"
    )
    assert lines[3].startswith(f"topic managed.dead-letters {where} 1 partition and cleanup.policy=compact, ")
    assert len(lines) == 4
    with closing(KafkaAdminClient(bootstrap_servers=managed.kafka)) as admin:
        assert not [name for name in admin.list_topics() if name.startswith("managed.")]
    doctor = milepost("doctor", "--role", "init").stdout.splitlines()
    assert any(line.startswith(f"wrong topic managed.events: topic managed.events {where[:-6]}") for line in doctor)


def test_managed_topics_are_taken_as_they_are_and_checked(managed: Settings) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=managed.kafka)) as admin:
        specs = {topic.name: topic for topic in required_topics(managed)}
        request = {name: {"num_partitions": 3, "configs": dict(topic.config)} for name, topic in specs.items()}
        request["managed.dead-letters"]["num_partitions"] = 1
        request["managed.changes"]["num_partitions"] = 2
        request["managed.events"]["configs"] = {"cleanup.policy": "delete", "retention.ms": "-1"}
        admin.create_topics(request)
        admin.wait_for_topics(list(request))
        result = milepost("init")
        assert result.exit_code == 1
        assert "topic managed.changes has 2 partitions and managed.events has 3" in result.stderr
        admin.create_partitions({"managed.changes": 3})
    wait_until(lambda: milepost("init").exit_code == 0, "the partitions are there")
    result = milepost("init")
    assert "topic managed.events: 3 partitions, found" in result.stdout
    [warning] = warnings(result)
    assert warning.startswith("topic managed.events: message.timestamp.type is CreateTime, not LogAppendTime: ")


def test_partitions_and_replicas_of_managed_topics_are_not_ours_to_choose(managed: Settings) -> None:
    for option in ("--partitions", "--replication"):
        result = milepost("init", option, "3", "--kafka", managed.kafka)
        assert result.stderr == (
            "milepost: MILEPOST_TOPICS is managed: whoever manages the topics decides on partitions and replicas\n"
        )
