"""What `milepost rebuild` promises, on both databases."""

import asyncio
from collections.abc import Iterator
from datetime import date

import pytest
from sqlalchemy import Engine, text

from models.database.consistency import TableRows, diff_table, diff_with_ledger, read_tables, rebuild_tables
from models.database.engine import DatabaseError, make_engine, read_transaction, write_transaction
from models.database.projector import Projector
from models.database.recorder import Recorder
from models.settings import Settings
from tests.helpers.event_generators import random_events
from tests.helpers.recorder import (
    TOPIC,
    TopicLog,
    event_batch,
    fail_on_rejection,
    migrated_engine,
    order_independent_rows,
)
from tests.helpers.workers import publish, running_app, wait_until_async
from tests.integration.test_streams import numbered_report

DAY = date(2026, 3, 12)
NOW_MS = 1_770_000_000_000

#: What is done to a table, and which table is then found to differ.
DAMAGE = [
    ("UPDATE milestones SET planned = '2031-01-01' WHERE planned IS NOT NULL", "milestones"),
    ("UPDATE milestones SET estimated_stamp = '9' WHERE estimated_stamp IS NOT NULL", "milestones"),
    ("UPDATE projects SET name = '\"other\"' WHERE name_stamp IS NOT NULL", "projects"),
    ("DELETE FROM milestones", "milestones"),
    ("DELETE FROM dependencies", "dependencies"),
    ("DELETE FROM programmes", "programmes"),
    ("INSERT INTO sites SELECT programme, 'ghost', 'ghost', 1 FROM programmes", "sites"),
    ("INSERT INTO programmes (programme, revision) VALUES ('ghost', 7)", "programmes"),
    ("UPDATE forecasts SET forecast = '2031-01-01'", "forecasts"),
    ("DELETE FROM forecasts", "forecasts"),
    ("DELETE FROM checkpoints", "checkpoints"),
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give a database, each kind in turn, into which thousands of events were recorded and drawn."""
    with migrated_engine(database_url) as engine:
        store, log = Recorder(engine), TopicLog()
        entries = [log.append(event) for event in random_events(5, 2000, with_dependencies=True)]
        store.resolve_start_offsets(TOPIC, {0: (0, 0)})
        for start in range(0, len(entries), 500):
            store.record(event_batch(entries[start : start + 500]), fail_on_rejection)
        Projector(engine).recalculate(list(store.read_revisions()), DAY, NOW_MS)
        yield engine


def forecasts_of(engine: Engine) -> list[tuple[object, ...]]:
    with read_transaction(engine) as connection:
        rows = connection.execute(text("SELECT * FROM forecasts ORDER BY programme, project, milestone"))
        return [tuple(row) for row in rows]


def history_of(engine: Engine) -> list[tuple[object, ...]]:
    with read_transaction(engine) as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM history ORDER BY programme, number"))]


def test_what_was_recorded_and_calculated_is_what_the_ledger_says(engine: Engine) -> None:
    assert diff_with_ledger(engine) == []
    assert rebuild_tables(engine) == []


def test_each_damage_is_found_and_repaired_and_recalculated_without_a_word_in_the_history(engine: Engine) -> None:
    tables, forecasts, history = order_independent_rows(engine), forecasts_of(engine), history_of(engine)
    assert forecasts
    assert history
    # One that remembers: it must not trust what it remembers afterwards.
    drawer = Projector(engine)
    drawer.recalculate(list(Recorder(engine).read_revisions()), DAY, NOW_MS)
    for statement, table in DAMAGE:
        with write_transaction(engine) as connection:
            connection.execute(text(statement))
        found = diff_with_ledger(engine)
        assert table in {difference.where.split()[0] for difference in found}, statement
        assert rebuild_tables(engine) == found, statement
        assert diff_with_ledger(engine) == [], statement
        assert order_independent_rows(engine) == tables, statement
        drawer.recalculate(list(Recorder(engine).read_revisions()), DAY, NOW_MS)
        assert forecasts_of(engine) == forecasts, statement
        assert history_of(engine) == history, statement
        assert diff_with_ledger(engine) == [], statement


def test_a_ledger_that_contradicts_itself_is_said_and_folded_by_nobody(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        connection.execute(text("UPDATE ledger SET instant = '1' WHERE type LIKE '%reported%'"))
    before = order_independent_rows(engine)
    assert any(" instant: expected " in str(difference) for difference in diff_with_ledger(engine))
    with pytest.raises(DatabaseError, match="the ledger itself is damaged"):
        rebuild_tables(engine)
    assert order_independent_rows(engine) == before


def test_what_was_recorded_and_not_calculated_when_the_tables_were_repaired_is_history_all_the_same(
    database_url: str,
) -> None:
    events = random_events(6, 1000, with_dependencies=True)

    def history_with(url: str, damage: str | None) -> list[tuple[str, ...]]:
        with migrated_engine(url) as engine:
            store, log = Recorder(engine), TopicLog()
            entries = [log.append(event) for event in events]
            store.resolve_start_offsets(TOPIC, {0: (0, 0)})
            drawer = Projector(engine)
            for start in range(0, len(entries), 500):
                store.record(event_batch(entries[start : start + 500]), fail_on_rejection)
                if damage is not None and start:
                    with write_transaction(engine) as connection:
                        connection.execute(text(damage))
                    assert rebuild_tables(engine)
                drawer.recalculate(list(store.read_revisions()), DAY, NOW_MS)
            with read_transaction(engine) as connection:
                query = "SELECT programme, project, milestone, previous, current, cause_id FROM history"
                return sorted(tuple(map(str, row)) for row in connection.execute(text(query)))

    undamaged = history_with("sqlite://", None)
    assert undamaged
    assert history_with(database_url, "UPDATE milestones SET planned = '2031-01-01'") == undamaged


def test_a_programme_that_no_event_names_leaves_the_page_of_a_running_worker(sqlite_settings: Settings) -> None:
    engine = make_engine(sqlite_settings.database)
    publish(sqlite_settings, [numbered_report(1)])

    async def run() -> None:
        async with running_app(sqlite_settings.model_copy(update={"sweep_seconds": 0.2})) as milepost:
            await wait_until_async(lambda: milepost.metrics_store.programme_names == {"north"}, "the event is shown")
            with write_transaction(engine) as connection:
                connection.execute(text("INSERT INTO programmes (programme, revision) VALUES ('ghost', 7)"))
            await wait_until_async(
                lambda: milepost.metrics_store.programme_names == {"north", "ghost"}, "what is in the database is shown"
            )
            await asyncio.to_thread(rebuild_tables, engine)
            await wait_until_async(
                lambda: milepost.metrics_store.programme_names == {"north"}, "what is not is shown no longer"
            )

    asyncio.run(run())
    engine.dispose()


def test_differences_are_told_in_natural_order() -> None:
    found: TableRows = {("north", f"lot-{number}"): {"name": None} for number in (10, 9, 100)}
    told = [difference.where for difference in diff_table("projects", {}, found)]
    assert told == ["projects north/lot-9", "projects north/lot-10", "projects north/lot-100"]


def test_tables_are_compared_however_many_programmes_there_are(engine: Engine) -> None:
    # More than a statement takes parameters.
    names = [{"name": f"p-{number}"} for number in range(70_000)]
    with write_transaction(engine) as connection:
        connection.execute(text("INSERT INTO programmes (programme, revision) VALUES (:name, 1)"), names)

    with read_transaction(engine) as connection:
        snapshot = read_tables(connection)

    assert {name["name"] for name in names} < snapshot.revisions.keys()
    assert snapshot.data_dates.keys() < snapshot.revisions.keys()
