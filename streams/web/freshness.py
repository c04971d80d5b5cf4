"""What pages, API and stream say of how fresh they are."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from msgspec import Struct

from streams.monitoring.freshness import FreshnessStatus, Problem

#: Problems whose reason is longer than what a page has room for.
_SHORT: Final = {
    "stuck": "a worker is stuck",
    "worker": "the worker stops",
    "group": "partitions are being assigned",
    "positions": "reading begins",
    "milestones": "forecasts are not calculated yet",
    "forecasts": "forecasts are behind",
    "retrying": "a step is tried again and again",
    "lag": "events wait to be read",
    "workers": "whether events are read is not known here",
}
_SUBJECTS: Final = {"database": "the database", "kafka": "Kafka", "board": "the board"}
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


class ProblemSchema(Struct, frozen=True):
    """Why the board is not current."""

    name: str
    reason: str
    #: When it was seen first; null for what no time changes.
    since: datetime | None


class FreshnessSchema(Struct, frozen=True):
    """How fresh the board is: current when there is no problem."""

    #: When the broker appended the newest accepted event; null before the first.
    newest_event: datetime | None
    age_seconds: float | None
    #: The problems in a few words; empty when there is none.
    summary: str
    problems: Sequence[ProblemSchema]


class FreshnessText(NamedTuple):
    """What the head of every page says; the same for a minute while nothing happens."""

    newest_event: datetime | None
    age: str
    summary: str


def freshness_schema(status: FreshnessStatus, now: float) -> FreshnessSchema:
    """Return what API and stream say, given the time in seconds since the epoch."""
    newest = status.newest_event
    return FreshnessSchema(
        _moment(newest),
        None if newest is None else max(0.0, round(now - newest, 1)),
        summarize(status.problems, now),
        [ProblemSchema(name, reason, _moment(since)) for name, reason, since in status.problems],
    )


def freshness_text(status: FreshnessStatus, now: float) -> FreshnessText:
    """Return what the head of a page says, given the time in seconds since the epoch."""
    newest = status.newest_event
    # To the minute, so that a page is not another one with each event.
    minute = None if newest is None else newest // 60 * 60
    age = "" if newest is None else format_age(now - newest)
    return FreshnessText(_moment(minute), age, summarize(status.problems, now))


def format_age(seconds: float) -> str:
    """Return an age in words, to the minute."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:,.0f} {unit} ago"
    return "less than a minute ago"


def summarize(problems: Sequence[Problem], now: float) -> str:
    """Return problems in a few words: the first, since when, and how many more there are; empty when there is none."""
    if not problems:
        return ""
    name, reason, since = problems[0]
    text = _SHORT.get(name) or f"{_SUBJECTS.get(name, name)} {reason.split(': ')[0]}"
    if since is not None:
        text += f" since {_format_since(since, now)}"
    if others := len(problems) - 1:
        text += f", and {others} more"
    return text[0].upper() + text[1:]


def _format_since(since: float, now: float) -> str:
    then, today = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(now, UTC).date()
    day = "" if then.date() == today else f"{then.day} {then:%b}, "
    return f"{day}{then:%H:%M} UTC"


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
