"""The metric families of milestones on `/metrics/milestones`, and the lines of one milestone: contract, section 7.

A milestone is rendered once after it changed, and a scrape joins bytes: prometheus_client's encoder costs 8 to 18 µs
for each series and scrape. Rendering is written out, one statement for each family in the order of the table: a call
for each family and sample made it four times as slow.
"""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

from models.database.slip_causes import SlipCause
from models.domain.impact import NO_IMPACT, Impact
from models.domain.schedule import MilestoneStatus, State
from models.domain.timestamps import epoch_seconds, instant_of
from models.views.names import milestone_name, shortened
from streams.metrics.exposition import MONEY_UNIT, TIMESTAMP_UNIT, Family, format_labels, format_value

DAY_SECONDS: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
_PREFIX: Final = "milepost_milestone_"


def _family(name: str, description: str, unit: str, labels: str = "", *, is_stable: bool = True) -> Family:
    key = "programme", "project", "milestone"
    return Family(f"{_PREFIX}{name}", description, unit, (*key, *labels.split()), is_stable)


#: In the order of the lines of a rendered milestone.
MILESTONE_FAMILIES: Final = (
    _family("baseline_timestamp_seconds", "The first planned date, at 00:00 UTC.", TIMESTAMP_UNIT),
    _family("planned_timestamp_seconds", "The newest planned date, at 00:00 UTC.", TIMESTAMP_UNIT),
    _family("estimated_timestamp_seconds", "The newest estimated date, at 00:00 UTC.", TIMESTAMP_UNIT),
    _family("actual_timestamp_seconds", "The date on which it was achieved, at 00:00 UTC.", TIMESTAMP_UNIT),
    _family(
        "forecast_timestamp_seconds",
        "The date on which it is expected or was achieved, at 00:00 UTC.",
        TIMESTAMP_UNIT,
    ),
    _family("float_seconds", "How far it may still move before a planned date is missed.", "seconds"),
    _family("state", "How it stands today: 1 for the state that applies.", "0 or 1", "state"),
    _family("last_event_timestamp_seconds", "The newest claim's stamp.", TIMESTAMP_UNIT),
    _family("driver_info", "The milestone that sets its forecast.", "always 1", "driver_project driver_milestone"),
    _family("dependents", "Open milestones that wait for it.", "milestones"),
    _family("amount", "The newest claim's amount.", MONEY_UNIT, "currency"),
    _family("info", "What people call it, where that is not its slug.", "always 1", "name", is_stable=False),
    # Of the open milestones that are late by their own date, not by a predecessor's
    _family(
        "slip_info",
        "Who said the date of a milestone that is late by itself, and why.",
        "always 1",
        "source reason",
        is_stable=False,
    ),
    # Of the milestones that others wait for
    _family(
        "moved", "Milestones that wait for it, have their date from it, and come after their baseline.", "milestones"
    ),
    _family(
        "held_up_investment",
        "Investment in the projects of the milestones that it moves, its own project left out.",
        MONEY_UNIT,
        "currency",
    ),
    _family("held_up_jobs", "Jobs of the projects of the milestones that it moves, its own project left out.", "jobs"),
)


class MilestoneMetrics(NamedTuple):
    """What a milestone's series are calculated from, and how many series there are."""

    status: MilestoneStatus
    #: Of its slip, if it is late by itself.
    cause: SlipCause | None
    #: What it holds up.
    impact: Impact
    series_count: int


def collect_milestone_metrics(
    status: MilestoneStatus, cause: SlipCause | None = None, impact: Impact = NO_IMPACT
) -> MilestoneMetrics:
    """Return what a milestone's series are calculated from."""
    optional = (*status[3:8], status.float_days, status.driver, status.last_claim_stamp, status.amount)
    # All but the states and the dependents may be missing.
    count = len(State) + 1 + len(optional) - optional.count(None) + (cause is not None)
    count += _name_of(status) is not None
    if status.dependents:
        count += 2 + len(impact.held_up.investment)
    return MilestoneMetrics(status, cause, impact, count)


def _name_of(status: MilestoneStatus) -> str | None:
    """Return what people call a milestone, as lists have it; None where that is its slug."""
    name = milestone_name(status.milestone, status.name)
    return None if name == status.milestone else shortened(name)


@lru_cache(maxsize=4096)
def _midnight_timestamp(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY_SECONDS


#: Text of a family in which the key of a milestone is left out, with its place.
_KEY_PLACE: Final = "\0"
#: The lines of every state: 1 for it, 0 for the others.
_STATE_LINES: Final[Mapping[State, str]] = {
    state: "".join(f'{_PREFIX}state{_KEY_PLACE},state="{other}"}} {int(other is state)}\n' for other in State)
    for state in State
}


def render_milestone(metrics: MilestoneMetrics) -> tuple[bytes, ...]:  # noqa: C901 - a branch for each optional family
    """Return the lines of one milestone, of each family in the order of `MILESTONE_FAMILIES`."""
    status, cause, impact, _ = metrics
    # The key consists of slugs: nothing in it needs escaping.
    key = f'{{programme="{status.programme}",project="{status.project}",milestone="{status.milestone}"'
    end = key + "}"
    baseline = planned = estimated = actual = forecast = floats = last_event = drivers = amounts = names = causes = ""
    moved = held_up_investment = held_up_jobs = ""
    if (day := status.baseline) is not None:
        baseline = f"{_PREFIX}baseline_timestamp_seconds{end} {_midnight_timestamp(day)}\n"
    if (day := status.planned) is not None:
        planned = f"{_PREFIX}planned_timestamp_seconds{end} {_midnight_timestamp(day)}\n"
    if (day := status.estimated) is not None:
        estimated = f"{_PREFIX}estimated_timestamp_seconds{end} {_midnight_timestamp(day)}\n"
    if (day := status.actual) is not None:
        actual = f"{_PREFIX}actual_timestamp_seconds{end} {_midnight_timestamp(day)}\n"
    if (day := status.forecast) is not None:
        forecast = f"{_PREFIX}forecast_timestamp_seconds{end} {_midnight_timestamp(day)}\n"
    if (float_days := status.float_days) is not None:
        floats = f"{_PREFIX}float_seconds{end} {float_days * DAY_SECONDS}\n"
    states = _STATE_LINES[status.state].replace(_KEY_PLACE, key)
    if (stamp := status.last_claim_stamp) is not None:
        last_event = f"{_PREFIX}last_event_timestamp_seconds{end} {epoch_seconds(instant_of(stamp))!r}\n"
    if (driver := status.driver) is not None:
        labels = f'driver_project="{driver.project}",driver_milestone="{driver.milestone}"'
        drivers = f"{_PREFIX}driver_info{key},{labels}}} 1\n"
    dependents = f"{_PREFIX}dependents{end} {status.dependents}\n"
    if (amount := status.amount) is not None:
        amounts = f'{_PREFIX}amount{key},currency="{amount.currency}"}} {format_value(amount.amount)}\n'
    if (name := _name_of(status)) is not None:
        names = f"{_PREFIX}info{key},{format_labels(('name',), (name,))}}} 1\n"
    if cause is not None:
        causes = f"{_PREFIX}slip_info{key},{format_labels(('source', 'reason'), cause)}}} 1\n"
    if status.dependents:
        moved = f"{_PREFIX}moved{end} {impact.moved}\n"
        held_up_investment = "".join(
            f'{_PREFIX}held_up_investment{key},currency="{currency}"}} {float(investment)!r}\n'
            for currency, investment in impact.held_up.investment.items()
        )
        held_up_jobs = f"{_PREFIX}held_up_jobs{end} {format_value(impact.held_up.jobs)}\n"
    return (
        baseline.encode(),
        planned.encode(),
        estimated.encode(),
        actual.encode(),
        forecast.encode(),
        floats.encode(),
        states.encode(),
        last_event.encode(),
        drivers.encode(),
        dependents.encode(),
        amounts.encode(),
        names.encode(),
        causes.encode(),
        moved.encode(),
        held_up_investment.encode(),
        held_up_jobs.encode(),
    )
