"""The Jinja environment: filters that format values, and make untrusted text harmless."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.domain.claims import MilestoneKey
from models.domain.events import Money
from models.domain.impact import HeldUp
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import Instant, day_of
from models.domain.unknown_fields import describe_unknown_field
from models.text import printable
from streams.web.urls import PageUrls

#: Sums of more currencies than a sentence holds are in the API.
_MAX_NAMED_AMOUNTS: Final = 3


def format_day(day: date) -> str:
    """Return a day as all pages write it."""
    return f"{day.day} {day:%b} {day.year}"


def day_markup(value: date | None) -> Markup:
    """Return a day for people and for programs."""
    if value is None:
        return Markup('<span class="none">\N{EN DASH}</span>')
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), format_day(value))


def instant_markup(instant: Instant) -> Markup:
    """Return an instant for people, to the minute, and for programs."""
    text = f"{format_day(day_of(instant))}, {instant[11:16]} UTC"
    return Markup('<time datetime="{}Z">{}</time>').format(instant, text)


def moment_markup(seconds: float | None) -> Markup:
    """Return a time in seconds since the epoch, for people and for programs."""
    if seconds is None:
        return day_markup(None)
    time = datetime.fromtimestamp(seconds, UTC)
    text = f"{format_day(time)}, {time:%H:%M:%S}"
    return Markup('<time datetime="{}">{}</time>').format(time.isoformat(timespec="seconds"), text)


def format_signed_days(days: int | None) -> str:
    """Return a number of days with its sign; late is positive."""
    if days is None:
        return "\N{EN DASH}"
    sign = "+" if days > 0 else "\N{MINUS SIGN}" if days < 0 else ""
    return f"{sign}{abs(days):,} d"


def format_count(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun."""
    return f"{number:,} {singular if abs(number) == 1 else plural or singular + 's'}"


def untrusted(text: str | None) -> Markup:
    """Return text from outside: escaped, and isolated so that it cannot change the direction of the text around it."""
    return Markup("") if text is None else Markup("<bdi>{}</bdi>").format(printable(text))


def milestone_markup(milestone: MilestoneRef | MilestoneKey) -> Markup:
    """Return a milestone's name, which may be broken between its parts."""
    return Markup("{}<wbr>/<wbr>{}").format(milestone.project, milestone.milestone)


def format_money(money: Money) -> str:
    """Return an amount of money."""
    return _format_amount(money.currency, money.amount)


def _format_amount(currency: str, amount: float) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if amount >= size:
            return f"{currency} {amount / size:,.4g} {word}"
    return f"{currency} {amount:,.2f}"


def format_moved(moved: Sequence[MilestoneStatus], held_up: HeldUp) -> str:
    """Return how many milestones a gate moves, and the money and jobs of their projects."""
    is_launches = all(status.milestone == "production-launched" for status in moved)
    phrases = [format_count(len(moved), "launch", "launches") if is_launches else format_count(len(moved), "milestone")]
    amounts = [_format_amount(currency, float(amount)) for currency, amount in held_up.investment.items() if amount]
    phrases += amounts[:_MAX_NAMED_AMOUNTS]
    if len(amounts) > _MAX_NAMED_AMOUNTS:
        phrases.append(format_count(len(amounts) - _MAX_NAMED_AMOUNTS, "further currency", "further currencies"))
    if held_up.jobs:
        phrases.append(format_count(held_up.jobs, "job"))
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))


def to_json(value: object) -> str:
    """Return a value as JSON, for an attribute that a chart reads."""
    return json.dumps(value, default=str, separators=(",", ":"))


#: What a reader of a page may ask: docs/glossary.md in one sentence each.
TERMS: Final = {
    "baseline": "The first date that was ever planned. It never changes, so a new plan hides no delay.",
    "slip": "How many days later than its baseline a milestone comes; minus means earlier.",
    "float": "How many days a milestone may still move before it, or one that waits for it, passes its planned date.",
    "slack": "How many days the gate may still move before this milestone moves with it.",
    "gate": "A milestone that others wait for.",
}


def create_environment(static_urls: Mapping[str, str]) -> Environment:
    """Return the environment of the templates; every value is escaped unless a filter above made it."""
    environment = Environment(
        loader=PackageLoader("streams.web"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "day": day_markup,
        "instant": instant_markup,
        "moment": moment_markup,
        "signed": format_signed_days,
        "pluralize": format_count,
        "untrusted": untrusted,
        "unknown_field": describe_unknown_field,
        "milestone_name": milestone_markup,
        "money": format_money,
        "moved": format_moved,
        "json": to_json,
    }
    environment.globals |= {
        "urls": PageUrls(),
        "static_url": static_urls.__getitem__,
        "states": list(State),
        "terms": TERMS,
    }
    return environment
