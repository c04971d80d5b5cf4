"""Retractions whose event is not there are counted and listed, without a scan of the ledger."""

from sqlalchemy import Connection, Engine, inspect, text

from models.database.engine import read_transaction, write_transaction
from models.database.migrate import migrate
from models.database.postgresql import is_postgresql
from models.database.recorder import Recorder
from models.database.retractions import (
    MAX_COUNTED_UNMATCHED,
    UnmatchedRetraction,
    _select_unmatched,
    count_unmatched_retractions,
    read_unmatched_retractions,
)
from tests.helpers.recorder import TopicLog, new_recorder, plan_event, record_batch, retraction_event


def unmatched(recorder: Recorder) -> list[tuple[str, str]]:
    """Return the retractions without an event, each with what it retracts; their number is what is counted."""
    with read_transaction(recorder.engine) as connection:
        found = read_unmatched_retractions(connection, 100)
        assert count_unmatched_retractions(connection) == len(found)
    return sorted((row.id, row.retracts) for row in found)


def test_a_retraction_is_unmatched_until_its_event_comes(engine: Engine) -> None:
    recorder, log = new_recorder(engine), TopicLog()
    record_batch(recorder, log.append(plan_event("e-1")), log.append(retraction_event("e-1", "r-1")))
    assert unmatched(recorder) == []

    record_batch(recorder, log.append(retraction_event("e-2", "r-2")), log.append(retraction_event("e-2", "r-3")))
    assert unmatched(recorder) == [("r-2", "e-2"), ("r-3", "e-2")]

    record_batch(recorder, log.append(plan_event("e-2")))
    assert unmatched(recorder) == []


def test_an_event_of_another_source_does_not_match(engine: Engine) -> None:
    recorder, log = new_recorder(engine), TopicLog()
    record_batch(
        recorder,
        log.append(plan_event("e-1")),
        log.append(retraction_event("e-1", "r-1") | {"source": "//other.example"}),
    )

    with read_transaction(engine) as connection:
        [found] = read_unmatched_retractions(connection, 100)
    assert (found.source, found.id, found.retracts) == ("//other.example", "r-1", "e-1")


def test_a_list_has_no_more_than_was_asked_for(engine: Engine) -> None:
    recorder, log = new_recorder(engine), TopicLog()
    record_batch(recorder, *[log.append(retraction_event(f"e-{number}", f"r-{number}")) for number in range(5)])

    with read_transaction(engine) as connection:
        assert len(read_unmatched_retractions(connection, 3)) == 3
        assert count_unmatched_retractions(connection) == 5 < MAX_COUNTED_UNMATCHED


def test_a_ledger_of_the_schema_before_gets_the_index(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        connection.execute(text("DROP INDEX ix_ledger_tombstone"))
        for table, column in (("milestones", "name"), ("milestones", "name_stamp"), ("positions", "newest_event_ms")):
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    migrate(engine)

    assert "ix_ledger_tombstone" in {index["name"] for index in inspect(engine).get_indexes("ledger")}


def plan_of_the_query(connection: Connection) -> str:
    """Return how the database would find the retractions."""
    statement = _select_unmatched(UnmatchedRetraction._fields).limit(100)
    sql = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))
    prefix = "EXPLAIN" if is_postgresql(connection) else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row) for row in connection.execute(text(f"{prefix} {sql}")))


def test_the_ledger_is_not_scanned(engine: Engine) -> None:
    recorder, log = new_recorder(engine), TopicLog()
    record_batch(recorder, *[log.append(plan_event(f"e-{number}")) for number in range(2000)])
    record_batch(recorder, log.append(retraction_event("missing", "r-1")))
    with write_transaction(engine) as connection:
        connection.execute(text("ANALYZE"))
        plan = plan_of_the_query(connection)

    assert "ix_ledger_tombstone" in plan
    assert "Seq Scan" not in plan
    assert "SCAN ledger\n" not in plan
