"""What the API answers with: the fields of `milepost status --json` and its kind, in pages.

These classes are the schema too: `openapi.json` is made of them.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from msgspec import Struct, field

from deploy.board.pipeline import Pipeline
from deploy.status import Row
from models.events import Money
from models.schedule import State


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
