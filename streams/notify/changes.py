"""What the topic `changes` says, and whether a target is told of it."""

from datetime import date
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct, field

from models.domain.claims import MilestoneKey
from models.domain.forecast_changes import FORECAST_CHANGED, GATE_OPENED, MILESTONE_ACHIEVED
from streams.notify.targets import Filters

#: A worker's changes have a few hundred bytes. What is larger is none of them, and is not kept.
MAX_CHANGE_BYTES: Final = 64 * 1024


class _Data(Struct, frozen=True):
    milestone: str
    previous: date | None = field(name="from", default=None)
    current: date | None = field(name="to", default=None)
    day: date | None = field(name="date", default=None)
    slip_days: int | None = None


class _Event(Struct, frozen=True):
    specversion: str
    id: str
    type: str
    subject: str
    data: _Data
    causationid: str = ""
    causationsource: str = ""


_decode_event: Final = msgspec.json.Decoder(_Event).decode


class Cause(NamedTuple):
    """The event behind a change, and the programme in which it changed something."""

    programme: str
    source: str
    id: str


class Change(NamedTuple):
    """A change: an event of `changes`."""

    id: str
    type: str
    milestone: MilestoneKey
    #: The forecasts before and after; of a change that moved none, None and the date of what happened.
    previous: date | None
    current: date | None
    slip_days: int | None
    cause: Cause
    #: The event as it came.
    event: bytes

    @property
    def is_move(self) -> bool:
        """Whether it tells of a forecast that moved."""
        return self.type == FORECAST_CHANGED

    @property
    def is_achievement(self) -> bool:
        """Whether it tells of a milestone that was achieved."""
        return self.type in {MILESTONE_ACHIEVED, GATE_OPENED}

    @property
    def moved_days(self) -> int | None:
        """By how many days the forecast moved; None where there was none before or is none after."""
        if not self.is_move or self.previous is None or self.current is None:
            return None
        return (self.current - self.previous).days


def parse_change(value: bytes | None) -> Change | None:
    """Return the change that a record holds; None when it holds none."""
    if value is None or len(value) > MAX_CHANGE_BYTES:
        return None
    try:
        event = _decode_event(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    programme, slash, project = event.subject.partition("/")
    # What becomes a header is one line of ASCII.
    if not slash or event.specversion != "1.0" or not event.id.isascii() or not event.id.isprintable() or not event.id:
        return None
    data = event.data
    return Change(
        event.id,
        event.type,
        MilestoneKey(programme, project, data.milestone),
        data.previous,
        data.current or data.day,
        data.slip_days,
        Cause(programme, event.causationsource, event.causationid),
        value,
    )


def is_wanted(change: Change, filters: Filters) -> bool:
    """Return whether filters let a change through; whether others wait for the milestone is not looked at here."""
    names: tuple[tuple[Any, frozenset[str] | None], ...] = (
        (change.milestone.programme, filters.programmes),
        (change.milestone.project, filters.projects),
        (change.milestone.milestone, filters.milestones),
        (change.type, filters.types),
    )
    if any(wanted is not None and name not in wanted for name, wanted in names):
        return False
    moved_days = change.moved_days
    return moved_days is None or abs(moved_days) >= filters.min_days


def is_surely_gate(change: Change) -> bool:
    """Return whether a change itself says that others wait for its milestone."""
    return change.type == GATE_OPENED
