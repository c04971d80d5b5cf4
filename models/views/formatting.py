"""Days, counts and amounts in words, the same on pages, in reports and in messages."""

from collections.abc import Sequence
from datetime import date
from typing import Final

from models.domain.impact import HeldUp
from models.domain.timestamps import Instant, day_of

#: Sums of more currencies than a sentence holds are in the API.
_MAX_NAMED_AMOUNTS: Final = 3


def format_day(day: date) -> str:
    """Return a day as all pages write it."""
    return f"{day.day} {day:%b} {day.year}"


def format_instant(instant: Instant) -> str:
    """Return an instant as all pages write it, to the minute."""
    return f"{format_day(day_of(instant))}, {instant[11:16]} UTC"


def format_signed_days(days: int | None) -> str:
    """Return a number of days with its sign; late is positive."""
    if days is None:
        return "\N{EN DASH}"
    sign = "+" if days > 0 else "\N{MINUS SIGN}" if days < 0 else ""
    return f"{sign}{abs(days):,} d"


def format_count(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun."""
    return f"{number:,} {singular if abs(number) == 1 else plural or singular + 's'}"


def format_amount(currency: str, amount: float) -> str:
    """Return an amount of money."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if amount >= size:
            return f"{currency} {amount / size:,.4g} {word}"
    return f"{currency} {amount:,.2f}"


def enumerate_phrases(phrases: Sequence[str]) -> str:
    """Return phrases as the parts of a sentence: `a, b and c`."""
    return " and ".join(filter(None, (", ".join(phrases[:-1]), *phrases[-1:])))


def held_up_phrases(held_up: HeldUp) -> list[str]:
    """Return the money and the jobs that a gate holds up; nothing for none."""
    amounts = [format_amount(currency, float(amount)) for currency, amount in held_up.investment.items() if amount]
    phrases = amounts[:_MAX_NAMED_AMOUNTS]
    if len(amounts) > _MAX_NAMED_AMOUNTS:
        phrases.append(format_count(len(amounts) - _MAX_NAMED_AMOUNTS, "further currency", "further currencies"))
    if held_up.jobs:
        phrases.append(format_count(held_up.jobs, "job"))
    return phrases


def format_duration(seconds: float) -> str:
    """Return a length of time in its largest unit, rounded."""
    for size, unit in ((86_400, "day"), (3600, "hour")):
        if seconds >= 2 * size:
            return format_count(round(seconds / size), unit)
    return format_count(round(seconds / 60), "minute")
