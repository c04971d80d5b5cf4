"""What is read of many programmes: in sets, so that the number of statements does not grow with the programmes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from models.database import event_history, queries
from models.database.consistency import read_tables
from models.database.engine import read_transaction
from models.database.projector import Projector
from models.database.recorder import Recorder
from models.domain.claims import Facts
from models.views import status as status_view
from models.views.picture import PictureQuery
from models.views.queries import MilestoneQuery, parse_as_of
from models.views.report import Report, parse_span, read_report
from models.views.status import read_status
from streams.web import overview as overview_view
from streams.web.overview import load_overview, read_overview
from tests.helpers.events import date_report, project_registration, retraction_event
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine

DAY = date(2026, 3, 8)
SPAN = parse_span("2026-03-02", "2026-03-08", DAY)
NOW = 1_773_000_000.0
MANY = 60


def _events_of(name: str) -> list[JsonEvent]:
    """Return events of a programme: names, two milestones, and a retraction under another programme."""
    events = [
        project_registration(f"{name}-site", "site", name=f"The site of {name}", time="2026-03-01T09:00:00Z"),
        date_report(f"{name}-plan", "site/opened", "PLN", "2026-03-05", time="2026-03-01T09:00:00Z", name="Doors open"),
        date_report(f"{name}-move", "site/opened", "EST", "2026-03-25", time="2026-03-04T09:00:00Z"),
        date_report(f"{name}-wrong", "site/leased", "PLN", "2026-09-01", time="2026-03-03T09:00:00Z"),
    ]
    undo = retraction_event(f"{name}-undo", "site", f"{name}-wrong", time="2026-03-05T09:00:00Z")
    return [*({**each, "subject": f"{name}/site"} for each in events), {**undo, "subject": "elsewhere/site"}]


def _record(engine: Engine, log: TopicLog, names: list[str]) -> None:
    recorder, projector = Recorder(engine), Projector(engine)
    records = [log.append(each) for name in names for each in _events_of(name)]
    recorded = recorder.record(event_batch(records), fail_on_rejection)
    projector.recalculate([change.programme for change in recorded.programme_changes], DAY, round(NOW * 1000))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    with migrated_engine(database_url) as engine:
        Recorder(engine).resolve_start_offsets(TOPIC, {0: (0, 0)})
        yield engine


@contextmanager
def _counted(engine: Engine) -> Iterator[list[str]]:
    """Give the statements that are executed in the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _read_report(engine: Engine, names: list[str] | None = None) -> Report:
    with read_transaction(engine) as connection:
        return read_report(connection, names, SPAN, DAY, NOW)


def _in_transaction(query: Callable[[Connection], object]) -> Callable[[Engine], object]:
    def read(engine: Engine) -> object:
        with read_transaction(engine) as connection:
            return query(connection)

    return read


READERS: dict[str, Callable[[Engine], object]] = {
    "status": lambda engine: read_status(engine, MilestoneQuery(DAY)),
    "status as of a time": lambda engine: read_status(
        engine, MilestoneQuery(DAY, as_of=parse_as_of("2026-03-04T12:00:00Z"))
    ),
    "report": _read_report,
    "overview": _in_transaction(
        lambda connection: read_overview(connection, queries.list_programmes(connection), DAY, 0, 200)
    ),
    "overview of another day": _in_transaction(
        lambda connection: load_overview(connection, PictureQuery(date(2026, 4, 1)), date(2026, 4, 1), 0, 200)
    ),
    "comparison of all that is stored": _in_transaction(read_tables),
    "recalculation after a start": lambda engine: Projector(engine).recalculate(
        ["elsewhere", *(f"p{number}" for number in range(MANY))], DAY, round(NOW * 1000)
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_the_number_of_statements_does_not_grow_with_the_programmes(engine: Engine, reader: str) -> None:
    log = TopicLog()
    _record(engine, log, [f"p{number}" for number in range(3)])
    with _counted(engine) as few:
        READERS[reader](engine)
    _record(engine, log, [f"p{number}" for number in range(3, MANY)])
    with _counted(engine) as many:
        READERS[reader](engine)
    assert len(many) == len(few), "\n".join(many)


class _CountedItems(dict[Any, Any]):
    """A dictionary that counts how often somebody goes through it."""

    walks = 0

    def items(self) -> Any:  # noqa: ANN401 - a class of Python without a name
        self.walks += 1
        return super().items()


@pytest.mark.parametrize(
    ("module", "loader", "reader"),
    [(status_view, "load_facts_for", "status"), (overview_view, "load_picture_facts", "overview of another day")],
)
def test_the_facts_are_gone_through_as_often_for_many_programmes_as_for_few(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, module: ModuleType, loader: str, reader: str
) -> None:
    load, log, counted = getattr(module, loader), TopicLog(), list[_CountedItems]()

    def load_counted(*arguments: object) -> Facts:
        facts: Facts = load(*arguments)
        projects, milestones = _CountedItems(facts.projects), _CountedItems(facts.milestones)
        counted.extend((projects, milestones))
        return replace(facts, projects=projects, milestones=milestones)

    monkeypatch.setattr(module, loader, load_counted)
    for first, last in ((0, 3), (3, MANY)):
        _record(engine, log, [f"p{number}" for number in range(first, last)])
        READERS[reader](engine)
    projects_of_few, milestones_of_few, projects, milestones = (each.walks for each in counted)
    assert (projects, milestones) == (projects_of_few, milestones_of_few)


@pytest.mark.parametrize("events_at_once", [1, 7, 5_000])
def test_the_report_of_all_programmes_is_that_of_each(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, events_at_once: int
) -> None:
    monkeypatch.setattr(event_history, "_EVENTS_AT_ONCE", events_at_once)
    names = [f"p{number}" for number in range(20)]
    _record(engine, TopicLog(), names)
    found = _read_report(engine)
    assert [report.programme for report in found.programmes] == names
    for report in found.programmes:
        assert [report] == _read_report(engine, [report.programme]).programmes
        assert [retraction.event.id for retraction in report.retracted] == [f"{report.programme}-undo"]


def test_each_programme_has_its_own_names_in_the_status_of_all(engine: Engine) -> None:
    _record(engine, TopicLog(), names := [f"p{number}" for number in range(5)])
    found = read_status(engine, MilestoneQuery(DAY))
    for name in names:
        assert found.names_of(name) == read_status(engine, MilestoneQuery(DAY, name)).names_of(name)
        assert found.names_of(name).projects == {"site": f"The site of {name}"}


def test_a_batch_of_many_new_programmes_increments_their_revisions_in_one_statement(engine: Engine) -> None:
    recorder, log, names = Recorder(engine), TopicLog(), [f"p{number:04}" for number in range(3000)]
    plan = date_report("", "site/opened", "PLN", "2026-03-05")
    for revision in (1, 2):
        records = [log.append({**plan, "id": f"{name}-{revision}", "subject": f"{name}/site"}) for name in names]
        with _counted(engine) as statements:
            recorded = recorder.record(event_batch(records), fail_on_rejection)
        assert sum(statement.startswith("INSERT INTO programmes") for statement in statements) == 1
        assert [change[:2] for change in recorded.programme_changes] == [(name, revision) for name in names]
        assert recorder.read_revisions() == dict.fromkeys(names, revision)
