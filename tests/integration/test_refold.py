"""What `milepost rebuild` promises, on both databases."""

import asyncio
from collections.abc import Iterator
from datetime import date

import pytest
from sqlalchemy import Engine, text

from models.database.consistency import compare_with_ledger, put_right
from models.database.engine import DatabaseError, connect, reading, writing
from models.database.projector import Forecasts
from models.database.recorder import Store
from models.settings import Settings
from tests.integration.test_streams import report
from tests.publisher import random_events
from tests.storing import TOPIC, Log, batch_of, decided, prepared, refuse_none
from tests.workers import publish, running_app, until

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
    ("DELETE FROM pictures", "pictures"),
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give a database, each kind in turn, into which thousands of events were recorded and drawn."""
    with prepared(database_url) as engine:
        store, log = Store(engine), Log()
        entries = [log.append(event) for event in random_events(5, 2000, with_dependencies=True)]
        store.take_up(TOPIC, {0: (0, 0)})
        for start in range(0, len(entries), 500):
            store.record(batch_of(entries[start : start + 500]), refuse_none)
        Forecasts(engine).draw(list(store.revisions()), DAY, NOW_MS)
        yield engine


def forecasts_of(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT * FROM forecasts ORDER BY programme, project, milestone"))
        return [tuple(row) for row in rows]


def history_of(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM history ORDER BY programme, number"))]


def test_what_was_recorded_and_drawn_is_what_the_ledger_says(engine: Engine) -> None:
    assert compare_with_ledger(engine) == []
    assert put_right(engine) == []


def test_each_damage_is_found_and_put_right_and_drawn_anew_without_a_word_in_the_history(engine: Engine) -> None:
    tables, forecasts, history = decided(engine), forecasts_of(engine), history_of(engine)
    assert forecasts
    assert history
    # One that remembers: it must not trust what it remembers afterwards.
    drawer = Forecasts(engine)
    drawer.draw(list(Store(engine).revisions()), DAY, NOW_MS)
    for statement, table in DAMAGE:
        with writing(engine) as connection:
            connection.execute(text(statement))
        found = compare_with_ledger(engine)
        assert table in {difference.where.split()[0] for difference in found}, statement
        assert put_right(engine) == found, statement
        assert compare_with_ledger(engine) == [], statement
        assert decided(engine) == tables, statement
        drawer.draw(list(Store(engine).revisions()), DAY, NOW_MS)
        assert forecasts_of(engine) == forecasts, statement
        assert history_of(engine) == history, statement
        assert compare_with_ledger(engine) == [], statement


def test_a_ledger_that_contradicts_itself_is_said_and_folded_by_nobody(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE ledger SET instant = '1' WHERE type LIKE '%reported%'"))
    before = decided(engine)
    assert any(" instant: expected " in str(difference) for difference in compare_with_ledger(engine))
    with pytest.raises(DatabaseError, match="the ledger itself is damaged"):
        put_right(engine)
    assert decided(engine) == before


def test_what_was_recorded_and_not_drawn_when_the_tables_were_put_right_is_history_all_the_same(
    database_url: str,
) -> None:
    events = random_events(6, 1000, with_dependencies=True)

    def history_with(url: str, damage: str | None) -> list[tuple[str, ...]]:
        with prepared(url) as engine:
            store, log = Store(engine), Log()
            entries = [log.append(event) for event in events]
            store.take_up(TOPIC, {0: (0, 0)})
            drawer = Forecasts(engine)
            for start in range(0, len(entries), 500):
                store.record(batch_of(entries[start : start + 500]), refuse_none)
                if damage is not None and start:
                    with writing(engine) as connection:
                        connection.execute(text(damage))
                    assert put_right(engine)
                drawer.draw(list(store.revisions()), DAY, NOW_MS)
            with reading(engine) as connection:
                query = "SELECT programme, project, milestone, was, becomes, cause_id FROM history"
                return sorted(tuple(map(str, row)) for row in connection.execute(text(query)))

    undamaged = history_with("sqlite://", None)
    assert undamaged
    assert history_with(database_url, "UPDATE milestones SET planned = '2031-01-01'") == undamaged


def test_a_programme_that_no_event_names_leaves_the_page_of_a_running_worker(sqlite_settings: Settings) -> None:
    engine = connect(sqlite_settings.database)
    publish(sqlite_settings, [report(1)])

    async def run() -> None:
        async with running_app(sqlite_settings.model_copy(update={"sweep_seconds": 0.2})) as milepost:
            await until(lambda: milepost.shelf.names == {"north"}, "the event is shown")
            with writing(engine) as connection:
                connection.execute(text("INSERT INTO programmes (programme, revision) VALUES ('ghost', 7)"))
            await until(lambda: milepost.shelf.names == {"north", "ghost"}, "what is in the database is shown")
            await asyncio.to_thread(put_right, engine)
            await until(lambda: milepost.shelf.names == {"north"}, "what is not is shown no longer")

    asyncio.run(run())
    engine.dispose()
