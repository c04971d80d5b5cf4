"""What becomes of the rejected: replayed, discarded, and looked at before."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner, Result

from consumers.compat import NullableHeaders, NullHeaderSerializer
from consumers.dead_letters import read_dead_letters, read_newest_dead_letters
from deploy.cli import app
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.domain.dead_letters import DeadLetter
from models.domain.schedule import compute_schedule
from models.settings import Settings
from tests.helpers.event_generators import Headers, structured_record
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import count_events, load_facts
from tests.helpers.workers import publish, publish_records, read_topic, running_app, wait_until_async


def plan_report(name: str, day: str = "2027-01-10", subject: str = "north/plant", **more: Any) -> JsonEvent:  # noqa: ANN401 - JSON
    """Return a report."""
    data = {"milestone": "permit-approved", "classifier": "PLN", "date": day}
    return {
        "specversion": "1.0",
        "id": name,
        "source": "//office.example",
        "type": "milepost.milestone.reported.v1",
        "subject": subject,
        "time": "2026-03-01T09:00:00Z",
        "data": data,
    } | more


def retraction(of: str, name: str, **more: Any) -> JsonEvent:  # noqa: ANN401 - JSON
    """Return what takes an event back."""
    data = {"retracts": of, "reason": "incorrect_data"}
    return plan_report(name) | {"type": "milepost.event.retracted.v1", "data": data} | more


def work(settings: Settings) -> None:
    """Let a worker read what there is to its end."""

    async def run() -> None:
        store = Recorder(make_engine(settings.database))
        async with running_app(settings) as milepost:
            ends = {partition: end for partition, end in _ends(settings).items() if end}
            topic = settings.events_topic
            await wait_until_async(lambda: ends.items() <= store.read_positions(topic).items(), "everything is read")
            day = datetime.now(UTC).date()
            await wait_until_async(
                lambda: not milepost.metrics_store.outdated_programmes(store.read_revisions(), day),
                "everything is drawn",
            )
        store.engine.dispose()

    asyncio.run(run())


def _ends(settings: Settings) -> dict[int, int]:
    ends: dict[int, int] = {}
    for record in read_topic(settings, settings.events_topic):
        ends[record.partition] = max(record.offset + 1, ends.get(record.partition, 0))
    return ends


def dead_letters_of(settings: Settings) -> list[DeadLetter]:
    return read_dead_letters(settings)


def milepost(settings: Settings, *arguments: str) -> Result:
    """Run a command with these settings."""
    told = settings.model_dump(mode="json", exclude_defaults=True)
    environment = {
        f"MILEPOST_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in told.items()
    }
    return CliRunner().invoke(app.app, arguments, env=environment, prog_name="milepost")


def lines(settings: Settings, *arguments: str) -> list[str]:
    result = milepost(settings, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def the_line(result: Result) -> str:
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    return line


def closed(settings: Settings) -> Settings:
    """Return settings by which nobody may speak for the programme north."""
    return settings.model_copy(update={"allowed_sources": {"north": ["//nobody.example"]}})


def forecasts(settings: Settings) -> dict[tuple[str, ...], date | None]:
    store = Recorder(make_engine(settings.database))
    facts, _ = load_facts(store)
    store.engine.dispose()
    day = datetime.now(UTC).date()
    return {tuple(standing.key): standing.forecast for standing in compute_schedule(facts, day).statuses}


def limit_message_bytes(settings: Settings, topic: str, max_bytes: int) -> None:
    """Make a topic refuse records of more bytes than this."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(max_bytes)})
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        admin.alter_configs([resource])


def rejected(settings: Settings, events: Sequence[JsonEvent]) -> list[DeadLetter]:
    """Have a worker reject events because of who sent them; return their letters."""
    publish(settings, events)
    work(closed(settings))
    letters = dead_letters_of(settings)
    assert {letter.reason for letter in letters} == {"source-not-allowed"}
    assert len(letters) == len(events)
    return letters


class TestReplay:
    def test_what_was_rejected_is_sent_back_as_it_came_and_taken_off_the_list(self, sqlite_settings: Settings) -> None:
        headers, value = structured_record(plan_report("1"))
        own: Headers = [*headers, ("milepost-foo", b"its own"), ("trace", b"\xff")]
        # Spaces make the bytes others than those that would be written of what it says.
        publish_records(sqlite_settings, [(b"any key", own, value + b"  ")])
        work(closed(sqlite_settings))
        [letter] = dead_letters_of(sqlite_settings)

        assert lines(sqlite_settings, "dead-letters", "replay", letter.key) == [
            letter.key,
            f"1 dead letter replayed to {sqlite_settings.events_topic}",
        ]

        first, again = sorted(read_topic(sqlite_settings, sqlite_settings.events_topic), key=lambda r: r.offset)
        assert (again.value, list(again.headers)) == (first.value, list(first.headers))
        assert again.partition == first.partition
        assert dead_letters_of(sqlite_settings) == []
        work(sqlite_settings)
        assert dead_letters_of(sqlite_settings) == []
        assert forecasts(sqlite_settings) == {("north", "plant", "permit-approved"): date(2027, 1, 10)}

    def test_a_replay_that_fails_again_comes_back_once(self, sqlite_settings: Settings) -> None:
        headers, value = structured_record(plan_report("1"))
        publish_records(sqlite_settings, [(b"north", [*headers, ("milepost-foo", b"its own")], value)])
        work(closed(sqlite_settings))
        [before] = dead_letters_of(sqlite_settings)

        lines(sqlite_settings, "dead-letters", "replay", "--all")
        work(closed(sqlite_settings))

        [after] = dead_letters_of(sqlite_settings)
        assert (before.offset, after.offset) == (0, 1)
        assert after.key == f"{after.topic}:{after.partition}:1"
        assert (after.value, after.headers, after.reason) == (before.value, before.headers, before.reason)
        assert ("milepost-foo", b"its own") in after.headers

    def test_a_null_value_is_replayed_as_a_null_value(self, sqlite_settings: Settings) -> None:
        publish_records(sqlite_settings, [(b"north", [("ce_id", b"1")], None)])
        work(sqlite_settings)

        lines(sqlite_settings, "dead-letters", "replay", "--reason", "malformed")
        work(sqlite_settings)

        [letter] = dead_letters_of(sqlite_settings)
        assert (letter.offset, letter.value, letter.headers) == (1, None, (("ce_id", b"1"),))

    def test_a_header_without_a_value_is_replayed_without_one(self, sqlite_settings: Settings) -> None:
        headers = [("ce_id", None), ("empty", b""), ("trace", b"x")]
        with closing(
            KafkaProducer(bootstrap_servers=sqlite_settings.kafka, value_serializer=NullHeaderSerializer())
        ) as producer:
            producer.send(sqlite_settings.events_topic, b"no JSON", headers=NullableHeaders(headers)).get(timeout=60)
        work(sqlite_settings)

        lines(sqlite_settings, "dead-letters", "replay", "--all")

        sent = read_topic(sqlite_settings, sqlite_settings.events_topic)
        assert [list(record.headers) for record in sent] == [headers, headers]

    def test_only_what_is_chosen_is_replayed(self, sqlite_settings: Settings) -> None:
        publish_records(sqlite_settings, [(b"north", [], b"no JSON")])
        publish(sqlite_settings, [plan_report("1"), plan_report("2")])
        work(closed(sqlite_settings))
        printed = json.loads(
            "".join(lines(sqlite_settings, "dead-letters", "replay", "--reason", "malformed", "--json"))
        )

        assert [row["reason"] for row in printed] == ["malformed"]
        left = [letter.key for letter in dead_letters_of(sqlite_settings)]
        assert len(left) == 2
        lines(sqlite_settings, "dead-letters", "replay", left[1])
        assert [letter.key for letter in dead_letters_of(sqlite_settings)] == left[:1]

    @pytest.mark.parametrize("command", ["replay", "discard"])
    def test_a_key_or_a_reason_unheard_of_is_one_line_and_nothing_is_done(
        self, sqlite_settings: Settings, command: str
    ) -> None:
        [letter] = rejected(sqlite_settings, [plan_report("1")])

        line = the_line(milepost(sqlite_settings, "dead-letters", command, letter.key, "nope"))
        assert line.startswith("milepost: there is no dead letter 'nope' in ")
        line = the_line(milepost(sqlite_settings, "dead-letters", command, "--reason", "nope"))
        assert line.startswith("milepost: there is no reason 'nope', only conflicting-duplicate, ")
        assert dead_letters_of(sqlite_settings) == [letter]
        assert len(read_topic(sqlite_settings, sqlite_settings.events_topic)) == 1

    def test_what_cannot_be_replayed_is_named_and_the_rest_is_replayed(self, sqlite_settings: Settings) -> None:
        [letter] = rejected(sqlite_settings, [plan_report("1")])
        stranger = sqlite_settings.model_copy(update={"prefix": "elsewhere"})
        forged = [(f"milepost-{name}", text) for name, text in (("reason", b"malformed"), ("partition", b"0"))]
        forged += [("milepost-offset", b"0"), ("milepost-topic", stranger.events_topic.encode())]
        here = [*forged[:3], ("milepost-topic", sqlite_settings.events_topic.encode())]
        others = {
            b"nowhere": ([(name, b"700" if name == "milepost-partition" else text) for name, text in here], b"x"),
            b"cut": ([*here, ("milepost-truncated", b"300000")], b"x"),
            b"nameless": ([], b"x"),
            b"\xff": ([("milepost-reason", b"malformed"), ("milepost-partition", b"-1")], b"x"),
        }
        records = [(b"forged", forged, b"x"), *((key, *rest) for key, rest in others.items())]
        publish_records(_reading(sqlite_settings, sqlite_settings.dead_letters_topic), records)

        line = the_line(milepost(sqlite_settings, "dead-letters", "replay", letter.key, "forged"))
        assert "dead letter 'forged' does not say which partition" in line
        assert len(dead_letters_of(sqlite_settings)) == 6

        replayed = milepost(sqlite_settings, "dead-letters", "replay", "--all")
        assert replayed.exit_code == 1
        assert replayed.stdout.splitlines()[0] == letter.key
        told = sorted(replayed.stderr.splitlines())
        assert [line.rpartition(": ")[2] for line in told] == ["passed over"] * 5
        assert any("cut has only the beginning of a record of 300000 bytes" in line for line in told)
        assert any("nowhere came from partition 700, and topic" in line for line in told)
        assert letter not in dead_letters_of(sqlite_settings)
        assert len(dead_letters_of(sqlite_settings)) == 5

    def test_what_stops_between_the_two_writes_leaves_the_dead_letter(self, sqlite_settings: Settings) -> None:
        letters = rejected(sqlite_settings, [plan_report("1"), plan_report("2")])
        limit_message_bytes(sqlite_settings, sqlite_settings.dead_letters_topic, 10)

        line = the_line(milepost(sqlite_settings, "dead-letters", "replay", "--all"))

        assert line.endswith("; 0 of 2 dead letters were replayed before")
        assert dead_letters_of(sqlite_settings) == letters
        # They were sent, and count once when they are sent again.
        assert len(read_topic(sqlite_settings, sqlite_settings.events_topic)) == 4
        limit_message_bytes(sqlite_settings, sqlite_settings.dead_letters_topic, 1_000_000)
        lines(sqlite_settings, "dead-letters", "replay", "--all")
        work(sqlite_settings)
        assert dead_letters_of(sqlite_settings) == []
        store = Recorder(make_engine(sqlite_settings.database))
        assert count_events(store) == 2

    def test_what_the_broker_does_not_take_stays_a_dead_letter(self, sqlite_settings: Settings) -> None:
        small, large = plan_report("1"), plan_report("2", subject="north/plant", correlationid="x" * 5_000)
        rejected(sqlite_settings, [small, large])
        limit_message_bytes(sqlite_settings, sqlite_settings.events_topic, 2_000)

        line = the_line(milepost(sqlite_settings, "dead-letters", "replay", "--all"))

        [left] = dead_letters_of(sqlite_settings)
        assert b"xxxxx" in (left.value or b"")
        assert "refuses: The server has a configurable maximum message size" in line
        assert line.endswith("; 1 of 2 dead letters were replayed before")


def _reading(settings: Settings, events_topic: str) -> Settings:
    """Return settings by which events are published to another topic of the same prefix."""
    assert events_topic.endswith(".dead-letters")

    class Elsewhere(Settings):
        @property
        def events_topic(self) -> str:
            return settings.dead_letters_topic

    return Elsewhere(kafka=settings.kafka, prefix=settings.prefix)


class TestDiscard:
    def test_what_is_discarded_is_off_the_list_and_sent_nowhere(self, sqlite_settings: Settings) -> None:
        letters = rejected(sqlite_settings, [plan_report("1"), plan_report("2"), plan_report("3")])

        assert lines(sqlite_settings, "dead-letters", "discard", letters[0].key) == [
            letters[0].key,
            "1 dead letter discarded",
        ]
        assert dead_letters_of(sqlite_settings) == letters[1:]
        assert lines(sqlite_settings, "dead-letters", "discard", "--all")[-1] == "2 dead letters discarded"
        assert dead_letters_of(sqlite_settings) == []
        assert lines(sqlite_settings, "dead-letters", "discard", "--all") == ["0 dead letters discarded"]
        assert len(read_topic(sqlite_settings, sqlite_settings.events_topic)) == 3


class TestDryRun:
    def test_it_sends_nothing_and_says_what_then_comes_true(self, fresh_settings: Settings) -> None:
        publish(fresh_settings, [plan_report("old", "2027-01-10"), plan_report("wrong", "2027-05-05", "north/port")])
        work(fresh_settings)
        before = forecasts(fresh_settings)
        late = "2026-04-01T09:00:00Z"
        publish(
            fresh_settings,
            [
                plan_report("new", "2027-02-10", time=late),
                plan_report("old", "2027-01-10"),
                plan_report("old", "2027-01-11"),
                retraction("wrong", "back", subject="north/quay"),
                plan_report("unsaid", "2027-03-03", "north/dock"),
                retraction("unsaid", "back-2", subject="north/dock"),
                plan_report("bad", "never"),
            ],
        )
        work(closed(fresh_settings))
        count = len(read_topic(fresh_settings, fresh_settings.events_topic))
        letters = dead_letters_of(fresh_settings)
        assert len(letters) == 7

        seen = json.loads("".join(lines(fresh_settings, "dead-letters", "replay", "--all", "--dry-run", "--json")))

        assert [(row["verdict"], row["would_reason"]) for row in seen["letters"]] == [
            ("accepted", None),
            ("known", None),
            ("rejected", "conflicting-duplicate"),
            ("accepted", None),
            ("retracted", None),
            ("accepted", None),
            ("rejected", "invalid-data"),
        ]
        assert seen["forecasts"] == [
            {
                "programme": "north",
                "project": "plant",
                "milestone": "permit-approved",
                "from": "2027-01-10",
                "to": "2027-02-10",
                "days": 31,
            },
            {
                "programme": "north",
                "project": "port",
                "milestone": "permit-approved",
                "from": "2027-05-05",
                "to": None,
                "days": None,
            },
        ]
        assert len(read_topic(fresh_settings, fresh_settings.events_topic)) == count
        assert dead_letters_of(fresh_settings) == letters
        told = lines(fresh_settings, "dead-letters", "replay", "--all", "--dry-run")
        assert told[-3:] == [
            "north/plant/permit-approved: 2027-01-10 -> 2027-02-10, +31 days",
            "north/port/permit-approved: 2027-05-05 -> none",
            "4 of 7 dead letters would be accepted, 2 forecasts would move; nothing was sent",
        ]
        assert forecasts(fresh_settings) == before

        lines(fresh_settings, "dead-letters", "replay", "--all")
        work(fresh_settings)

        after = forecasts(fresh_settings)
        moved = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        assert moved == {(row["programme"], row["project"], row["milestone"]) for row in seen["forecasts"]}
        assert sorted(letter.reason for letter in dead_letters_of(fresh_settings)) == [
            "conflicting-duplicate",
            "invalid-data",
        ]

    def test_with_the_settings_as_they_are_it_would_be_rejected_again(self, sqlite_settings: Settings) -> None:
        [letter] = rejected(sqlite_settings, [plan_report("1")])

        [_, row, summary] = lines(closed(sqlite_settings), "dead-letters", "replay", letter.key, "--dry-run")

        assert row.split()[:5] == [letter.key, "source-not-allowed", "rejected", "again", "source-not-allowed:"]
        assert summary == "0 of 1 dead letter would be accepted, 0 forecasts would move; nothing was sent"


def test_the_newest_dead_letters_come_first_and_only_the_end_of_the_topic_is_read(sqlite_settings: Settings) -> None:
    def put(key: str, value: bytes | None) -> None:
        headers = [] if value is None else [("milepost-reason", b"malformed")]
        producer.send(sqlite_settings.dead_letters_topic, key=key.encode(), value=value, headers=headers)

    with closing(KafkaProducer(bootstrap_servers=sqlite_settings.kafka)) as producer:
        for number in range(6):
            put(f"events:0:{number}", b"{")
        put("events:0:3", None)
        put("events:0:4", b"[")
        producer.flush()

    newest = read_newest_dead_letters(sqlite_settings, 4)

    assert [(letter.key, letter.value) for letter in newest] == [("events:0:4", b"["), ("events:0:5", b"{")]
    assert len(read_newest_dead_letters(sqlite_settings, 100)) == len(dead_letters_of(sqlite_settings)) == 5
