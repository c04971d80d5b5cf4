"""What was read, as the API tells it."""

from collections.abc import Iterable
from typing import Any, Final

from consumers.dead_letters import DeadLetter
from deploy.board.answers import (
    Cause,
    Held,
    HoldUpAnswer,
    Letter,
    Move,
    ProgrammeAnswer,
    Programmes,
    ProgrammeSummary,
    SetAside,
    WaiterAnswer,
)
from deploy.board.sights import Overview, Seen
from deploy.status import Row
from models.holdups import HoldUp, Stand
from models.instants import instant_at
from models.schedule import Standing, State
from models.survey import Surveyed
from models.trend import Report
from models.waiting import Waiter

#: Of one programme, how many hold-ups are told, and of each of them how many that it holds up; counts say how many
#: there are.
MOST_HELD: Final = 50


def row_of(standing: Standing, revision: int) -> Row:
    """Return a standing as `milepost status --json` has it."""
    own: dict[str, Any] = {
        name: getattr(standing, name) for name in Row.__struct_fields__ if name not in {"driver", "revision"}
    }
    return Row(**own, driver=None if standing.driver is None else str(standing.driver), revision=revision)


def states_of(standings: Iterable[Standing]) -> dict[State, int]:
    """Return how many there are of each state, in the states' order."""
    found = dict.fromkeys(State, 0)
    for standing in standings:
        found[standing.state] += 1
    return {state: number for state, number in found.items() if number}


def hold_up_of(one: HoldUp) -> HoldUpAnswer:
    """Return a hold-up, bounded."""
    return HoldUpAnswer(_held(one.gate), len(one.held), one.late, [_held(stand) for stand in one.held[:MOST_HELD]])


def _held(stand: Stand) -> Held:
    return Held(*stand.name, stand.baseline, stand.forecast, stand.slip_days, stand.state)


def programmes_of(overview: Overview, following: str | None) -> Programmes:
    """Return a page of programmes."""
    return Programmes(overview.total, following, [_summary(one, overview) for one in overview.surveyed])


def _summary(one: Surveyed, overview: Overview) -> ProgrammeSummary:
    name = one.programme
    found = [hold_up_of(each) for each in overview.hold_ups[name][:MOST_HELD]]
    return ProgrammeSummary(name, overview.titles.get(name), one.drawn.revision, one.drawn.day, one.counts, found)


def programme_of(seen: Seen) -> ProgrammeAnswer:
    """Return a programme."""
    known = seen.facts.programmes.get(seen.programme)
    name, investment, jobs = (
        None if known is None or (register := getattr(known, field_name)) is None else register.value
        for field_name in ("name", "investment", "jobs")
    )
    return ProgrammeAnswer(
        seen.programme,
        name,
        seen.revision,
        seen.shown.day,
        investment,
        jobs,
        states_of(seen.standings),
        [hold_up_of(one) for one in seen.hold_ups[:MOST_HELD]],
        [SetAside(*key[1:]) for key in seen.shown.set_aside[:MOST_HELD]],
    )


def waiter_of(one: Waiter, revision: int) -> WaiterAnswer:
    """Return who waits."""
    return WaiterAnswer(row_of(one.standing, revision), str(one.after), one.lag_days, one.slack_days)


def move_of(report: Report) -> Move:
    """Return a row of the history."""
    noted = report.noted
    return Move(
        number=noted.number,
        project=noted.project,
        milestone=noted.milestone,
        revision=noted.revision,
        noted=f"{instant_at(noted.noted_ms)}Z",
        was=noted.was,
        becomes=noted.becomes,
        slip_days=noted.slip_days,
        state=State(noted.state),
        driver=noted.driver,
        cause=Cause(noted.cause_source, noted.cause_id, None if report.said is None else f"{report.said}Z"),
    )


def letter_of(letter: DeadLetter) -> Letter:
    """Return a dead letter without what it carries; a key that is no text is spelled out."""
    key = letter.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return Letter(key, letter.reason, letter.detail, letter.topic, letter.partition, letter.offset, letter.source)


def following_page(path: str, offset: int, limit: int, total: int) -> str | None:
    """Return the address of the next page; none behind the last."""
    return f"{path}?offset={offset + limit}&limit={limit}" if offset + limit < total else None
