"""The command line against a real Kafka."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner, Result

from consumers import client as kafka_client
from consumers import producer as kafka_producer
from consumers import publish as publishing
from consumers.client import TopicError
from consumers.dead_letters import read_dead_letters
from consumers.event_files import EventLine
from deploy.cli import app
from deploy.kafka.broker import run_broker
from deploy.topics import check_topics
from models.database.tables import SCHEMA_REVISION
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.settings import read_settings
from tests.helpers.event_generators import random_events
from tests.helpers.oracle import JsonEvent as Json
from tests.helpers.workers import free_port, wait_until


@pytest.fixture(autouse=True)
def prefix(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give every test topics of its own, and a folder."""
    name = f"t{uuid4().hex[:12]}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILEPOST_KAFKA", kafka)
    monkeypatch.setenv("MILEPOST_PREFIX", name)
    monkeypatch.setenv("MILEPOST_PARTITIONS", "3")
    monkeypatch.delenv("MILEPOST_DATABASE", raising=False)
    return name


@pytest.fixture
def admin(kafka: str) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=kafka)) as client:
        yield client


@pytest.fixture
def producer(kafka: str) -> Iterator[KafkaProducer]:
    with closing(KafkaProducer(bootstrap_servers=kafka)) as client:
        yield client


def milepost(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app.app, arguments, input=given, prog_name="milepost")


def lines(*arguments: str) -> list[str]:
    result = milepost(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def the_line(result: Result) -> str:
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    return line


def records(kafka: str, topic: str) -> list[Any]:
    """Give everything a topic holds."""
    with closing(KafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")) as consumer:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        found = []
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for batch in consumer.poll(timeout_ms=200).values():
                found += batch
        return found


def file_of(events: list[Json], name: str = "events.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(event) + "\n" for event in events))
    return name


# init, and what a worker checks


def test_init_makes_tables_and_topics_and_may_be_repeated(prefix: str, admin: KafkaAdminClient) -> None:
    topics = [(f"{prefix}.{name}", count) for name, count in (("events", 3), ("programmes", 3), ("changes", 3))]
    for done in ("made", "found"):
        assert lines("init") == [
            f"database sqlite:///.milepost/milepost.db: schema {SCHEMA_REVISION} {done}",
            *(f"topic {name}: {count} partitions, {done}" for name, count in topics),
            f"topic {prefix}.dead-letters: 1 partition, {done}",
        ]
    assert check_topics(read_settings()) == ({**dict(topics), f"{prefix}.dead-letters": 1}, [])
    assert lines("status", "--json") == ["[]"]
    expected = {
        "events": {"cleanup.policy": "delete", "retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
        "programmes": {"cleanup.policy": "compact"},
        "changes": {"cleanup.policy": "delete", "retention.ms": "2592000000"},
        "dead-letters": {
            "cleanup.policy": "compact",
            "max.message.bytes": "1048576",
            "delete.retention.ms": "315360000000",
        },
    }
    for name, config in expected.items():
        assert {key: _config(admin, f"{prefix}.{name}")[key] for key in config} == config


def test_init_does_not_call_a_database_made_that_lost_a_table(prefix: str, tmp_path: Path) -> None:
    del prefix
    assert milepost("init").exit_code == 0
    with closing(sqlite3.connect(tmp_path / ".milepost" / "milepost.db")) as database:
        database.execute("DROP TABLE history")

    assert "and no table history: restore a backup" in the_line(milepost("init"))


def _config(admin: KafkaAdminClient, topic: str) -> dict[str, str]:
    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])["topic"][topic]
    return {name: entry["value"] for name, entry in described.items()}


def test_a_topic_that_is_there_keeps_its_configuration(prefix: str, admin: KafkaAdminClient) -> None:
    letters = f"{prefix}.dead-letters"
    admin.create_topics({letters: {"num_partitions": 1, "configs": {"delete.retention.ms": "5"}}})
    admin.wait_for_topics([letters])
    assert f"topic {letters}: 1 partition, found" in lines("init")
    assert _config(admin, letters)["delete.retention.ms"] == "5"


def test_topics_made_for_another_number_of_partitions_are_left_and_reported(
    prefix: str, admin: KafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.create_topics({f"{prefix}.changes": {"num_partitions": 5}})
    admin.wait_for_topics([f"{prefix}.changes"])
    line = the_line(milepost("init"))
    assert line.endswith("has 5 partitions, 3 are asked for: set MILEPOST_PARTITIONS=5")
    with pytest.raises(TopicError, match=f"topic {prefix}.events is missing"):
        check_topics(read_settings())
    monkeypatch.setenv("MILEPOST_PARTITIONS", "5")
    assert f"topic {prefix}.changes: 5 partitions, found" in lines("init")


def test_a_worker_names_the_topic_that_is_missing_or_unlike_its_sisters(
    prefix: str, kafka: str, admin: KafkaAdminClient
) -> None:
    def fault() -> str:
        try:
            check_topics(read_settings())
        except TopicError as error:
            return str(error)
        return "none"

    def told(line: str) -> bool:
        # The controller answers before every broker shows what it made: what is told becomes true in a moment.
        wait_until(lambda: fault().startswith(line), line)
        return True

    assert fault().splitlines() == [
        f"topic {prefix}.{name} is missing on {kafka}: run `milepost init`"
        for name in ("events", "programmes", "changes", "dead-letters")
    ]
    made = {"events": 2, "programmes": 2, "changes": 2}
    admin.create_topics({f"{prefix}.{name}": {"num_partitions": count} for name, count in made.items()})
    assert told(f"topic {prefix}.dead-letters is missing on {kafka}: run `milepost init`")
    admin.create_topics({f"{prefix}.dead-letters": {"num_partitions": 1}})
    # Any number is fine while the sisters agree, whatever MILEPOST_PARTITIONS says.
    assert told("none")
    assert check_topics(read_settings()).partitions[f"{prefix}.events"] == 2
    admin.create_partitions({f"{prefix}.programmes": 4})
    assert told(f"topic {prefix}.programmes has 4 partitions and {prefix}.events has 2 on {kafka}")
    admin.create_partitions({f"{prefix}.events": 4})
    admin.create_partitions({f"{prefix}.changes": 4})
    admin.create_partitions({f"{prefix}.dead-letters": 2})
    assert told(f"topic {prefix}.dead-letters has 2 partitions on {kafka} instead of 1")


def test_init_enlarges_all_topics_that_belong_together(prefix: str, admin: KafkaAdminClient) -> None:
    admin.create_topics({f"{prefix}.changes": {"num_partitions": 5}})
    admin.wait_for_topics([f"{prefix}.changes"])
    assert lines("init", "--partitions", "5", "--replication", "1")[1:3] == [
        f"topic {prefix}.events: 5 partitions, made",
        f"topic {prefix}.programmes: 5 partitions, made",
    ]
    assert lines("init", "--partitions", "7")[1:4] == [
        f"topic {prefix}.{name}: 7 partitions, enlarged" for name in ("events", "programmes", "changes")
    ]
    wait_until(lambda: set(check_topics(read_settings()).partitions.values()) == {7, 1}, "all are enlarged")
    fewer = milepost("init", "--partitions", "6").stderr.splitlines()
    assert [line.endswith("has 7 partitions, 6 are asked for: set MILEPOST_PARTITIONS=7") for line in fewer] == [
        True
    ] * 3


def test_init_makes_topics_with_as_many_replicas_as_asked_for(prefix: str, admin: KafkaAdminClient) -> None:
    lines("init", "--replication", "1", "--min-insync", "1")

    names = [f"{prefix}.{name}" for name in ("events", "programmes", "changes", "dead-letters")]
    admin.wait_for_topics(names)
    described = admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, {"min.insync.replicas": None}) for name in names],
        config_filter="all",
    )["topic"]
    settings = [described[name]["min.insync.replicas"] for name in names]
    assert [(setting["value"], setting["config_source"]) for setting in settings] == [("1", "DYNAMIC_TOPIC_CONFIG")] * 4
    replicas = [part["replica_nodes"] for topic in admin.describe_topics(names) for part in topic["partitions"]]
    assert {len(nodes) for nodes in replicas} == {1}


def test_init_makes_no_topic_that_refuses_every_record(prefix: str, admin: KafkaAdminClient) -> None:
    for arguments in (["--min-insync", "2"], ["--min-insync", "2", "--replication", "1"]):
        refused = milepost("init", *arguments)
        assert refused.exit_code == 1
        [line] = refused.stderr.splitlines()
        assert line.startswith("milepost: --min-insync 2 takes --replication R")
    assert not [name for name in admin.list_topics() if name.startswith(f"{prefix}.")]


def test_who_may_never_write_learns_so_from_init_and_from_the_doctor(prefix: str, admin: KafkaAdminClient) -> None:
    settings = {"min.insync.replicas": "2", "message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
    events = {"num_partitions": 3, "replication_factor": 1, "configs": settings}
    admin.create_topics({f"{prefix}.events": events})
    fault = "min.insync.replicas is 2, and a partition has 1 replica: nothing can be written; "

    assert any(
        line.startswith(f"warning: topic {prefix}.events: {fault}") for line in lines("init", "--partitions", "3")
    )
    for role in ("publisher", "init", "worker"):
        told = milepost("doctor", "--role", role).stdout.splitlines()
        assert any(line.startswith(f"warn  topic {prefix}.events min.insync.replicas: {fault}") for line in told), told


def test_each_setting_that_breaks_a_promise_is_said_with_how_to_set_it(prefix: str, admin: KafkaAdminClient) -> None:
    by_hand = {
        "events": {"message.timestamp.type": "CreateTime", "retention.ms": "604800000", "retention.bytes": "1000000"},
        "programmes": {"cleanup.policy": "delete"},
        "changes": {"retention.ms": "1000", "cleanup.policy": "delete"},
        "dead-letters": {"cleanup.policy": "compact", "max.message.bytes": "1000000", "delete.retention.ms": "5"},
    }
    for name, config in by_hand.items():
        count = 1 if name == "dead-letters" else 3
        admin.create_topics({f"{prefix}.{name}": {"num_partitions": count, "configs": config}})
    admin.wait_for_topics([f"{prefix}.{name}" for name in by_hand])

    warnings = [line for line in lines("init") if line.startswith("warning: ")]
    told = [warning.removeprefix("warning: topic ").partition(" is ")[0] for warning in warnings]
    assert sorted(told) == sorted(
        f"{prefix}.{name}: {key}"
        for name in by_hand
        for key in by_hand[name]
        if (name, key) not in {("changes", "cleanup.policy"), ("dead-letters", "cleanup.policy")}
    )
    assert (
        f"warning: topic {prefix}.events: message.timestamp.type is CreateTime, not LogAppendTime: publishers' clocks"
        " stand for the broker's, and no claim is rejected as time-in-future; `kafka-configs.sh --alter"
        f" --topic {prefix}.events --add-config message.timestamp.type=LogAppendTime` sets it"
    ) in warnings
    assert len(check_topics(read_settings()).warnings) == len(warnings) == 7
    # What keeps more than is promised breaks nothing.
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{prefix}.changes", {"retention.ms": "-1"})])
    wait_until(lambda: len(check_topics(read_settings()).warnings) == 6, "a longer retention is no fault")

    compacted = ConfigResource(ConfigResourceType.TOPIC, f"{prefix}.events", {"cleanup.policy": "compact,delete"})
    admin.alter_configs([compacted])
    wait_until(lambda: "no worker starts before" in "".join(lines("init")), "compaction of events is said")
    with pytest.raises(TopicError, match=r"cleanup\.policy is compact,delete, not delete: compaction deletes all but"):
        check_topics(read_settings())


def test_nothing_makes_a_topic_by_asking_for_it(prefix: str, kafka: str, admin: KafkaAdminClient) -> None:
    Path("x.jsonl").write_text("{}\n")
    told = f"is missing on {kafka}: run `milepost init`"
    assert told in the_line(milepost("publish", "--no-check", "x.jsonl"))
    assert told in the_line(milepost("dead-letters", "list"))
    assert not [topic for topic in admin.list_topics() if topic.startswith(prefix)]


# publish


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_every_event_arrives_once_in_the_mode_asked_for_with_its_programme_as_key(
    mode: str, prefix: str, kafka: str
) -> None:
    lines("init")
    sent = [event for event in random_events(7, 300) if not event["data"].get("colour")]
    assert lines("publish", file_of(sent), "--mode", mode) == [f"published 300 events to {prefix}.events"]
    arrived = {}
    for record in records(kafka, f"{prefix}.events"):
        event = decode(record.headers, record.value)
        assert isinstance(event, Event)
        assert record.key == event.programme.encode()
        names = [name for name, _ in record.headers]
        assert ("ce_id" in names) == (mode == "binary")
        arrived[event.id] = event
    expected = [decode([], json.dumps(event).encode()) for event in sent]
    assert arrived == {event.id: event for event in expected if isinstance(event, Event)}


def test_nothing_is_sent_when_one_event_is_bad_but_everything_unchecked(prefix: str, kafka: str) -> None:
    lines("init")
    good = json.dumps(random_events(1, 1)[0]).encode()
    raw = [good, b'{"subject": "north/x", "broken"', b"\xff", b"[1]"]
    Path("x.jsonl").write_bytes(b"\n\n".join(raw))
    result = milepost("publish", "x.jsonl")
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        "x.jsonl:3",
        "x.jsonl:5",
        "x.jsonl:7",
        "milepost",
    ]
    assert records(kafka, f"{prefix}.events") == []
    assert lines("publish", "--no-check", "x.jsonl") == [f"published 4 events to {prefix}.events"]
    arrived = records(kafka, f"{prefix}.events")
    assert sorted(record.value for record in arrived) == sorted(raw)
    assert {dict(record.headers)["content-type"] for record in arrived} == {b"application/cloudevents+json"}


def test_events_come_from_standard_input_csv_and_yaml_at_once(prefix: str, kafka: str) -> None:
    lines("init")
    Path("a.csv").write_text(
        "id,source,type,subject,time,jobs\n1,csv,milepost.project.registered.v1,north/a,2026-01-01T00:00:00Z,5\n"
    )
    Path("b.yaml").write_text(
        "id: 1\nsource: yaml\ntype: milepost.project.registered.v1\nsubject: north/a\ntime: 2026-01-01T00:00:00Z\n"
    )
    result = milepost("publish", "a.csv", "-", "b.yaml", given=json.dumps(random_events(1, 1)[0]))
    assert result.stdout == f"published 3 events to {prefix}.events\n"
    events = [decode(record.headers, record.value) for record in records(kafka, f"{prefix}.events")]
    assert {event.source for event in events} == {"csv", "yaml", "https://office-0.example"}


def test_what_the_broker_cannot_take_is_one_line_with_what_was_acknowledged(prefix: str, kafka: str) -> None:
    lines("init")
    Path("x.jsonl").write_text('{"a":1}\n' * 5 + '{"a":"' + "x" * 2_000_000 + '"}\n{"a":1}\n')
    line = the_line(milepost("publish", "--no-check", "x.jsonl"))
    assert line.startswith("milepost: x.jsonl:6: Kafka at ")
    assert line.endswith(f"sending stopped there, 5 events were acknowledged by {prefix}.events")
    assert len(records(kafka, f"{prefix}.events")) == 5


def test_the_file_may_be_far_larger_than_what_is_on_its_way_at_once(prefix: str, kafka: str) -> None:
    lines("init")
    filler = "x" * 100_000
    ids = [str(number) for number in range(200)]
    Path("x.jsonl").write_text("".join(json.dumps({"id": name, "filler": filler}) + "\n" for name in ids))
    assert lines("publish", "--no-check", "x.jsonl") == [f"published 200 events to {prefix}.events"]
    assert sorted(json.loads(record.value)["id"] for record in records(kafka, f"{prefix}.events")) == sorted(ids)


def test_ctrl_c_ends_publish_quietly() -> None:
    lines("init")
    program = "from deploy.cli.app import main; main()"
    arguments = [sys.executable, "-c", program, "publish", "--no-check", "-"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdin
        assert command.stdout
        assert command.stderr
        time.sleep(2)
        command.send_signal(signal.SIGINT)
        assert command.wait(10) == 130
        assert command.stdout.read() + command.stderr.read() == b""


# dead-letters


def test_dead_letters_are_the_newest_of_each_key_without_the_taken_back(prefix: str, producer: KafkaProducer) -> None:
    lines("init")
    topic = f"{prefix}.dead-letters"

    def reject(offset: int, value: bytes | None, reason: str | None, *more: tuple[str, bytes]) -> None:
        key = f"{prefix}.events:0:{offset}"
        ours = {
            "detail": "told",
            "topic": f"{prefix}.events",
            "partition": "0",
            "offset": str(offset),
            "source": "office",
        }
        headers = [("content-type", b"x"), ("ce_id", b"7"), *more]
        if reason is not None:
            headers += [(f"milepost-{name}", text.encode()) for name, text in {"reason": reason, **ours}.items()]
        producer.send(topic, key=key.encode(), value=value, headers=headers)

    reject(10, b"ten", "malformed")
    reject(9, b"nine, first", "malformed")
    reject(9, b"nine\xff", "invalid-data")
    reject(8, b"replayed", "malformed")
    reject(8, None, None)
    reject(7, None, "malformed")
    producer.flush()
    letters = read_dead_letters(read_settings())
    assert [(letter.offset, letter.reason, letter.value) for letter in letters] == [
        (7, "malformed", None),
        (9, "invalid-data", b"nine\xff"),
        (10, "malformed", b"ten"),
    ]
    assert {letter.headers for letter in letters} == {(("content-type", b"x"), ("ce_id", b"7"))}
    assert {(letter.topic, letter.partition, letter.source) for letter in letters} == {
        (f"{prefix}.events", 0, "office")
    }
    listed = [line.split() for line in lines("dead-letters", "list")]
    assert listed[0] == ["time", "source", "id", "type", "subject", "reason", "key", "detail"]
    # The newest first: what came last was a tombstone, and the letter with offset 7 before it.
    assert [row[-2] for row in listed[1:-1]] == [f"{prefix}.events:0:{offset}" for offset in (7, 9, 10)]
    assert listed[2][1:] == ["office", "7", "-", "-", "invalid-data", f"{prefix}.events:0:9", "told"]
    assert listed[-1] == ["3", "dead", "letters"]
    assert len(lines("dead-letters", "list", "--limit", "1")) == 3
    assert lines("dead-letters", "list", "--limit", "1")[-1].startswith("1 of 3 dead letters")
    assert lines("dead-letters", "list", "--reason", "malformed")[-1] == "2 dead letters"
    assert lines("dead-letters", "list", "--source", "nobody")[-1] == "0 dead letters"
    assert lines("dead-letters", "list", "--since", "2026-01-01")[-1] == "3 dead letters"
    assert lines("dead-letters", "list", "--since", "2100-01-01T00:00:00Z")[-1] == "0 dead letters"
    assert "there is no reason 'nope'" in the_line(milepost("dead-letters", "list", "--reason", "nope"))
    shown = json.loads("\n".join(lines("dead-letters", "show", f"{prefix}.events:0:9", "--json")))
    assert (shown["reason"], shown["value_base64"]) == ("invalid-data", "bmluZf8=")
    assert lines("dead-letters", "show", f"{prefix}.events:0:9")[-1] == r"nine\xff"
    assert "there is no dead letter 'nope'" in the_line(milepost("dead-letters", "show", "nope"))


def test_init_closes_a_data_folder_that_others_can_look_into() -> None:
    lines("init")
    Path(".milepost").chmod(0o755)
    lines("init")
    assert Path(".milepost").stat().st_mode & 0o777 == 0o700


def test_an_empty_topic_of_dead_letters_is_an_empty_list() -> None:
    lines("init")
    assert lines("dead-letters", "list", "--json") == ["[]"]
    assert lines("dead-letters", "list")[-1] == "0 dead letters"


# kafka


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_kafka_serves_in_the_foreground_until_it_is_asked_to_stop(number: int, status: int, tmp_path: Path) -> None:
    program = "from deploy.cli.app import main; main()"
    arguments = [sys.executable, "-c", program, "kafka", "--port", str(free_port()), "--data", str(tmp_path / "kafka")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout
        name, _, address = command.stdout.readline().strip().partition(" ")
        assert (name, address) == ("kafka", f"127.0.0.1:{arguments[5]}")
        assert f"on {address} is taken" not in lines("init", "--kafka", address)
        taken = milepost("kafka", "--port", arguments[5], "--data", str(tmp_path / "other"))
        assert the_line(taken).startswith(f"milepost: Port {arguments[5]} on 127.0.0.1 is taken")
        command.send_signal(number)
        assert command.wait(15) == status
        assert command.stdout.read() == ""


def test_a_broker_that_dies_while_events_are_sent_is_one_line_with_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What an operator is given half a minute for
    monkeypatch.setattr(kafka_client, "REQUEST_TIMEOUT_MS", 1_500)
    monkeypatch.setattr(kafka_producer, "_DELIVERY_TIMEOUT_MS", 2_000)
    monkeypatch.setattr(publishing, "_FLUSH_TIMEOUT_S", 1)
    with run_broker(tmp_path / "kafka") as broker:
        monkeypatch.setenv("MILEPOST_KAFKA", broker.bootstrap_servers)
        lines("init")

        def dying() -> Iterator[EventLine]:
            yield from (EventLine(f"x:{line}", b"{}") for line in range(1, 11))
            time.sleep(1)
            os.kill(broker.pid, signal.SIGKILL)
            yield EventLine("x:11", b"{}")

        with pytest.raises(publishing.PublishError) as raised:
            publishing.publish_events(read_settings(), dying(), publishing.ContentMode.STRUCTURED)
    line = str(raised.value)
    assert line.startswith(
        f"x:11: Kafka at {broker.bootstrap_servers} does not answer: Connection refused; is it running?"
    )
    assert "stopped there, 10 events were acknowledged by" in line
