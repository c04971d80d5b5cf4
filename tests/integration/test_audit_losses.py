"""What `milepost audit` says of what was lost, and how its commands end; SQLite, for the database has no part in it."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from sqlalchemy import text
from typer.testing import CliRunner, Result

from consumers.dead_letters import read_dead_letters
from deploy.cli import app
from deploy.topics import ensure_topics
from models.database.engine import make_engine, write_transaction
from models.database.recorder import Recorder
from models.settings import Settings
from tests.helpers.event_generators import Headers, structured_record
from tests.helpers.workers import publish, publish_records, read_topic, running_app, wait_until, wait_until_async
from tests.integration.test_rejections import raw_header_name
from tests.integration.test_streams import numbered_report


def record_all(settings: Settings, records: int) -> None:
    """Have a worker read until so many records are recorded."""
    store = Recorder(make_engine(settings.database))

    async def run() -> None:
        async with running_app(settings):
            await wait_until_async(
                lambda: sum(store.read_positions(settings.events_topic).values()) >= records, "all is read"
            )

    asyncio.run(run())
    store.engine.dispose()


def command(settings: Settings, *arguments: str) -> Result:
    told = {"MILEPOST_KAFKA": settings.kafka, "MILEPOST_PREFIX": settings.prefix}
    return CliRunner().invoke(
        app.app, arguments, prog_name="milepost", env=told | {"MILEPOST_DATABASE": settings.database}
    )


def differences(settings: Settings, *arguments: str) -> Sequence[str]:
    """Run a command that finds differences; return their lines, and the summary."""
    result = command(settings, *arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr == ""
    return result.stdout.splitlines()


def execute(settings: Settings, statement: str) -> None:
    engine = make_engine(settings.database)
    with write_transaction(engine) as connection:
        connection.execute(text(statement))
    engine.dispose()


def delete_records(settings: Settings, topic: str) -> int:
    """Delete all that a topic holds, as retention does; return how many records that were."""
    records = read_topic(settings, topic)
    ends = {TopicPartition(topic, record.partition): record.offset + 1 for record in records}
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        admin.delete_records(ends)
    return len(records)


def test_a_dead_letter_that_was_lost_is_reported_by_the_record_it_was_for(sqlite_settings: Settings) -> None:
    publish(sqlite_settings, [numbered_report(1)])
    publish_records(sqlite_settings, [(None, [], b"no event")])
    record_all(sqlite_settings, 2)
    [letter] = read_dead_letters(sqlite_settings)
    topic = sqlite_settings.dead_letters_topic
    with closing(KafkaAdminClient(bootstrap_servers=sqlite_settings.kafka)) as admin:
        admin.delete_topics([topic])
        wait_until(lambda: admin.describe_topics([topic])[0]["error_code"] != 0, "the broker shows it gone")
    ensure_topics(sqlite_settings)

    line, summary = differences(sqlite_settings, "audit")

    assert line.startswith(f"{letter.key}: expected in the ledger or among the dead letters (malformed,")
    assert line.endswith("found nowhere")
    assert summary.startswith("1 difference; 2 records read: 1 accepted, 0 duplicates, 0 waiting as dead letters")


def test_a_dead_letter_that_was_discarded_is_not_lost(sqlite_settings: Settings) -> None:
    publish_records(sqlite_settings, [(None, [], b"no event")])
    record_all(sqlite_settings, 1)
    assert command(sqlite_settings, "dead-letters", "discard", "--all").exit_code == 0

    result = command(sqlite_settings, "audit")

    assert (result.exit_code, result.stderr) == (0, "")
    assert "0 waiting as dead letters, 1 replayed or discarded" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "1 accepted, 0 duplicates, 1 waiting as dead letters, 0 replayed or discarded"),
        (["replay", "--all"], "1 accepted, 1 duplicate, 0 waiting as dead letters, 1 replayed or discarded"),
        (["discard", "--all"], "1 accepted, 0 duplicates, 0 waiting as dead letters, 1 replayed or discarded"),
    ],
)
def test_a_dead_letter_whose_event_was_recorded_later_is_no_duplicate(
    sqlite_settings: Settings, arguments: list[str], said: str
) -> None:
    strict = sqlite_settings.model_copy(update={"allowed_sources": {"north": []}})
    publish(sqlite_settings, [numbered_report(1)])
    record_all(strict, 1)
    publish(sqlite_settings, [numbered_report(1)])
    record_all(sqlite_settings, 2)
    if arguments:
        assert command(sqlite_settings, "dead-letters", *arguments).exit_code == 0
        record_all(sqlite_settings, 3 if arguments[0] == "replay" else 2)

    result = command(sqlite_settings, "audit")

    assert (result.exit_code, result.stderr) == (0, "")
    assert said in result.stdout


def test_a_position_that_was_set_forward_shows_every_record_it_passed_over(sqlite_settings: Settings) -> None:
    settings = sqlite_settings
    publish(settings, [numbered_report(1)])
    record_all(settings, 1)
    publish(settings, [numbered_report(2), numbered_report(3)])
    execute(settings, "UPDATE positions SET next_offset = 3 WHERE next_offset = 1")

    *found, summary = differences(settings, "audit")

    assert len(found) == 2
    for number, line in zip((2, 3), found, strict=True):
        assert (
            f"(event '{numbered_report(number)['id']}' of '{numbered_report(number)['source']}'), found nowhere" in line
        )
    assert summary.startswith("2 differences; 3 records read: 1 accepted")


def test_what_was_recorded_before_the_topic_lost_it_is_taken_on_trust(sqlite_settings: Settings) -> None:
    publish(sqlite_settings, [numbered_report(number) for number in range(5)])
    record_all(sqlite_settings, 5)
    assert delete_records(sqlite_settings, sqlite_settings.events_topic) == 5

    result = command(sqlite_settings, "audit")

    assert (result.exit_code, result.stderr) == (0, "")
    trust, summary = result.stdout.splitlines()
    assert trust == "5 records are no longer in the topic; their ledger rows could not be compared with it"
    assert summary.startswith("0 differences; 0 records read: 0 accepted")


def test_a_row_whose_record_the_topic_should_hold_and_does_not_is_reported(sqlite_settings: Settings) -> None:
    publish(sqlite_settings, [numbered_report(1)])
    record_all(sqlite_settings, 1)
    execute(sqlite_settings, "UPDATE ledger SET offset = 7")

    lines = differences(sqlite_settings, "audit")

    assert any(
        line.startswith(f"ledger {numbered_report(1)['source']} {numbered_report(1)['id']}: expected the record at")
        for line in lines
    )


def test_the_commands_say_nothing_wrong_with_one_line_and_status_0(sqlite_settings: Settings) -> None:
    publish(sqlite_settings, [numbered_report(1), numbered_report(2), numbered_report(1)])
    publish_records(sqlite_settings, [(None, [], b"no event")])
    record_all(sqlite_settings, 4)

    said = "0 differences; 4 records read: 2 accepted, 1 duplicate, 1 waiting as dead letters, 0 replayed or discarded;"
    result = command(sqlite_settings, "audit")
    assert (result.exit_code, result.stdout) == (0, f"{said} 1 programme, 1 milestone\n")
    assert command(sqlite_settings, "audit", "--json").stdout == "[]\n"
    for arguments, told in ((["rebuild", "--diff"], "0 differences"), (["rebuild"], "repaired 0 differences")):
        result = command(sqlite_settings, *arguments)
        assert (result.exit_code, result.stdout) == (0, f"{told}\n")


def test_the_commands_say_what_is_wrong_and_rebuild_puts_it_right(sqlite_settings: Settings) -> None:
    publish(sqlite_settings, [numbered_report(1)])
    record_all(sqlite_settings, 1)
    execute(sqlite_settings, "UPDATE milestones SET planned = '2031-01-01'")

    for arguments in (["audit"], ["rebuild", "--diff"]):
        line, *_ = differences(sqlite_settings, *arguments)
        assert line.startswith("milestones north/plant/")
        assert line.endswith("found 2031-01-01")
        [row, *_] = json.loads(command(sqlite_settings, *arguments, "--json").stdout)
        assert (row["where"], row["found"]) == (line.split(": ")[0], "2031-01-01")
    result = command(sqlite_settings, "rebuild")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, line)
    assert command(sqlite_settings, "rebuild", "--diff").exit_code == 0


def test_an_audit_without_its_topic_or_its_database_is_one_line(sqlite_settings: Settings, tmp_path: Path) -> None:
    for settings, said in (
        (sqlite_settings.model_copy(update={"prefix": "nowhere"}), "nowhere.events"),
        (sqlite_settings.model_copy(update={"database": f"sqlite:///{tmp_path}/nowhere.db"}), "milepost init"),
    ):
        result = command(settings, "audit")
        assert result.exit_code == 1
        [line] = result.stderr.splitlines()
        assert said in line


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe"])
def test_headers_of_any_name_are_read_in_the_topic_and_among_the_dead_letters(
    sqlite_settings: Settings, name: bytes
) -> None:
    settings = sqlite_settings
    strange: Headers = [(raw_header_name(name), b"1")]
    headers, value = structured_record(numbered_report(1))
    records: list[tuple[bytes | None, Headers, bytes | None]] = [
        (None, [*headers, *strange], value),
        (None, strange, b"no event"),
    ]
    publish_records(settings, records)
    record_all(settings, 2)
    # What a stranger writes there is read as well.
    with closing(KafkaProducer(bootstrap_servers=settings.kafka)) as producer:
        producer.send(settings.dead_letters_topic, key=b"theirs", value=b"x", headers=strange).get(timeout=60)

    assert command(settings, "audit").exit_code == 0
    listed = command(settings, "dead-letters", "list", "--json")
    assert listed.exit_code == 0
    assert "theirs" in {letter["key"] for letter in json.loads(listed.stdout)}
    shown = command(settings, "dead-letters", "show", "theirs")
    assert name.decode("utf-8", "backslashreplace") in shown.stdout
