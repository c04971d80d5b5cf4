"""How pages word what they show; and text nobody vouches for, made harmless."""

import json
from datetime import UTC, date, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.domain.schedule import Driver, State
from models.text import printable
from streams.web import urls
from streams.web.static_files import Files

MINUS = "\N{MINUS SIGN}"


def day(value: date | None) -> Markup:
    """Return a day as people read it, and as programs do."""
    if value is None:
        return Markup('<span class="none">\N{EN DASH}</span>')
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), day_text(value))


def day_text(value: date | None) -> str:
    """Return a day as people read it."""
    return "no date" if value is None else f"{value.day} {value:%b} {value.year}"


def moment(seconds: float | None) -> Markup:
    """Return a moment, given in seconds since the epoch, as people read it."""
    if seconds is None:
        return day(None)
    at = datetime.fromtimestamp(seconds, UTC)
    text = f"{day_text(at.date())}, {at:%H:%M:%S}"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), text)


def signed(days: int | None) -> str:
    """Return so many days, late with a plus, early with a minus."""
    if days is None:
        return "\N{EN DASH}"
    return f"{'+' if days > 0 else MINUS if days < 0 else ''}{abs(days):,} d"


def days(count: int) -> str:
    """Return so many days in words."""
    return f"{count:,} day" if abs(count) == 1 else f"{count:,} days"


def count(number: int, one: str, many: str = "") -> str:
    """Return so many of something in words."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def theirs(text: str | None) -> Markup:
    """Return text from outside: nothing in it turns the direction of what stands around it, or is taken for markup."""
    return Markup("") if text is None else Markup("<bdi>{}</bdi>").format(printable(text))


def name(which: Driver) -> Markup:
    """Return a milestone's name, so that it may break where its parts meet."""
    return Markup("{}<wbr>/<wbr>{}").format(which.project, which.milestone)


def money(amount: Any) -> str:  # noqa: ANN401 - `Money`, or what a template has of it
    """Return an amount as people read it."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if amount.amount >= size:
            return f"{amount.currency} {amount.amount / size:,.4g} {word}"
    return f"{amount.currency} {amount.amount:,.2f}"


def as_data(value: object) -> str:
    """Return a value as JSON, for an attribute that a chart reads."""
    return json.dumps(value, default=str, separators=(",", ":"))


def environment(files: Files) -> Environment:
    """Return the templates; whatever a page shows is escaped unless it was made here."""
    made = Environment(
        loader=PackageLoader("streams.web"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "day": day,
        "moment": moment,
        "signed": signed,
        "days": days,
        "count": count,
        "theirs": theirs,
        "name": name,
        "money": money,
        "as_data": as_data,
    }
    made.globals |= {
        "to": urls,
        "file": files.address,
        "states": list(State),
        "Driver": Driver,
    }
    return made
