"""The milestones' series for `/metrics/milestones`: contract, section 7.

prometheus_client's encoder costs 8 to 18 µs a series and scrape. Here a milestone is rendered once, when it changes,
and a scrape joins bytes. Each family is a row of a table: name, help, and the samples of a milestone or a programme.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeVar

from models.domain.claims import Facts, ProgrammeClaims, ProjectClaims, ProjectKey
from models.domain.schedule import MilestoneStatus, Schedule, State
from models.domain.timestamps import epoch_seconds, parse_stamp

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DAY_SECONDS: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
#: What ends a line or a label value, and what has no business in a terminal, a page or a parser.
_UNSAFE_CHARACTERS: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\\"\u2028\u2029]')
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}

T = TypeVar("T")


class Family(NamedTuple, Generic[T]):
    """A metric family: name, help, unit, labels, and how the samples of a subject are calculated."""

    name: str
    help: str
    unit: str
    labels: tuple[str, ...]
    #: Returns (labels, value) pairs.
    samples: Callable[[T], Iterable[tuple[str, float]]]
    #: Whether the contract promises it.
    is_stable: bool = True
    type: str = "gauge"


class ProgrammeMetrics(NamedTuple):
    """What is rendered of a programme besides its milestones."""

    name: str
    programme: ProgrammeClaims
    #: Every project that an event names, sorted; an empty one where it was never registered.
    projects: Sequence[tuple[ProjectKey, ProjectClaims]]
    #: How many dependencies were set aside.
    cyclic_count: int


def collect_programme_metrics(programme: str, facts: Facts, schedule: Schedule) -> ProgrammeMetrics:
    """Return what there is of a programme besides its milestones; the picture knows which of them exist."""
    named = {*facts.projects, *(key[:2] for key in schedule.network.milestones), *(key[::2] for key in facts.sites)}
    unregistered = ProjectClaims()
    projects = [(key, facts.projects.get(key, unregistered)) for key in sorted(ProjectKey(*key) for key in named)]
    return ProgrammeMetrics(
        programme, facts.programmes.get(programme) or ProgrammeClaims(), projects, len(schedule.cyclic)
    )


def escape_label_value(text: str) -> str:
    """Return text as it may stand between the quotes of a label value."""
    return _UNSAFE_CHARACTERS.sub(lambda unfit: _ESCAPES.get(unfit[0], "\N{REPLACEMENT CHARACTER}"), text)


def format_labels(**values: str) -> str:
    """Return a label set, escaped, without braces."""
    return ",".join(f'{name}="{escape_label_value(value)}"' for name, value in values.items())


@lru_cache(maxsize=4096)
def _midnight_timestamp(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY_SECONDS


def _date_samples(field: str) -> Callable[[MilestoneStatus], Iterable[tuple[str, float]]]:
    def samples(status: MilestoneStatus) -> Iterable[tuple[str, float]]:
        day: date | None = getattr(status, field)
        return () if day is None else (("", _midnight_timestamp(day)),)

    return samples


def _float_samples(status: MilestoneStatus) -> Iterable[tuple[str, float]]:
    return () if status.float_days is None else (("", status.float_days * DAY_SECONDS),)


#: The samples of every state: 1 for it, 0 for the others.
_STATE_SETS: Final = {state: tuple((f',state="{other}"', int(other is state)) for other in State) for state in State}


def _state_samples(status: MilestoneStatus) -> Iterable[tuple[str, float]]:
    return _STATE_SETS[status.state]


def _last_event_samples(status: MilestoneStatus) -> Iterable[tuple[str, float]]:
    return (
        () if status.last_claim_stamp is None else (("", epoch_seconds(parse_stamp(status.last_claim_stamp).instant)),)
    )


def _driver_samples(status: MilestoneStatus) -> Iterable[tuple[str, float]]:
    if (driver := status.driver) is None:
        return ()
    return ((f',driver_project="{driver.project}",driver_milestone="{driver.milestone}"', 1),)


def _dependents_samples(status: MilestoneStatus) -> Iterable[tuple[str, float]]:
    return (("", status.dependents),)


def _amount_samples(status: MilestoneStatus) -> Iterable[tuple[str, float]]:
    amount = status.amount
    return () if amount is None else ((f',currency="{amount.currency}"', amount.amount),)


_MILESTONE: Final = ("programme", "project", "milestone")
_TIMESTAMP: Final = "seconds since 1970, UTC"
_MONEY: Final = "units of the currency"

MILESTONE_FAMILIES: Final[tuple[Family[MilestoneStatus], ...]] = (
    *(
        Family(
            f"milepost_milestone_{field}_timestamp_seconds",
            f"{description}, at 00:00 UTC.",
            _TIMESTAMP,
            _MILESTONE,
            _date_samples(field),
        )
        for field, description in (
            ("baseline", "The first planned date"),
            ("planned", "The newest planned date"),
            ("estimated", "The newest estimated date"),
            ("actual", "The date on which it was achieved"),
            ("forecast", "The date on which it is expected or was achieved"),
        )
    ),
    Family(
        "milepost_milestone_float_seconds",
        "How far it may still move before a planned date is missed.",
        "seconds",
        _MILESTONE,
        _float_samples,
    ),
    Family(
        "milepost_milestone_state",
        "How it stands today: 1 for the state that applies.",
        "0 or 1",
        (*_MILESTONE, "state"),
        _state_samples,
    ),
    Family(
        "milepost_milestone_last_event_timestamp_seconds",
        "The newest claim's stamp.",
        _TIMESTAMP,
        _MILESTONE,
        _last_event_samples,
    ),
    Family(
        "milepost_milestone_driver_info",
        "The milestone that sets its forecast.",
        "always 1",
        (*_MILESTONE, "driver_project", "driver_milestone"),
        _driver_samples,
    ),
    Family(
        "milepost_milestone_dependents",
        "Open milestones that wait for it.",
        "milestones",
        _MILESTONE,
        _dependents_samples,
    ),
    Family(
        "milepost_milestone_amount", "The newest claim's amount.", _MONEY, (*_MILESTONE, "currency"), _amount_samples
    ),
)


def _programme_info_samples(programme_metrics: ProgrammeMetrics) -> Iterator[tuple[str, float]]:
    if programme_metrics.projects or programme_metrics.programme.registered is not None:
        name = programme_metrics.programme.name
        yield format_labels(programme=programme_metrics.name, name=name.value if name else ""), 1


def _programme_investment_samples(programme_metrics: ProgrammeMetrics) -> Iterator[tuple[str, float]]:
    if (investment := programme_metrics.programme.investment) is not None:
        yield (
            format_labels(programme=programme_metrics.name, currency=investment.value.currency),
            investment.value.amount,
        )


def _programme_jobs_samples(programme_metrics: ProgrammeMetrics) -> Iterator[tuple[str, float]]:
    if (jobs := programme_metrics.programme.jobs) is not None:
        yield format_labels(programme=programme_metrics.name), jobs.value


def _cyclic_samples(programme_metrics: ProgrammeMetrics) -> Iterator[tuple[str, float]]:
    if programme_metrics.projects:
        yield format_labels(programme=programme_metrics.name), programme_metrics.cyclic_count


def _project_info_samples(programme_metrics: ProgrammeMetrics) -> Iterator[tuple[str, float]]:
    for key, project in programme_metrics.projects:
        known = {name: getattr(project, name) for name in ("kind", "site", "name")}
        told = {name: register.value if register else "" for name, register in known.items()}
        yield format_labels(programme=key.programme, project=key.project, **told), 1


def _project_investment_samples(programme_metrics: ProgrammeMetrics) -> Iterator[tuple[str, float]]:
    for key, project in programme_metrics.projects:
        if (investment := project.investment) is not None:
            money = investment.value
            yield format_labels(programme=key.programme, project=key.project, currency=money.currency), money.amount


def _project_jobs_samples(programme_metrics: ProgrammeMetrics) -> Iterator[tuple[str, float]]:
    for key, project in programme_metrics.projects:
        if project.jobs is not None:
            yield format_labels(programme=key.programme, project=key.project), project.jobs.value


_PROGRAMME: Final = ("programme",)
_PROJECT: Final = ("programme", "project")

PROGRAMME_FAMILIES: Final[tuple[Family[ProgrammeMetrics], ...]] = (
    Family(
        "milepost_programme_info",
        "A programme and its name.",
        "always 1",
        (*_PROGRAMME, "name"),
        _programme_info_samples,
    ),
    Family(
        "milepost_programme_investment",
        "What is announced for the whole.",
        _MONEY,
        (*_PROGRAMME, "currency"),
        _programme_investment_samples,
    ),
    Family("milepost_programme_jobs", "What is announced for the whole.", "jobs", _PROGRAMME, _programme_jobs_samples),
    Family(
        "milepost_programme_dependencies_set_aside",
        "Dependencies that would close a cycle.",
        "dependencies",
        _PROGRAMME,
        _cyclic_samples,
    ),
    Family(
        "milepost_project_info",
        "What is known of a project.",
        "always 1",
        (*_PROJECT, "kind", "site", "name"),
        _project_info_samples,
    ),
    Family(
        "milepost_project_investment",
        "A project's investment.",
        _MONEY,
        (*_PROJECT, "currency"),
        _project_investment_samples,
    ),
    Family("milepost_project_jobs", "A project's jobs.", "jobs", _PROJECT, _project_jobs_samples),
)


class RenderedMilestone(NamedTuple):
    """A milestone's lines."""

    status: MilestoneStatus
    #: How many series it has.
    series_count: int
    #: Of each family, in the order of `MILESTONE_FAMILIES`.
    family_lines: tuple[bytes, ...]


def render_milestone(status: MilestoneStatus) -> RenderedMilestone:
    """Return the lines of one milestone."""
    # The parts are slugs: nothing in them needs escaping.
    programme, project, milestone, *_ = status
    named = f'{{programme="{programme}",project="{project}",milestone="{milestone}"'
    return RenderedMilestone(
        status,
        count_series(status),
        tuple(
            "".join(
                f"{family.name}{named}{more}}} {_format_value(value)}\n" for more, value in family.samples(status)
            ).encode()
            for family in MILESTONE_FAMILIES
        ),
    )


def render_programme_metrics(programme_metrics: ProgrammeMetrics) -> tuple[bytes, ...]:
    """Return the lines of a programme and its projects, of each family in the order of `PROGRAMME_FAMILIES`."""
    return tuple(
        "".join(
            f"{family.name}{{{labelled}}} {_format_value(value)}\n"
            for labelled, value in family.samples(programme_metrics)
        ).encode()
        for family in PROGRAMME_FAMILIES
    )


def count_series(status: MilestoneStatus) -> int:
    """Return how many series a milestone has."""
    optional = (*status[3:8], status.float_days, status.driver, status.last_claim_stamp, status.amount)
    # The five dates and what else may be missing; the states and the dependents are always there.
    return len(State) + 1 + len(optional) - optional.count(None)


def _format_value(value: float) -> str:
    # Whole numbers print short; jobs may be integers beyond any float's range.
    if isinstance(value, int):
        return str(value) if abs(value) < 10**300 else "+Inf"
    return repr(value)
