"""The sample programme as events: what is known in the morning of the story's day, and what happens on it.

`story.yaml` holds the data. The year of its report is the latest whose 21 November is not in the future, so that
reported dates keep their order and distances. Planned dates are counted from the story's day, so that something is
always achieved, planned, slipping and overdue. The same day gives the same events, with the same ids.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from models.domain import events
from models.domain.cloudevents import encode_structured
from models.domain.events import Event
from models.domain.timestamps import Instant

_Row = Mapping[str, Any]
_STORY: Final[_Row] = yaml.safe_load(Path(__file__).with_name("story.yaml").read_text(encoding="utf-8"))
_PLANNING_LEAD_DAYS: Final = 60
_ESTIMATE_AGE_DAYS: Final = 6

PROGRAMME: Final[str] = _STORY["programme"]
SOURCES: Final[tuple[str, ...]] = tuple(_STORY["sources"].values())
SEZ_PARK, NTM_PARK = "sez-industrial-park", "ntm-industrial-park"
PARTICIPANT_KIND: Final = "participant"
#: In days from the story's day
SEZ_OPENING, SEZ_SLIPPED_OPENING = _STORY["sez_opening"], _STORY["sez_slipped_opening"]


class Tenant(NamedTuple):
    """A participant that launches production some days after its park opens: at least, and on top by its plan."""

    project: str
    park: str
    lag_days: int
    buffer_days: int


TENANTS: Final = tuple(
    Tenant(row["project"], row["after"]["project"], row["lag_days"], row["buffer_days"])
    for row in _STORY["opening"]
    if "buffer_days" in row
)


class Story(NamedTuple):
    """What is published, in this order; the example is left for the user to publish."""

    day: date
    opening: tuple[Event, ...]
    slip_event: Event
    mistaken_event: Event
    retraction_event: Event
    malformed_value: bytes
    example_event: Event

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that the demo publishes and that is an event."""
        return (*self.opening, self.slip_event, self.mistaken_event, self.retraction_event)


def build_story(today: date) -> Story:
    """Return the story of a day."""
    opening = tuple(event for row in _STORY["opening"] for event in _build_events(row, today))
    later = {name: event for name, row in _STORY["today"].items() for event in _build_events(row, today)}
    malformed = encode_structured(later.pop("malformed_value"))[1][:-24]
    return Story(today, opening, malformed_value=malformed, **later)


def _day_of(when: int | str, today: date) -> date:
    if isinstance(when, int):
        return today + timedelta(when)
    signed = date(today.year if (today.month, today.day) >= (11, 21) else today.year - 1, 11, 21)
    if when.startswith("signed"):
        return signed + timedelta(int(when.removeprefix("signed") or 0))
    return date.fromisoformat(f"{signed.year}-{when}")


def _build_events(row: _Row, today: date) -> Iterator[Event]:
    """Yield the events of a row: one, or one for each date of a milestone."""
    if "retracts" in row:
        retracts = f"{today}/{row['project']}/{row['retracts']}"
        yield _build_event({**row, "retracts": retracts}, today, events.EventRetracted, row["id"], 0)
    elif "after" in row:
        name = "/".join((row["milestone"], "after", *row["after"].values()))
        yield _build_event(row, today, events.DependencyDeclared, name, -_PLANNING_LEAD_DAYS)
    elif "milestone" in row:
        for classifier in filter(row.__contains__, events.Classifier):
            claimed = row[classifier]
            if classifier is events.Classifier.PLANNED:
                claimed = min(claimed, row.get("ACT", 0), 0) - _PLANNING_LEAD_DAYS
            elif classifier is events.Classifier.ESTIMATED:
                claimed = -_ESTIMATE_AGE_DAYS
            data = {"classifier": classifier, "date": _day_of(row[classifier], today)}
            name = f"{row['milestone']}/{classifier}"
            yield _build_event(
                {"remark": "illustrative", **row, **data}, today, events.MilestoneReported, name, claimed
            )
    else:
        data_type = events.ProjectRegistered if "project" in row else events.ProgrammeRegistered
        yield _build_event(row, today, data_type, "registered", row["claimed"])


def _build_event(row: _Row, today: date, data_type: type[events.EventData], name: str, claimed: int | str) -> Event:
    if "second" in row:
        time = f"{today}T00:00:{row['second']:02d}"
    else:
        day = min(_day_of(row.get("claimed", claimed), today), today)
        time = f"{day}T{'09:00' if day < today else '00:00'}:00"
    return Event(
        source=_STORY["sources"][row["source"]],
        id="/".join(filter(None, (str(today), row.get("project"), row.get("id", name)))),
        programme=PROGRAMME,
        project=row.get("project", ""),
        time=Instant(time),
        data=msgspec.convert({field: row[field] for field in data_type.__struct_fields__ if field in row}, data_type),
    )
