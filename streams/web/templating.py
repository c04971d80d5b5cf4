"""How pages word what they show; and text nobody vouches for, made harmless."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.domain.schedule import MilestoneRef, State
from models.text import printable
from streams.web import urls

MINUS_SIGN = "\N{MINUS SIGN}"


def day_markup(value: date | None) -> Markup:
    """Return a day as people read it, and as programs do."""
    if value is None:
        return Markup('<span class="none">\N{EN DASH}</span>')
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), format_day(value))


def format_day(value: date | None) -> str:
    """Return a day as people read it."""
    return "no date" if value is None else f"{value.day} {value:%b} {value.year}"


def moment_markup(seconds: float | None) -> Markup:
    """Return a moment, given in seconds since the epoch, as people read it."""
    if seconds is None:
        return day_markup(None)
    at = datetime.fromtimestamp(seconds, UTC)
    text = f"{format_day(at.date())}, {at:%H:%M:%S}"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), text)


def format_signed_days(days: int | None) -> str:
    """Return so many days, late with a plus, early with a minus."""
    if days is None:
        return "\N{EN DASH}"
    return f"{'+' if days > 0 else MINUS_SIGN if days < 0 else ''}{abs(days):,} d"


def format_days(number: int) -> str:
    """Return so many days in words."""
    return f"{number:,} day" if abs(number) == 1 else f"{number:,} days"


def format_count(number: int, singular: str, plural: str = "") -> str:
    """Return so many of something in words."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def untrusted(text: str | None) -> Markup:
    """Return text from outside: nothing in it turns the direction of what stands around it, or is taken for markup."""
    return Markup("") if text is None else Markup("<bdi>{}</bdi>").format(printable(text))


def milestone_markup(milestone: MilestoneRef) -> Markup:
    """Return a milestone's name, so that it may break where its parts meet."""
    return Markup("{}<wbr>/<wbr>{}").format(milestone.project, milestone.milestone)


def format_money(amount: Any) -> str:  # noqa: ANN401 - `Money`, or what a template has of it
    """Return an amount as people read it."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if amount.amount >= size:
            return f"{amount.currency} {amount.amount / size:,.4g} {word}"
    return f"{amount.currency} {amount.amount:,.2f}"


def to_json(value: object) -> str:
    """Return a value as JSON, for an attribute that a chart reads."""
    return json.dumps(value, default=str, separators=(",", ":"))


def create_environment(static_urls: Mapping[str, str]) -> Environment:
    """Return the templates; whatever a page shows is escaped unless it was made here."""
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
        "moment": moment_markup,
        "signed": format_signed_days,
        "days": format_days,
        "pluralize": format_count,
        "untrusted": untrusted,
        "milestone_name": milestone_markup,
        "money": format_money,
        "json": to_json,
    }
    environment.globals |= {
        "urls": urls,
        "static_url": static_urls.__getitem__,
        "states": list(State),
        "MilestoneRef": MilestoneRef,
    }
    return environment
