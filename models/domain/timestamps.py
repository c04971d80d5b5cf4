"""Points in time, exact, as text that sorts in the order of time.

An *instant* is the canonical UTC form of an RFC 3339 timestamp without its `Z`: `2026-11-21T09:00:00` or
`2026-11-21T09:00:00.25`. Fractions keep every digit except trailing zeros, so equal instants are equal texts, and the
order of the texts (by code point) is the order in time, in the database too. A `datetime` is limited to microseconds
and would make two different claims equal.

A *stamp* is an instant, a source and an event id joined by tabs. None of them can hold a control character, and a tab
sorts before every other character, so the order of stamps is that of (instant, source, id): contract, section 2.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, NewType

Instant = NewType("Instant", str)
Stamp = NewType("Stamp", str)

_RFC_3339_PATTERN = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_MINUTE_TEXTS = frozenset(f"T{hour:02}:{minute:02}:" for hour in range(24) for minute in range(60))
_SECOND_TEXTS = frozenset(f"{second:02}Z" for second in range(60))
_MIN_EPOCH_MS, _MAX_EPOCH_MS = -62_135_596_800_000, 253_402_300_799_999
_MAX_OFFSET_HOURS, _MAX_OFFSET_MINUTES, _LEAP_SECOND = 23, 59, "60"


def parse_instant(text: str) -> Instant:
    """Return the instant of an RFC 3339 timestamp; a leap second (at the end of a month, UTC) is the next instant.

    Raises `ValueError` for anything that RFC 3339 does not allow and for years outside of 1 to 9999 in UTC.
    """
    # Nearly all timestamps are in UTC without a fraction, and lookups recognise those fastest.
    if text[10:17] in _MINUTE_TEXTS and text[17:] in _SECOND_TEXTS and _is_date(text[:10]):
        return Instant(text[:19])
    match = _RFC_3339_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 timestamp with an offset: {text[:64]!r}")
    day, minute, second, fraction, sign, hours, minutes = match.groups()
    leap = second == _LEAP_SECOND
    moment = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}")
    # Without arithmetic the parts of the text are the canonical form, which is faster than `isoformat`.
    canonical = f"{day}T{minute}:{second}"
    if leap or sign is not None:
        if sign and (int(hours) > _MAX_OFFSET_HOURS or int(minutes) > _MAX_OFFSET_MINUTES):
            raise ValueError(f"no such offset: {text[:64]!r}")
        offset = timedelta(hours=int(sign + hours), minutes=int(sign + minutes)) if sign else timedelta()
        try:
            moment -= offset
        except OverflowError:
            raise ValueError(f"outside of the years 1 to 9999 in UTC: {text[:64]!r}") from None
        if leap:
            with suppress(OverflowError):
                moment += timedelta(seconds=1)
            # Leap seconds are inserted at the end of a UTC month (ITU-R TF.460), nowhere else.
            if moment.day != 1 or moment.hour or moment.minute:
                raise ValueError(f"no leap second there: {text[:64]!r}")
        canonical = moment.isoformat()
    if fraction and (digits := fraction.rstrip("0")):
        canonical = f"{canonical}.{digits}"
    return Instant(canonical)


@lru_cache(maxsize=4096)
def _is_date(text: str) -> bool:
    try:
        # `fromisoformat` takes other forms of a date too.
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# Records appended together share one append time.
@lru_cache(maxsize=1024)
def instant_from_epoch_ms(epoch_ms: int) -> Instant:
    """Return the instant that many milliseconds after the Unix epoch, limited to the years 1 to 9999."""
    limited = min(max(epoch_ms, _MIN_EPOCH_MS), _MAX_EPOCH_MS)
    canonical = (datetime(1970, 1, 1) + timedelta(milliseconds=limited)).isoformat()  # noqa: DTZ001 - UTC by definition
    return Instant(canonical.rstrip("0") if "." in canonical else canonical)


def epoch_seconds(instant: Instant) -> float:
    """Return the seconds since the Unix epoch, to the microsecond."""
    # 26 characters: before Python 3.12, `fromisoformat` takes at most six digits of a fraction.
    return datetime.fromisoformat(instant[:26]).replace(tzinfo=UTC).timestamp()


def day_of(instant: Instant) -> date:
    """Return the UTC day of an instant."""
    return date.fromisoformat(instant[:10])


class StampParts(NamedTuple):
    """The parts of a stamp."""

    instant: Instant
    source: str
    id: str


def make_stamp(instant: Instant, source: str, event_id: str) -> Stamp:
    """Return the stamp of an event."""
    return Stamp(f"{instant}\t{source}\t{event_id}")


def instant_of(stamp: Stamp) -> Instant:
    """Return the instant of a stamp."""
    return Instant(stamp[: stamp.index("\t")])


def parse_stamp(stamp: Stamp) -> StampParts:
    """Return the parts of a stamp."""
    return StampParts._make(stamp.split("\t"))
