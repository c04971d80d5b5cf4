"""The Jinja environment: filters that format values, and make untrusted text harmless."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.domain.claims import MilestoneKey
from models.domain.events import Money
from models.domain.impact import HeldUp
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import Instant
from models.domain.unknown_fields import describe_unknown_field
from models.text import printable
from models.views.formatting import (
    enumerate_phrases,
    format_amount,
    format_count,
    format_day,
    format_instant,
    format_signed_days,
    held_up_phrases,
)
from models.views.names import Names, shortened
from streams.web.urls import PageUrls

#: As `format_day` and `format_instant` write them.
_DAY_OR_INSTANT: Final = re.compile(r"(\b\d{1,2} [A-Z][a-z]{2} \d{4}(?:, \d\d:\d\d UTC)?)")


def day_markup(value: date | None) -> Markup:
    """Return a day for people and for programs."""
    if value is None:
        return Markup('<span class="none">\N{EN DASH}</span>')
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), format_day(value))


def instant_markup(instant: Instant) -> Markup:
    """Return an instant for people, to the minute, and for programs."""
    return Markup('<time datetime="{}Z">{}</time>').format(instant, format_instant(instant))


def moment_markup(seconds: float | None) -> Markup:
    """Return a time in seconds since the epoch, for people and for programs."""
    if seconds is None:
        return day_markup(None)
    time = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time class="moment" datetime="{}"><span class="day">{}</span>, {:%H:%M:%S}</time>').format(
        time.isoformat(timespec="seconds"), format_day(time), time
    )


def unbroken_days(text: str) -> Markup:
    """Return a sentence of our own, in which no line ends within a day or an instant."""
    parts = _DAY_OR_INSTANT.split(text)
    return Markup("").join(
        Markup('<span class="day">{}</span>').format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def with_code(text: str) -> Markup:
    """Return a sentence whose commands stand between backticks, as in a terminal."""
    parts = text.split("`")
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if number % 2 else part for number, part in enumerate(parts))


def untrusted(text: str | None) -> Markup:
    """Return text from outside: escaped, and isolated so that it cannot change the direction of the text around it."""
    return Markup("") if text is None else Markup("<bdi>{}</bdi>").format(printable(text))


def source_markup(source: str | None) -> Markup:
    """Return a source, which may be broken between its parts, as untrusted text."""
    if source is None:
        return untrusted(source)
    return Markup("<bdi>{}</bdi>").format(Markup("<wbr>").join(re.split(r"(?<=[^/]/)|(?<=\.)", printable(source))))


def milestone_markup(milestone: MilestoneRef | MilestoneKey) -> Markup:
    """Return a milestone's name, which may be broken between its parts."""
    return Markup("{}<wbr>/<wbr>{}").format(milestone.project, milestone.milestone)


def label_markup(milestone: MilestoneRef | MilestoneKey, names: Names) -> Markup:
    """Return what a milestone is called, as lists have it: the names first, the slugs behind."""
    label = names.label(MilestoneRef(milestone.project, milestone.milestone))
    slugs = milestone_markup(milestone)
    if label.is_slugs:
        return slugs
    return Markup('<span class="label"><bdi>{}</bdi>: <bdi>{}</bdi></span> <small class="slug">{}</small>').format(
        shortened(label.project), shortened(label.milestone), slugs
    )


def slug_markup(name: str, slug: str) -> Markup:
    """Return a name with its slug behind; the slug alone where it is the name."""
    if name == slug:
        return Markup("{}").format(slug)
    return Markup('<bdi>{}</bdi> <small class="slug">{}</small>').format(printable(name), slug)


def isolated_label(milestone: MilestoneRef, names: Names) -> str:
    """Return what a milestone is called, within a sentence: no name changes the direction of the text around it."""
    label = names.label(milestone)
    if label.is_slugs:
        return str(milestone)
    parts = (f"\N{FIRST STRONG ISOLATE}{shortened(part)}\N{POP DIRECTIONAL ISOLATE}" for part in label[:2])
    return ": ".join(parts)


def money_markup(money: Money) -> Markup:
    """Return an amount of money in words, with all its digits under the pointer."""
    exact = f"{money.currency} {Decimal(repr(float(money.amount)).removesuffix('.0')):,}"
    return Markup('<span title="{}">{}</span>').format(exact, format_amount(money.currency, money.amount))


def exact_amounts(held_up: HeldUp) -> str:
    """Return the money that a gate holds up with all its digits."""
    return ", ".join(f"{currency} {amount:,}" for currency, amount in held_up.investment.items())


def format_moved(moved: Sequence[MilestoneStatus], held_up: HeldUp) -> str:
    """Return how many milestones a gate moves, and the money and jobs of their projects."""
    is_launches = all(status.milestone == "production-launched" for status in moved)
    count = format_count(len(moved), "launch", "launches") if is_launches else format_count(len(moved), "milestone")
    return enumerate_phrases([count, *held_up_phrases(held_up)])


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
        "day_text": format_day,
        "instant": instant_markup,
        "moment": moment_markup,
        "signed": format_signed_days,
        "pluralize": format_count,
        "unbroken_days": unbroken_days,
        "with_code": with_code,
        "untrusted": untrusted,
        "unknown_field": describe_unknown_field,
        "source": source_markup,
        "milestone_name": milestone_markup,
        "label": label_markup,
        "with_slug": slug_markup,
        "isolated": isolated_label,
        "money": money_markup,
        "exact": exact_amounts,
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
