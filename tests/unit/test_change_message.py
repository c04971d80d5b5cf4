"""What people read of an event: the gate first, what it holds up, why, and what moved with it."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import Engine

from models.configured_engine import open_configured_engine
from models.database.engine import read_transaction
from models.database.ledger import EventKey
from models.domain.claims import MilestoneKey
from models.settings import Settings
from models.views.change_message import MAX_LINES, Message, MilestoneChange, compose_message, read_picture
from tests.helpers.events import date_report, dependency_declaration, event_database, project_registration
from tests.helpers.oracle import JsonEvent

DAY = date(2026, 3, 12)
PLANNED, SLIPPED = date(2026, 5, 1), date(2026, 6, 12)
TENANTS = 25


def opening() -> Iterator[JsonEvent]:
    yield project_registration("park", "park", name="Industrial park")
    yield date_report("gate", "park/park-commissioned", "PLN", str(PLANNED), name="Opening of the park")
    for number in range(TENANTS):
        money = {"amount": 10e6, "currency": "USD"}
        tenant = project_registration(f"t-{number}", f"tenant-{number}", name=f"Tenant {number}")
        tenant["data"] |= {"investment": money, "jobs": 100}
        yield tenant
        launch = f"tenant-{number}/production-launched"
        yield date_report(f"l-{number}", launch, "PLN", str(PLANNED + timedelta(days=10)))
        yield dependency_declaration(f"d-{number}", launch, "park/park-commissioned", 10)


SLIP = date_report(
    "slip",
    "park/park-commissioned",
    "EST",
    str(SLIPPED),
    time="2026-03-01T12:00:00Z",
    reason="contractor-delay",
    remark="The winter was\nlong.",
)


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    with event_database(sqlite_url) as database:
        database.record_and_recalculate([*opening(), SLIP], DAY)
    with open_configured_engine(Settings(database=sqlite_url)) as engine:
        yield engine


def key(name: str) -> MilestoneKey:
    return MilestoneKey("north", *name.split("/"))


def moved(name: str, days_after: int = 0) -> MilestoneChange:
    later = timedelta(days=days_after)
    return MilestoneChange(key(name), PLANNED + later, SLIPPED + later, is_achieved=False)


def message(engine: Engine, *changes: MilestoneChange, cause: str | None = "slip", events: int = 1) -> Message:
    with read_transaction(engine) as connection:
        picture = read_picture(connection, "north", DAY, None if cause is None else EventKey("office", cause))
    return compose_message(changes, {"north": picture}, events)


def test_a_slip_is_told_with_the_gate_first_and_what_it_holds_up_and_why(engine: Engine) -> None:
    tenants = [moved(f"tenant-{number}/production-launched", 10) for number in range(2)]
    told = message(engine, tenants[1], tenants[0], moved("park/park-commissioned"))
    assert told.title == "Industrial park: Opening of the park 42 days later"
    assert told.lines == [
        "Industrial park: Opening of the park is expected on 12 Jun 2026, 42 days later than before (1 May 2026).",
        "It holds up 25 milestones of 25 other projects, and with them USD 250 million and 2,500 jobs.",
        "Why: contractor delay: The winter was long, says office.",
        "With it move:",
        "- Tenant 0: Production launched 22 Jun 2026, 42 days later",
        "- Tenant 1: Production launched 22 Jun 2026, 42 days later",
    ]
    assert told.programme == "Programme: north"
    assert told.rest == ""
    assert (told.about, told.is_about_gate) == (key("park/park-commissioned"), True)


def test_what_is_too_much_is_counted(engine: Engine) -> None:
    tenants = [moved(f"tenant-{number}/production-launched", 10) for number in range(TENANTS)]
    told = message(engine, moved("park/park-commissioned"), *tenants)
    named = sum(line.startswith("- ") for line in told.lines)
    assert told.rest == f"and {TENANTS - named} other milestones"
    assert len(told.lines) + 3 <= MAX_LINES


def test_several_events_are_one_summary_that_names_the_most_important(engine: Engine) -> None:
    tenants = [moved(f"tenant-{number}/production-launched", 10) for number in range(3)]
    told = message(engine, *tenants, moved("park/park-commissioned"), cause=None, events=30)
    assert told.title == "30 events changed 4 milestones"
    assert "Opening of the park" in told.lines[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            MilestoneChange(key("park/x"), None, SLIPPED, is_achieved=False),
            "Industrial park: x is expected on 12 Jun",
        ),
        (
            MilestoneChange(key("park/x"), PLANNED, None, is_achieved=False),
            "has no date any more. It was expected on",
        ),
        (MilestoneChange(key("park/x"), PLANNED, PLANNED, is_achieved=True), "was achieved on 1 May 2026."),
        (MilestoneChange(key("park/x"), SLIPPED, PLANNED, is_achieved=False), "42 days earlier than before"),
        (
            MilestoneChange(key("gone/x-y"), PLANNED, PLANNED + timedelta(1), is_achieved=False),
            "gone: x-y is",
        ),
    ],
)
def test_each_kind_of_change_has_a_sentence(change: MilestoneChange, words: str, engine: Engine) -> None:
    assert words in message(engine, change).lines[0]


def test_a_message_about_an_event_that_is_not_there_has_no_reason(engine: Engine) -> None:
    assert not any(line.startswith("Why") for line in message(engine, moved("park/park-commissioned"), cause="x").lines)
