"""What an event changed, in words for people: the gate first, with what it holds up, and why.

Plain text. Who sends it makes harmless what other parties wrote: names, reasons and remarks.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection

from models.database.claims import load_facts
from models.database.ledger import EventKey, read_events
from models.domain.claims import Facts, MilestoneKey
from models.domain.events import Event, EventRetracted
from models.domain.impact import NO_IMPACT, Impact, measure_impacts
from models.domain.row_order import natural_sort_key
from models.domain.schedule import MilestoneRef, MilestoneStatus, State, compute_schedule
from models.text import one_line
from models.views.explanation import data_field
from models.views.formatting import enumerate_phrases, format_count, format_day, held_up_phrases
from models.views.names import Names, names_of, project_name, shortened

#: Lines of a message, the count of what is left out and the link included.
MAX_LINES: Final = 20
_MAX_REMARK_LENGTH: Final = 200
_FAR: Final = 1 << 30


class MilestoneChange(NamedTuple):
    """What happened to one milestone, of several steps the whole."""

    key: MilestoneKey
    previous: date | None
    current: date | None
    is_achieved: bool


class Message(NamedTuple):
    """A message: each line is a text without a line break."""

    title: str
    lines: Sequence[str]
    #: What the lines leave out; empty when nothing.
    rest: str
    #: Of which programme it is.
    programme: str
    #: The milestone to look at; None where several programmes changed.
    about: MilestoneKey | None
    is_about_gate: bool


class _Row(NamedTuple):
    change: MilestoneChange
    status: MilestoneStatus | None
    impact: Impact
    name: str


class ProgrammePicture(NamedTuple):
    """How a programme stands, and the event behind a message."""

    facts: Facts
    statuses: Mapping[MilestoneKey, MilestoneStatus]
    impacts: Mapping[MilestoneKey, Impact]
    names: Names
    cause: Event | None


def read_picture(connection: Connection, programme: str, data_date: date, cause: EventKey | None) -> ProgrammePicture:
    """Read how a programme stands on a day, and an event."""
    facts = load_facts(connection, [programme])
    statuses = compute_schedule(facts, data_date).statuses
    events = {} if cause is None else read_events(connection, [cause])
    return ProgrammePicture(
        facts,
        {status.key: status for status in statuses},
        measure_impacts(statuses, facts.projects),
        names_of(facts, programme),
        None if cause is None else events.get(cause),
    )


def compose_message(
    changes: Sequence[MilestoneChange], pictures: Mapping[str, ProgrammePicture], event_count: int
) -> Message:
    """Return the message about what one event changed, or the summary of several. There is at least one change."""
    rows = sorted((_row(change, pictures[change.key.programme]) for change in changes), key=_most_important_first)
    first = rows[0]
    programmes = sorted({row.change.key.programme for row in rows})
    programme = enumerate_phrases([_programme_name(name, pictures[name]) for name in programmes[:3]])
    if len(programmes) > 3:  # noqa: PLR2004 - as many as are named
        programme = f"{format_count(len(programmes), 'programme')}"
    others = rows[1:]
    if event_count == 1:
        title = f"{first.name} {_title_words(first)}"
        lines = [f"{first.name} {_sentence(first)}", *_held_up(first), *_why(pictures[programmes[0]].cause)]
        heading = f"With it {'moves' if len(others) == 1 else 'move'}:"
    else:
        title = f"{format_count(event_count, 'event')} changed {format_count(len(rows), 'milestone')}"
        lines, others = ["Too many for a message each. The most important:"], rows
        heading = ""
    # One line for each of what follows: the heading, the count, the programme, the link.
    room = MAX_LINES - len(lines) - 4
    if others:
        lines += [heading] * bool(heading) + [f"- {row.name} {_row_words(row)}" for row in others[:room]]
    left_out = len(others) - room
    return Message(
        one_line(title, 200),
        lines,
        f"and {format_count(left_out, 'other milestone')}" if left_out > 0 else "",
        f"Programme: {programme}",
        first.change.key if len(programmes) == 1 else None,
        first.status is not None and first.status.dependents > 0,
    )


def _row(change: MilestoneChange, picture: ProgrammePicture) -> _Row:
    status = picture.statuses.get(change.key)
    impact = picture.impacts.get(change.key, NO_IMPACT)
    label = picture.names.label(MilestoneRef(*change.key[1:]))
    return _Row(change, status, impact, f"{shortened(label.project)}: {shortened(label.milestone)}")


def _most_important_first(row: _Row) -> tuple[object, ...]:
    """Order rows: what moves most others, then what most wait for, then the farthest move."""
    days = _moved_days(row.change)
    dependents = 0 if row.status is None else row.status.dependents
    distance = _FAR if days is None else abs(days)
    return -row.impact.moved, -dependents, -distance, [natural_sort_key(name) for name in row.change.key]


def _moved_days(change: MilestoneChange) -> int | None:
    if change.previous is None or change.current is None:
        return None
    return (change.current - change.previous).days


def _title_words(row: _Row) -> str:
    change, days = row.change, _moved_days(row.change)
    if change.is_achieved:
        return "is achieved"
    if change.current is None:
        return (
            "is cancelled" if row.status is not None and row.status.state is State.CANCELLED else "has no date any more"
        )
    return f"is expected on {format_day(change.current)}" if days is None else _later(days)


def _sentence(row: _Row) -> str:
    change, status, days = row.change, row.status, _moved_days(row.change)
    slip = None if status is None else status.slip_days
    if change.is_achieved and change.current is not None:
        beside = "" if slip is None else ", as first planned" if slip == 0 else f", {_later(slip)} than first planned"
        return f"was achieved on {format_day(change.current)}{beside}."
    if change.current is None:
        before = "" if change.previous is None else f" It was expected on {format_day(change.previous)}."
        return f"{_title_words(row)}.{before}"
    late = f" That is {format_count(slip, 'day')} after its first plan." if slip and slip > 0 and slip != days else ""
    expected = f"is expected on {format_day(change.current)}"
    if days is None or change.previous is None:
        return f"{expected}.{late}"
    return f"{expected}, {_later(days)} than before ({format_day(change.previous)}).{late}"


def _row_words(row: _Row) -> str:
    change, days = row.change, _moved_days(row.change)
    if change.is_achieved and change.current is not None:
        return f"was achieved on {format_day(change.current)}"
    if days is None or change.current is None:
        return _title_words(row)
    return f"{format_day(change.current)}, {_later(days)}"


def _later(days: int) -> str:
    return f"{format_count(abs(days), 'day')} {'later' if days > 0 else 'earlier'}" if days else "the same day"


def _held_up(row: _Row) -> list[str]:
    impact, status = row.impact, row.status
    if status is None:
        return []
    if not impact.moved:
        if status.dependents and status.is_open:
            return [f"{format_count(status.dependents, 'milestone')} can wait for it without coming late."]
        return []
    projects = f" of {format_count(impact.held_up.projects, 'other project')}" if impact.held_up.projects else ""
    stakes = held_up_phrases(impact.held_up)
    behind = f", and with them {enumerate_phrases(stakes)}" if stakes else ""
    return [f"It holds up {format_count(impact.moved, 'milestone')}{projects}{behind}."]


def _why(cause: Event | None) -> list[str]:
    if cause is None:
        return []
    reason, remark = data_field(cause, "reason"), data_field(cause, "remark")
    phrases = [str(reason).replace("-", " ").replace("_", " ")] if reason else []
    if remark:
        phrases.append(one_line(remark, _MAX_REMARK_LENGTH).rstrip("."))
    if isinstance(cause.data, EventRetracted):
        phrases = [f"taken back ({': '.join(phrases)})" if phrases else "taken back"]
    said = ": ".join(phrases)
    return [f"Why: {said}, says {cause.source}." if said else f"Why: {cause.source} says so."]


def _programme_name(programme: str, picture: ProgrammePicture) -> str:
    claims = picture.facts.programmes.get(programme)
    return shortened(project_name(programme, None if claims is None or claims.name is None else claims.name.value))
