"""What the API answers with: the fields of `milepost status --json` and its kind, in pages.

These classes are the schema too: `openapi.json` is made of them.
"""
# What was read, as the API tells it.

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from msgspec import Struct, field

from models.database.queries import Report, Surveyed
from models.domain.dead_letters import DeadLetter
from models.domain.events import Money
from models.domain.impact import HoldUp, Stand, Waiter
from models.domain.schedule import Standing, State
from models.domain.timestamps import instant_at
from models.views.status import Row
from streams.web.pipeline_status import Pipeline
from streams.web.read_model import Overview, Seen


class Held(Struct, frozen=True):
    """A milestone whose date a gate sets."""

    project: str
    milestone: str
    baseline: date | None
    forecast: date | None
    slip_days: int | None
    state: State


class HoldUpAnswer(Struct, frozen=True):
    """A gate at the root of what is late."""

    gate: Held
    #: How many it holds up, directly or through others, and how many of them are late.
    held_count: int
    late_count: int
    #: The first of them, those that slipped most at the head.
    held: Sequence[Held]


class ProgrammeSummary(Struct, frozen=True):
    """A programme from afar, as it was drawn last."""

    programme: str
    name: str | None
    revision: int
    data_date: date
    #: Milestones by state.
    states: Mapping[State, int]
    hold_ups: Sequence[HoldUpAnswer]


class Programmes(Struct, frozen=True):
    """A page of programmes, those with the most that is late first."""

    total: int
    #: Where the next page is; none behind the last.
    next: str | None
    programmes: Sequence[ProgrammeSummary]


class SetAside(Struct, frozen=True):
    """A dependency that would close a cycle."""

    project: str
    milestone: str
    after_project: str
    after_milestone: str


class ProgrammeAnswer(Struct, frozen=True):
    """A programme, as its events say it stands today."""

    programme: str
    name: str | None
    revision: int
    data_date: date
    investment: Money | None
    jobs: int | None
    states: Mapping[State, int]
    hold_ups: Sequence[HoldUpAnswer]
    set_aside: Sequence[SetAside]


class Milestones(Struct, frozen=True):
    """A page of a programme's milestones, by project and in the catalogue's order."""

    programme: str
    revision: int
    data_date: date
    total: int
    next: str | None
    milestones: Sequence[Row]


class WaiterAnswer(Struct, frozen=True):
    """A milestone that waits for a gate."""

    milestone: Row
    #: The one it waits for on the way from the gate, and how long after that it comes at least.
    after: str
    lag_days: int
    #: By how many days the gate may come later before this moves; none when it never would.
    slack_days: int | None


class Waiting(Struct, frozen=True):
    """A gate, and a page of who waits for it: those who would move first at the head."""

    programme: str
    revision: int
    data_date: date
    gate: Row
    total: int
    next: str | None
    waiting: Sequence[WaiterAnswer]


class Cause(Struct, frozen=True):
    """The event behind something, and when it was said; none when the ledger does not hold it."""

    source: str
    id: str
    time: str | None


class Move(Struct, frozen=True):
    """A forecast that an event moved, or a milestone that it achieved."""

    number: int
    project: str
    milestone: str
    revision: int
    noted: str
    was: date | None = field(name="from")
    becomes: date | None = field(name="to")
    slip_days: int | None
    state: State
    driver: str | None
    cause: Cause


class Moves(Struct, frozen=True):
    """A page of moves, the newest first."""

    programme: str
    next: str | None
    moves: Sequence[Move]


class EventAnswer(Struct, frozen=True):
    """A claim that counts, and as what."""

    role: str
    type: str | None
    source: str
    id: str
    time: str
    date: str | None
    lag_days: int | None
    reason: str | None
    remark: str | None
    party: str | None


class LeftOutAnswer(Struct, frozen=True):
    """A predecessor that has no say."""

    project: str
    milestone: str
    why: str


class LinkAnswer(Struct, frozen=True):
    """One milestone of a chain of drivers."""

    project: str
    milestone: str
    forecast: date | None
    state: State
    own_date: date | None
    own_classifier: str | None
    set_by: str
    lag_days: int | None
    events: Sequence[EventAnswer]
    left_out: Sequence[LeftOutAnswer]


class ExplanationAnswer(Struct, frozen=True):
    """Why a forecast is what it is, as `milepost explain --json` has it."""

    programme: str
    project: str
    milestone: str
    data_date: date
    forecast: date | None
    state: State
    slip_days: int | None
    float_days: int | None
    driver: str | None
    chain: Sequence[LinkAnswer]


class Letter(Struct, frozen=True):
    """A dead letter; `milepost dead-letters show KEY` has all of it."""

    key: str
    reason: str
    detail: str
    topic: str
    partition: int | None
    offset: int | None
    source: str | None


class PipelineAnswer(Struct, frozen=True):
    """How reading, recording and drawing go in this worker, and the newest of the rejected."""

    pipeline: Pipeline
    letters: Sequence[Letter]
    #: Why the letters cannot be told; none when they can.
    letters_unknown: str | None


class Notice(Struct, frozen=True):
    """What the stream sends when a programme is drawn anew."""

    programme: str
    revision: int
    data_date: date


class Turn(Struct, frozen=True):
    """What the stream of all programmes sends when any is drawn anew: a name of what they are drawn of together."""

    turn: str


class Problem(Struct, frozen=True):
    """Why there is no answer, in one sentence."""

    error: str


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
