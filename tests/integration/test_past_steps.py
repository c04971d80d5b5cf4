"""Loading a past: what is told of each milestone is how it stands. Contract, section 8."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from models.database.engine import make_engine, read_transaction, write_transaction
from models.database.forecasts import mark_published, read_unpublished
from models.database.past_steps import merge_past_steps
from models.database.projector import Projector
from models.database.recorder import Recorder
from models.database.tables import forecasts
from models.domain.forecast_changes import FORECAST_CHANGED, MILESTONE_ACHIEVED, HistoryRow
from models.settings import Settings
from tests.helpers.event_generators import random_events
from tests.helpers.events import EventDatabase, date_report, dependency_declaration, event_database, retraction_event
from tests.helpers.mail import mail_server
from tests.helpers.notify import notify_process, system_block, write_targets
from tests.helpers.oracle import JsonEvent, expected_milestones
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine
from tests.helpers.webhooks import receiver
from tests.helpers.workers import publish, wait_until, worker_process

PYTHON = Path(__file__).parents[2] / "docs" / "examples" / "python-releases.jsonl"
DAY = date(2026, 3, 12)
NOTICED = "2026-03-12T08:00:00Z"
GATE, LAUNCH = "park/ready", "tenant/launch"


@pytest.fixture
def database(database_url: str) -> Iterator[tuple[EventDatabase, str]]:
    with event_database(database_url) as events:
        yield events, database_url


def load(database: tuple[EventDatabase, str], *events: JsonEvent) -> None:
    """Record and calculate each event for itself."""
    for event in events:
        database[0].record_and_recalculate([event], DAY, recorded_at=NOTICED)


def merged_rows(database: tuple[EventDatabase, str]) -> list[HistoryRow]:
    engine = make_engine(database[1])
    try:
        with write_transaction(engine) as connection:
            merge_past_steps(connection, "north")
        with read_transaction(engine) as connection:
            return read_unpublished(connection, ["north"], 1000)
    finally:
        engine.dispose()


def in_short(rows: list[HistoryRow]) -> list[tuple[str, str | None, str | None, str]]:
    def day(value: date | None) -> str | None:
        return None if value is None else value.isoformat()

    return [(row.milestone, day(row.previous), day(row.current), row.cause_id) for row in rows]


def test_the_steps_of_a_past_become_the_whole_way_with_the_last_event_behind_it(
    database: tuple[EventDatabase, str],
) -> None:
    load(
        database,
        date_report("first", GATE, "PLN", "2026-05-01"),
        date_report("launch", LAUNCH, "PLN", "2026-05-02"),
        dependency_declaration("waits", LAUNCH, GATE, 10),
        date_report("second", GATE, "EST", "2026-06-01", time="2026-02-01T00:00:00Z"),
        date_report("third", GATE, "EST", "2026-07-01", time="2026-03-01T00:00:00Z"),
    )
    assert in_short(merged_rows(database)) == [
        ("ready", None, "2026-07-01", "third"),
        ("launch", None, "2026-07-11", "third"),
    ]


def test_what_was_told_already_stays_and_what_came_back_is_not_told(database: tuple[EventDatabase, str]) -> None:
    load(database, date_report("first", GATE, "PLN", "2026-05-01"), date_report("launch", LAUNCH, "PLN", "2026-05-02"))
    engine = make_engine(database[1])
    with write_transaction(engine) as connection:
        mark_published(connection, {"north": 2})
    engine.dispose()
    load(
        database,
        date_report("later", GATE, "EST", "2026-06-01", time="2026-02-01T00:00:00Z"),
        date_report("back", GATE, "EST", "2026-05-01", time="2026-02-02T00:00:00Z"),
        date_report("slip", LAUNCH, "EST", "2026-05-09", time="2026-02-02T00:00:00Z"),
    )
    assert in_short(merged_rows(database)) == [("launch", "2026-05-02", "2026-05-09", "slip")]


def test_a_gate_that_opened_on_the_way_is_told_unless_that_was_taken_back(database: tuple[EventDatabase, str]) -> None:
    load(
        database,
        date_report("launch", LAUNCH, "PLN", "2026-05-02"),
        dependency_declaration("waits", LAUNCH, GATE, 10),
        date_report("plan", GATE, "PLN", "2026-02-20"),
        date_report("done", GATE, "ACT", "2026-02-20", time="2026-02-20T12:00:00Z"),
        date_report("corrected", GATE, "ACT", "2026-02-19", time="2026-02-21T12:00:00Z"),
    )
    rows = {row.milestone: row for row in merged_rows(database)}
    assert (rows["ready"].previous, rows["ready"].dependents) == (None, 1)
    assert str(rows["ready"].current) == "2026-02-19"
    load(
        database,
        retraction_event("no", "park", "done", time="2026-02-22T12:00:00Z"),
        retraction_event("neither", "park", "corrected", time="2026-02-22T12:00:00Z"),
    )
    rows = {row.milestone: row for row in merged_rows(database)}
    assert (rows["ready"].state, rows["ready"].dependents) == ("overdue", None)


def test_steps_of_the_present_are_told_one_by_one(database: tuple[EventDatabase, str]) -> None:
    load(
        database,
        date_report("first", GATE, "PLN", "2026-05-01"),
        date_report("old", LAUNCH, "PLN", "2026-05-01"),
        date_report("three days ago", LAUNCH, "EST", "2026-05-03", time="2026-03-10T07:59:59Z"),
        date_report("two days ago", GATE, "EST", "2026-05-02", time="2026-03-10T08:00:00Z"),
    )
    assert in_short(merged_rows(database)) == [
        ("ready", None, "2026-05-01", "first"),
        ("launch", None, "2026-05-03", "three days ago"),
        ("ready", "2026-05-01", "2026-05-02", "two days ago"),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_loaded_each_milestone_is_told_once_and_as_it_stands(seed: int, sqlite_url: str) -> None:
    events, log, today = random_events(seed, 150, programmes=1, projects=3, with_dependencies=True), TopicLog(), DAY
    now_ms = round(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1000)
    with migrated_engine(sqlite_url) as engine:
        recorder, projector = Recorder(engine), Projector(engine)
        recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})
        for event in events:
            recorder.record(event_batch([log.append(event)]), fail_on_rejection)
            projector.recalculate(["programme-0"], today, now_ms)
        with write_transaction(engine) as connection:
            merge_past_steps(connection, "programme-0")
        with read_transaction(engine) as connection:
            rows = read_unpublished(connection, ["programme-0"], 10_000)
            standing = {
                (project, milestone): forecast
                for project, milestone, forecast in connection.execute(
                    select(forecasts.c.project, forecasts.c.milestone, forecasts.c.forecast)
                )
                if forecast is not None
            }
        told = [(row.project, row.milestone) for row in rows]
        assert len(told) == len({*told}) > 10
        assert all(row.previous is None for row in rows)
        assert {(row.project, row.milestone): row.current for row in rows} == standing
        # Once more, nothing is left to merge.
        with write_transaction(engine) as connection:
            merge_past_steps(connection, "programme-0")
        with read_transaction(engine) as connection:
            assert read_unpublished(connection, ["programme-0"], 10_000) == rows


def test_ten_years_that_are_loaded_while_people_and_systems_are_told_flood_nobody(
    postgresql_settings: Settings, tmp_path: Path
) -> None:
    # So few of a batch that there are calculations in the course of the load.
    settings = postgresql_settings.model_copy(update={"batch": 20})
    events = [json.loads(line) for line in PYTHON.read_text().splitlines()]
    with (
        mail_server() as mailbox,
        receiver() as system,
        worker_process(settings, tmp_path) as worker,
    ):
        worker.wait_until_ready()
        blocks = (system_block("one", system.url), f'name = "team"\nurl = "{mailbox.url}"\n')
        with notify_process(settings, tmp_path, write_targets(tmp_path, *blocks)) as notify:
            for name in ("one", "team"):
                wait_until(
                    lambda name=name: (  # type: ignore[misc]
                        notify.scrape().value("milepost_notify_assigned_partitions", target=name) == 4
                    ),
                    "it is read for",
                )
            publish(settings, events)
            wait_until(lambda: bool(mailbox.messages), "people are told of the past")
            # A change of the present comes behind all of it.
            now = datetime.now(UTC)
            slip = date_report("slip", "python-3.9/end-of-life", "EST", str(now.date() + timedelta(days=400)),
                               time=now.isoformat())  # fmt: skip
            slip["subject"] = "python/python-3.9"
            publish(settings, [slip])
            wait_until(lambda: "slip" in [event["causationid"] for event in system.events()], "the slip is told")
            wait_until(
                lambda: any("end-of-life" in message["subject"] for message in mailbox.messages),
                "people are told of it",
            )
        assert (worker.scrape().value("milepost_forecast_seconds_count") or 0) > 2
        told = [event for event in system.events() if event["causationid"] != "slip"]
        standing = {
            (f"python/{row['project']}", row["milestone"])
            for row in expected_milestones(events, datetime.now(UTC).date())
            if row["forecast"] is not None
        }
        moved, achieved = (
            [(event["subject"], event["data"]["milestone"]) for event in told if event["type"] == kind]
            for kind in (FORECAST_CHANGED, MILESTONE_ACHIEVED)
        )
        assert sorted(moved) == sorted(standing)
        assert len(achieved) == len({*achieved}) > 200
        assert all(event["data"]["from"] is None for event in told if event["type"] == FORECAST_CHANGED)
        summary, *_ = mailbox.messages
        assert summary["subject"] == f"{len(standing)} events changed {len(standing)} milestones"
        # The past, and the slip; one more where the machine was so slow that the load had pauses.
        assert len(mailbox.messages) <= 3, mailbox.texts()
