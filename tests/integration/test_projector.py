"""What drawing a programme promises, on both databases."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, select, update

from models.database import tables
from models.database.claims import MAX_CONDITIONS
from models.database.engine import read_transaction, write_transaction
from models.database.forecasts import mark_published, read_history, read_unpublished
from models.database.projector import ForecastResult, Projector, _calculate
from models.database.recorder import Recorder
from models.domain.claims import MilestoneKey
from models.domain.forecast_changes import HistoryRow
from models.domain.schedule import State
from models.errors import ConcurrentWriteError
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    EVENT_RETRACTED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    JsonEvent,
)
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine

DAY = date(2026, 3, 12)
GATE, LAUNCH = "park-commissioned", "production-launched"
NOW_MS = 1_770_000_000_000


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give a migrated database, each kind in turn."""
    with migrated_engine(database_url) as engine:
        yield engine


class Office:
    """Says things of the programme `north`, one a day, and has them recorded."""

    def __init__(self, engine: Engine) -> None:
        self.store, self._log, self._said = Recorder(engine), TopicLog(), 0
        self.store.resolve_start_offsets(TOPIC, {0: (0, 0)})

    def say(self, type_: str, project: str, *, named: str = "", programme: str = "north", **data: Any) -> str:  # noqa: ANN401 - fields of JSON
        """Record one event; return its id."""
        self._said += 1
        name = named or f"{self._said}"
        told: JsonEvent = {
            "specversion": "1.0",
            "id": name,
            "source": "//office",
            "type": type_,
            "subject": f"{programme}/{project}",
            "time": f"2026-01-01T{self._said // 60:02}:{self._said % 60:02}:00Z",
            "data": data,
        }
        if correlationid := data.pop("correlationid", None):
            told["correlationid"] = correlationid
        self.store.record(event_batch([self._log.append(told)]), fail_on_rejection)
        return name

    def plan(self, project: str, milestone: str, day: str, **more: Any) -> str:  # noqa: ANN401 - as above
        return self.say(MILESTONE_REPORTED, project, milestone=milestone, classifier="PLN", date=day, **more)

    def estimate(self, project: str, milestone: str, day: str, **more: Any) -> str:  # noqa: ANN401 - as above
        return self.say(MILESTONE_REPORTED, project, milestone=milestone, classifier="EST", date=day, **more)

    def achieve(self, project: str, milestone: str, day: str) -> str:
        return self.say(MILESTONE_REPORTED, project, milestone=milestone, classifier="ACT", date=day)

    def wait(self, project: str, *, lag_days: int = 0) -> str:
        """Declare that a project's launch waits for the park's gate."""
        after = {"project": "park", "milestone": GATE}
        return self.say(DEPENDENCY_DECLARED, project, milestone=LAUNCH, after=after, lag_days=lag_days)

    def retract(self, name: str, **more: Any) -> str:  # noqa: ANN401 - as above
        return self.say(EVENT_RETRACTED, "park", retracts=name, reason="incorrect_data", **more)


pytestmark = pytest.mark.usefixtures("office")


@pytest.fixture
def office(engine: Engine) -> Office:
    """Give an office with a park and two tenants that wait for it."""
    office = Office(engine)
    office.plan("park", GATE, "2026-06-01")
    for tenant, lag_days in (("alpha", 10), ("beta", 20)):
        office.plan(tenant, LAUNCH, "2026-07-01")
        office.wait(tenant, lag_days=lag_days)
    return office


@pytest.fixture(params=["warm", "cold"])
def projector(request: pytest.FixtureRequest, engine: Engine) -> Projector:
    """Give who draws: one that remembers what it drew, and one that never does."""
    return Projector(engine, cache_size=10_000 if request.param == "warm" else 0)


def recalculate(projector: Projector, day: date = DAY, name: str = "north") -> ForecastResult:
    [drawn] = projector.recalculate([name], day, NOW_MS)
    return drawn


def history(engine: Engine) -> list[HistoryRow]:
    """Give the whole history of the programme, in order."""
    table = tables.history
    with read_transaction(engine) as connection:
        rows = connection.execute(select(*(table.c[name] for name in HistoryRow._fields)).order_by(table.c.number))
        return [HistoryRow._make(row) for row in rows]


def moves(engine: Engine, since: int = 0) -> list[tuple[str, str | None, str | None, str]]:
    """Give what moved since: milestone, from, to and the id of the event behind it."""
    return [
        (
            f"{row.project}/{row.milestone}",
            row.previous.isoformat() if row.previous else None,
            row.current.isoformat() if row.current else None,
            row.cause_id,
        )
        for row in history(engine)
        if row.number > since
    ]


def stored(engine: Engine) -> dict[str, tuple[date | None, str, str | None, int]]:
    """Give the rows of forecasts: forecast, state, the driver's project, dependents."""
    with read_transaction(engine) as connection:
        return {
            f"{row.project}/{row.milestone}": (row.forecast, row.state, row.driver_project, row.dependents)
            for row in connection.execute(select(tables.forecasts))
        }


def test_the_first_calculation_writes_every_forecast_and_where_it_came_from(
    engine: Engine, projector: Projector
) -> None:
    drawn = recalculate(projector)

    assert drawn.has_unpublished
    assert stored(engine) == {
        "alpha/production-launched": (date(2026, 7, 1), "planned", None, 0),
        "beta/production-launched": (date(2026, 7, 1), "planned", None, 0),
        "park/park-commissioned": (date(2026, 6, 1), "planned", None, 2),
    }
    assert sorted(moves(engine)) == [
        ("alpha/production-launched", None, "2026-07-01", "2"),
        ("beta/production-launched", None, "2026-07-01", "4"),
        ("park/park-commissioned", None, "2026-06-01", "1"),
    ]


def test_one_slipped_gate_moves_all_that_waits_and_every_row_names_the_event(
    engine: Engine, office: Office, projector: Projector
) -> None:
    recalculate(projector)
    office.estimate("park", GATE, "2026-09-01", named="slip", correlationid="hearing-7")
    recalculate(projector)

    assert moves(engine, since=3) == [
        ("park/park-commissioned", "2026-06-01", "2026-09-01", "slip"),
        ("alpha/production-launched", "2026-07-01", "2026-09-11", "slip"),
        ("beta/production-launched", "2026-07-01", "2026-09-21", "slip"),
    ]
    [_, _, _, gate, alpha, _] = history(engine)
    assert (gate.driver, gate.state, gate.slip_days, gate.recorded_ms) == (None, "slipping", 92, NOW_MS)
    assert (alpha.driver, alpha.state, alpha.slip_days) == ("park/park-commissioned", "blocked", 72)
    assert (alpha.cause_source, alpha.correlationid) == ("//office", "hearing-7")
    assert stored(engine)["alpha/production-launched"] == (date(2026, 9, 11), "blocked", "park", 0)


def test_a_retraction_moves_it_back_and_is_the_cause(engine: Engine, office: Office, projector: Projector) -> None:
    office.estimate("park", GATE, "2026-09-01", named="slip")
    recalculate(projector)
    office.retract("slip", named="sorry")
    recalculate(projector)

    assert moves(engine, since=3) == [
        ("park/park-commissioned", "2026-09-01", "2026-06-01", "sorry"),
        ("alpha/production-launched", "2026-09-11", "2026-07-01", "sorry"),
        ("beta/production-launched", "2026-09-21", "2026-07-01", "sorry"),
    ]


def test_a_retraction_under_another_programmes_subject_is_the_cause_all_the_same(
    engine: Engine, office: Office, projector: Projector
) -> None:
    office.estimate("park", GATE, "2026-09-01", named="slip")
    recalculate(projector)
    office.retract("slip", named="sorry", programme="south")
    recalculate(projector)

    assert [cause for *_, cause in moves(engine, since=3)] == ["sorry"] * 3


def test_that_only_the_day_changed_is_written_and_is_no_history(engine: Engine, projector: Projector) -> None:
    recalculate(projector)
    later = date(2026, 6, 5)
    drawn = recalculate(projector, later)

    assert len(history(engine)) == 3
    assert drawn.schedule.data_date == later
    assert stored(engine)["park/park-commissioned"] == (later, "overdue", None, 2)
    assert stored(engine)["alpha/production-launched"][0] == date(2026, 7, 1)


def test_what_an_event_moved_on_a_new_day_is_distinguished_from_what_the_day_moved(
    engine: Engine, office: Office, projector: Projector
) -> None:
    recalculate(projector)
    office.plan("beta", LAUNCH, "2026-07-11", named="replan")
    recalculate(projector, date(2026, 6, 30))

    # The gate is overdue and its tenants are pushed by the day; of beta the event alone moved nothing, for it waits.
    assert moves(engine, since=3) == []
    assert stored(engine)["beta/production-launched"] == (date(2026, 7, 20), "blocked", "park", 0)

    office.plan("beta", LAUNCH, "2026-08-01", named="later")
    recalculate(projector, date(2026, 7, 2))

    assert moves(engine, since=3) == [("beta/production-launched", "2026-07-22", "2026-08-01", "later")]


def test_an_achieved_milestone_is_noted_once_with_those_that_wait_even_when_its_date_did_not_move(
    engine: Engine, office: Office, projector: Projector
) -> None:
    recalculate(projector, date(2026, 6, 1))
    office.achieve("park", GATE, "2026-01-02")
    office.achieve("alpha", LAUNCH, "2026-01-02")
    recalculate(projector, date(2026, 6, 1))

    gate = next(row for row in history(engine)[3:] if row.project == "park")
    assert (gate.state, gate.dependents, gate.current) == ("achieved", 1, date(2026, 1, 2))

    office.say(MILESTONE_REPORTED, "park", milestone=GATE, classifier="ACT", date="2026-01-01", named="corrected")
    recalculate(projector, date(2026, 6, 1))

    [corrected] = [row for row in history(engine) if row.cause_id == "corrected"]
    assert (corrected.previous, corrected.current, corrected.dependents) == (date(2026, 1, 2), date(2026, 1, 1), None)


def test_cancelled_gates_and_withdrawn_projects_let_go_of_what_waited(
    engine: Engine, office: Office, projector: Projector
) -> None:
    office.estimate("park", GATE, "2026-09-01")
    recalculate(projector)
    office.say(MILESTONE_CANCELLED, "park", milestone=GATE, named="no-park")
    recalculate(projector)

    assert moves(engine, since=3) == [
        ("park/park-commissioned", "2026-09-01", None, "no-park"),
        ("alpha/production-launched", "2026-09-11", "2026-07-01", "no-park"),
        ("beta/production-launched", "2026-09-21", "2026-07-01", "no-park"),
    ]
    assert history(engine)[3][8:12] == (None, "cancelled", None, None)
    office.estimate("park", GATE, "2026-10-01", named="after-all")
    recalculate(projector)
    assert [cause for *_, cause in moves(engine, since=6)] == ["after-all"] * 3

    office.say(PROJECT_WITHDRAWN, "park", named="gone")
    recalculate(projector)
    assert [(what, cause) for what, *_, cause in moves(engine, since=9)] == [
        ("park/park-commissioned", "gone"),
        ("alpha/production-launched", "gone"),
        ("beta/production-launched", "gone"),
    ]


def test_several_events_in_one_calculation_are_distinguished(
    engine: Engine, office: Office, projector: Projector
) -> None:
    recalculate(projector)
    office.estimate("park", GATE, "2026-06-30", named="slip")
    office.plan("alpha", LAUNCH, "2026-12-01", named="own")
    office.wait("gamma", lag_days=5)
    recalculate(projector)

    assert sorted(moves(engine, since=3)) == [
        ("alpha/production-launched", "2026-07-01", "2026-12-01", "own"),
        ("beta/production-launched", "2026-07-01", "2026-07-20", "slip"),
        ("gamma/production-launched", None, "2026-07-05", "8"),
        ("park/park-commissioned", "2026-06-01", "2026-06-30", "slip"),
    ]


def test_a_milestone_that_nobody_names_any_more_is_gone(engine: Engine, office: Office, projector: Projector) -> None:
    office.plan("delta", "site-leased", "2026-05-05", named="wrong")
    recalculate(projector)
    office.retract("wrong", named="sorry")
    drawn = recalculate(projector)

    assert "delta/site-leased" not in stored(engine)
    assert moves(engine, since=4) == [("delta/site-leased", "2026-05-05", None, "sorry")]
    assert history(engine)[-1].state == State.UNKNOWN
    assert MilestoneKey("north", "delta", "site-leased") not in drawn.facts.milestones


def test_only_rows_that_differ_are_written(engine: Engine, office: Office, projector: Projector) -> None:
    recalculate(projector)
    written: list[int] = []

    def count(*about: Any) -> None:  # noqa: ANN401 - SQLAlchemy's six arguments
        _, cursor, statement, *_ = about
        if statement.startswith("INSERT INTO forecasts"):
            written.append(cursor.rowcount)

    event.listen(engine, "after_cursor_execute", count)
    recalculate(projector)
    assert written == []
    office.plan("beta", LAUNCH, "2026-07-02")
    recalculate(projector)
    assert sum(written) == 1


def test_programmes_are_calculated_together_and_those_nobody_named_are_left_out(engine: Engine, office: Office) -> None:
    office.plan("quay", GATE, "2026-08-01", programme="south")
    projector = Projector(engine)

    assert [
        drawn.programme for drawn in projector.recalculate(["south", "north", "nowhere", "north"], DAY, NOW_MS)
    ] == [
        "north",
        "south",
    ]
    assert projector.recalculate([], DAY, NOW_MS) == []


def test_of_very_many_programmes_each_is_calculated_as_if_alone_and_no_query_grows_with_them(
    engine: Engine, office: Office
) -> None:
    names, warm, queries = [f"p{number}" for number in range(3 * MAX_CONDITIONS)], Projector(engine), list[str]()

    def plan(day: str, programmes: Sequence[str]) -> None:
        for name in programmes:
            office.say(MILESTONE_REPORTED, "site", programme=name, milestone=GATE, classifier="PLN", date=day)

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        queries.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    plan("2026-05-01", names)
    warm.recalculate(names, DAY, NOW_MS)
    plan("2026-06-01", names[1:])
    plan("2026-07-01", new := ["q1", "q2"])
    results = {result.programme: result for result in warm.recalculate([*names, *new], DAY, NOW_MS)}
    event.remove(engine, "before_cursor_execute", note)

    assert {name: row.current for name, row in ((row.programme, row) for row in history(engine))} == {
        names[0]: date(2026, 5, 1),
        **dict.fromkeys(names[1:], date(2026, 6, 1)),
        **dict.fromkeys(new, date(2026, 7, 1)),
    }
    for name in (*names, *new):
        [alone] = Projector(engine).recalculate([name], DAY, NOW_MS)
        assert (results[name].facts, results[name].schedule.statuses) == (alone.facts, alone.schedule.statuses)
    assert 1 < max(statement.count("revision >") for statement in queries) <= 3 * MAX_CONDITIONS  # of three tables


def test_of_two_that_calculate_the_same_the_slower_writes_nothing_and_begins_again(
    engine: Engine, office: Office
) -> None:
    slow, fast = Projector(engine), Projector(engine)
    recalculate(slow)
    office.estimate("park", GATE, "2026-09-01", named="slip")
    with read_transaction(engine) as connection:
        passes = slow._load(connection, ["north"])
    recalculate(fast)
    done = [_calculate(one, DAY) for one in passes]
    with pytest.raises(ConcurrentWriteError, match="north"):
        slow._write_results(done, DAY, NOW_MS)

    assert len(history(engine)) == 6
    recalculate(slow)
    assert len(history(engine)) == 6


def test_a_worker_that_lost_the_race_finds_what_the_other_did(engine: Engine, office: Office) -> None:
    one, other = Projector(engine), Projector(engine)
    recalculate(one)
    for day in ("2026-09-01", "2026-10-01", "2026-08-01"):
        office.estimate("park", GATE, day)
        recalculate(other)
        drawn = recalculate(one)
        assert drawn.schedule.statuses == recalculate(Projector(engine)).schedule.statuses

    assert [becomes for what, _, becomes, _ in moves(engine) if what.startswith("park")] == [
        "2026-06-01",
        "2026-09-01",
        "2026-10-01",
        "2026-08-01",
    ]


def test_programmes_recreated_under_a_calculation_that_is_ahead_are_calculated_all_the_same(
    engine: Engine, office: Office, projector: Projector
) -> None:
    for day in ("2026-09-01", "2026-10-01"):
        office.estimate("park", GATE, day)
    recalculate(projector)
    with write_transaction(engine) as connection:
        for table in (tables.ledger, tables.milestones, tables.dependencies, tables.projects, tables.programmes):
            connection.execute(delete(table))
    office.plan("park", GATE, "2026-05-01")
    recalculate(projector)

    assert stored(engine) == {"park/park-commissioned": (date(2026, 5, 1), "planned", None, 0)}


def untold(engine: Engine, most: int) -> list[HistoryRow]:
    with read_transaction(engine) as connection:
        return read_unpublished(connection, ["north", "south"], most)


def published(engine: Engine, numbers: dict[str, int]) -> None:
    with write_transaction(engine) as connection:
        mark_published(connection, numbers)


def test_what_was_not_published_is_read_in_order_until_it_is(engine: Engine, office: Office) -> None:
    projector = Projector(engine)
    office.plan("quay", GATE, "2026-08-01", programme="south")
    for drawn in projector.recalculate(["north", "south"], DAY, NOW_MS):
        assert drawn.has_unpublished
    first = untold(engine, 2)
    assert [(row.programme, row.number) for row in first] == [("north", 1), ("north", 2)]
    published(engine, {"north": 2})
    rest = untold(engine, 10)
    assert [(row.programme, row.number) for row in rest] == [("north", 3), ("south", 1)]
    published(engine, {"north": 3, "south": 1})
    # Told late by somebody else, it is not told again.
    published(engine, {"north": 1})
    assert untold(engine, 10) == []
    assert not any(drawn.has_unpublished for drawn in projector.recalculate(["north", "south"], DAY, NOW_MS))


def test_the_history_of_one_milestone_is_its_own(engine: Engine, office: Office) -> None:
    projector = Projector(engine)
    recalculate(projector)
    office.estimate("park", GATE, "2026-09-01")
    recalculate(projector)

    with read_transaction(engine) as connection:
        mine = read_history(connection, MilestoneKey("north", "alpha", LAUNCH))
    assert [(row.previous, row.current) for row in mine] == [
        (None, date(2026, 7, 1)),
        (date(2026, 7, 1), date(2026, 9, 11)),
    ]


def test_what_is_calculated_longest_ago_is_forgotten_first(engine: Engine, office: Office) -> None:
    office.plan("quay", GATE, "2026-08-01", programme="south")
    projector = Projector(engine, cache_size=8)
    projector.recalculate(["north"], DAY, NOW_MS)
    assert list(projector._cache) == ["north"]
    projector.recalculate(["south"], DAY, NOW_MS)
    assert list(projector._cache) == ["south"]
    projector.retain(lambda name: name == "north")
    assert list(projector._cache) == []


def test_the_cache_counts_projects_and_programmes_that_have_no_milestones(engine: Engine, office: Office) -> None:
    for programme in ("one", "two"):
        for number in range(4):
            office.say(PROJECT_REGISTERED, f"project-{number}", programme=programme, name="A")
    projector = Projector(engine, cache_size=10)

    [one, two] = projector.recalculate(["one", "two"], DAY, NOW_MS)

    assert one.size == two.size == 6
    assert list(projector._cache) == ["two"]


def test_a_calculation_that_fails_is_not_remembered(engine: Engine, office: Office) -> None:
    projector = Projector(engine)
    recalculate(projector)
    with write_transaction(engine) as connection:
        connection.execute(update(tables.checkpoints).values(data_date=DAY - timedelta(days=1)))
    office.estimate("park", GATE, "2026-09-01")
    # What the database holds is not what is remembered: it is read again, whole.
    assert recalculate(projector).schedule.statuses == recalculate(Projector(engine)).schedule.statuses
