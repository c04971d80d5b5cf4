"""The metric families of `/metrics/milestones`: contract, section 7.

prometheus_client's encoder costs 8 to 18 µs per series and scrape. Here a milestone is rendered once, when it changes,
and a scrape joins bytes. Each family is a row of a table.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

from models.database.slip_causes import SlipCause
from models.domain.claims import Facts, ProgrammeClaims, ProjectClaims, ProjectKey
from models.domain.impact import NO_IMPACT, Impact
from models.domain.schedule import MilestoneStatus, Schedule, State
from models.domain.timestamps import epoch_seconds, parse_stamp

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DAY_SECONDS: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
#: What ends a line or a label value, and control characters, which no terminal, page or parser should get.
_UNSAFE_CHARACTERS: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\\"\u2028\u2029]')
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}

SubjectT = TypeVar("SubjectT")
LabelsT = TypeVar("LabelsT")


class Family(NamedTuple, Generic[SubjectT, LabelsT]):
    """A metric family, and how the samples of a milestone or a programme are calculated."""

    name: str
    help: str
    unit: str
    labels: tuple[str, ...]
    #: Returns pairs of labels and value.
    samples: Callable[[SubjectT], Iterable[tuple[LabelsT, float]]]
    #: Whether the contract promises it.
    is_stable: bool = True
    type: str = "gauge"


#: A project and what is known of it; without claims if it was never registered.
RegisteredProject = tuple[ProjectKey, ProjectClaims]


class ProgrammeMetrics(NamedTuple):
    """What a programme's own families and those of its projects are calculated from."""

    name: str
    programme: ProgrammeClaims
    #: Every project that an event names, sorted.
    projects: Sequence[RegisteredProject]
    #: How many dependencies were set aside.
    cyclic_count: int


def collect_programme_metrics(programme: str, facts: Facts, schedule: Schedule) -> ProgrammeMetrics:
    """Return what a programme's own families are calculated from; the schedule knows which milestones exist."""
    keys = {*facts.projects, *(key[:2] for key in schedule.network.milestones), *(key[::2] for key in facts.sites)}
    unregistered = ProjectClaims()
    projects = [(key, facts.projects.get(key, unregistered)) for key in sorted(ProjectKey(*key) for key in keys)]
    return ProgrammeMetrics(
        programme, facts.programmes.get(programme) or ProgrammeClaims(), projects, len(schedule.cyclic)
    )


def escape_label_value(text: str) -> str:
    """Return text as it may stand between the quotes of a label value."""
    return _UNSAFE_CHARACTERS.sub(lambda match: _ESCAPES.get(match[0], "\N{REPLACEMENT CHARACTER}"), text)


def format_labels(names: Sequence[str], values: Sequence[str]) -> str:
    """Return a label set, escaped, without braces."""
    return ",".join(f'{name}="{escape_label_value(value)}"' for name, value in zip(names, values, strict=True))


@lru_cache(maxsize=4096)
def _midnight_timestamp(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY_SECONDS


#: Labels of a milestone beyond its key, each with a comma in front, and values.
MilestoneSamples = Iterable[tuple[str, float]]


def _date_samples(field: str) -> Callable[[MilestoneStatus], MilestoneSamples]:
    def samples(status: MilestoneStatus) -> MilestoneSamples:
        day: date | None = getattr(status, field)
        return () if day is None else (("", _midnight_timestamp(day)),)

    return samples


def _float_samples(status: MilestoneStatus) -> MilestoneSamples:
    return () if status.float_days is None else (("", status.float_days * DAY_SECONDS),)


#: The samples of every state: 1 for it, 0 for the others.
_STATE_SETS: Final = {state: tuple((f',state="{other}"', int(other is state)) for other in State) for state in State}


def _state_samples(status: MilestoneStatus) -> MilestoneSamples:
    return _STATE_SETS[status.state]


def _last_event_samples(status: MilestoneStatus) -> MilestoneSamples:
    if (stamp := status.last_claim_stamp) is None:
        return ()
    return (("", epoch_seconds(parse_stamp(stamp).instant)),)


def _driver_samples(status: MilestoneStatus) -> MilestoneSamples:
    if (driver := status.driver) is None:
        return ()
    return ((f',driver_project="{driver.project}",driver_milestone="{driver.milestone}"', 1),)


def _amount_samples(status: MilestoneStatus) -> MilestoneSamples:
    return () if (amount := status.amount) is None else ((f',currency="{amount.currency}"', amount.amount),)


_TIMESTAMP: Final = "seconds since 1970, UTC"
_MONEY: Final = "units of the currency"


def _milestone_family(
    name: str, description: str, unit: str, samples: Callable[[MilestoneStatus], MilestoneSamples], labels: str = ""
) -> Family[MilestoneStatus, str]:
    key = "programme", "project", "milestone"
    return Family(f"milepost_milestone_{name}", description, unit, (*key, *labels.split()), samples)


_STATUS_FAMILIES: Final = (
    *(
        _milestone_family(f"{field}_timestamp_seconds", f"{date_of}, at 00:00 UTC.", _TIMESTAMP, _date_samples(field))
        for field, date_of in (
            ("baseline", "The first planned date"),
            ("planned", "The newest planned date"),
            ("estimated", "The newest estimated date"),
            ("actual", "The date on which it was achieved"),
            ("forecast", "The date on which it is expected or was achieved"),
        )
    ),
    _milestone_family(
        "float_seconds", "How far it may still move before a planned date is missed.", "seconds", _float_samples
    ),
    _milestone_family("state", "How it stands today: 1 for the state that applies.", "0 or 1", _state_samples, "state"),
    _milestone_family("last_event_timestamp_seconds", "The newest claim's stamp.", _TIMESTAMP, _last_event_samples),
    _milestone_family(
        "driver_info",
        "The milestone that sets its forecast.",
        "always 1",
        _driver_samples,
        "driver_project driver_milestone",
    ),
    _milestone_family(
        "dependents", "Open milestones that wait for it.", "milestones", lambda status: (("", status.dependents),)
    ),
    _milestone_family("amount", "The newest claim's amount.", _MONEY, _amount_samples, "currency"),
)


def _slip_samples(cause: SlipCause) -> MilestoneSamples:
    return ((f",{format_labels(('source', 'reason'), cause)}", 1),)


#: Of the open milestones that are late by their own date, not by a predecessor's.
_SLIP_FAMILY: Final[Family[SlipCause, str]] = Family(
    "milepost_milestone_slip_info",
    "Who said the date of a milestone that is late by itself, and why.",
    "always 1",
    ("programme", "project", "milestone", "source", "reason"),
    _slip_samples,
    is_stable=False,
)


def _held_up_investments(impact: Impact) -> MilestoneSamples:
    return [(f',currency="{currency}"', float(amount)) for currency, amount in impact.held_up.investment.items()]


def _impact_family(
    name: str, description: str, unit: str, samples: Callable[[Impact], MilestoneSamples], labels: str = ""
) -> Family[Impact, str]:
    key = "programme", "project", "milestone"
    return Family(f"milepost_milestone_{name}", description, unit, (*key, *labels.split()), samples)


#: Of the milestones that others wait for.
_IMPACT_FAMILIES: Final = (
    _impact_family(
        "moved",
        "Milestones that wait for it, have their date from it, and come after their baseline.",
        "milestones",
        lambda impact: (("", impact.moved),),
    ),
    _impact_family(
        "held_up_investment",
        "Investment in the projects of the milestones that it moves, its own project left out.",
        _MONEY,
        _held_up_investments,
        "currency",
    ),
    _impact_family(
        "held_up_jobs",
        "Jobs of the projects of the milestones that it moves, its own project left out.",
        "jobs",
        lambda impact: (("", impact.held_up.jobs),),
    ),
)
MILESTONE_FAMILIES: Final[tuple[Family[Any, str], ...]] = (*_STATUS_FAMILIES, _SLIP_FAMILY, *_IMPACT_FAMILIES)

#: Values of a family's labels, and values.
ProgrammeSamples = Iterator[tuple[tuple[str, ...], float]]


def _programme_info(metrics: ProgrammeMetrics) -> ProgrammeSamples:
    if metrics.projects or metrics.programme.registered is not None:
        name = metrics.programme.name
        yield (metrics.name, name.value if name else ""), 1


def _cyclic_samples(metrics: ProgrammeMetrics) -> ProgrammeSamples:
    if metrics.projects:
        yield (metrics.name,), metrics.cyclic_count


def _project_info(metrics: ProgrammeMetrics) -> ProgrammeSamples:
    for key, project in metrics.projects:
        registers = (project.kind, project.site, project.name)
        yield (*key, *(register.value if register else "" for register in registers)), 1


def _investments(claims: Iterable[tuple[tuple[str, ...], ProgrammeClaims | ProjectClaims]]) -> ProgrammeSamples:
    for key, subject in claims:
        if (investment := subject.investment) is not None:
            yield (*key, investment.value.currency), investment.value.amount


def _jobs(claims: Iterable[tuple[tuple[str, ...], ProgrammeClaims | ProjectClaims]]) -> ProgrammeSamples:
    for key, subject in claims:
        if subject.jobs is not None:
            yield key, subject.jobs.value


def _programme_family(
    name: str, description: str, unit: str, samples: Callable[[ProgrammeMetrics], ProgrammeSamples], labels: str = ""
) -> Family[ProgrammeMetrics, tuple[str, ...]]:
    return Family(f"milepost_{name}", description, unit, ("programme", *labels.split()), samples)


_OWN_FAMILIES: Final = (
    _programme_family("programme_info", "A programme and its name.", "always 1", _programme_info, "name"),
    _programme_family(
        "programme_investment",
        "What is announced for the whole.",
        _MONEY,
        lambda metrics: _investments([((metrics.name,), metrics.programme)]),
        "currency",
    ),
    _programme_family(
        "programme_jobs",
        "What is announced for the whole.",
        "jobs",
        lambda metrics: _jobs([((metrics.name,), metrics.programme)]),
    ),
    _programme_family(
        "programme_dependencies_set_aside", "Dependencies that would close a cycle.", "dependencies", _cyclic_samples
    ),
)
_PROJECT_FAMILIES: Final = (
    _programme_family(
        "project_info", "What is known of a project.", "always 1", _project_info, "project kind site name"
    ),
    _programme_family(
        "project_investment",
        "A project's investment.",
        _MONEY,
        lambda metrics: _investments(metrics.projects),
        "project currency",
    ),
    _programme_family("project_jobs", "A project's jobs.", "jobs", lambda metrics: _jobs(metrics.projects), "project"),
)
PROGRAMME_FAMILIES: Final = (*_OWN_FAMILIES, *_PROJECT_FAMILIES)


class RenderedMilestone(NamedTuple):
    """The lines of a milestone, of each family in the order of `MILESTONE_FAMILIES`."""

    status: MilestoneStatus
    cause: SlipCause | None
    impact: Impact
    series_count: int
    family_lines: tuple[bytes, ...]


def render_milestone(
    status: MilestoneStatus, cause: SlipCause | None = None, impact: Impact = NO_IMPACT
) -> RenderedMilestone:
    """Return the lines of one milestone: with the cause of its slip if it is late by itself, and what it holds up."""
    # The key consists of slugs: nothing in it needs escaping.
    programme, project, milestone, *_ = status
    key = f'{{programme="{programme}",project="{project}",milestone="{milestone}"'
    samples = [(family.name, family.samples(status)) for family in _STATUS_FAMILIES]
    samples.append((_SLIP_FAMILY.name, () if cause is None else _SLIP_FAMILY.samples(cause)))
    samples += [(family.name, family.samples(impact) if status.dependents else ()) for family in _IMPACT_FAMILIES]
    return RenderedMilestone(
        status,
        cause,
        impact,
        count_series(status, cause, impact),
        tuple(
            "".join(f"{name}{key}{labels}}} {_format_value(value)}\n" for labels, value in pairs).encode()
            for name, pairs in samples
        ),
    )


def render_programme_metrics(
    programme_metrics: ProgrammeMetrics, projects: Sequence[RegisteredProject]
) -> tuple[bytes, ...]:
    """Return the lines of a programme and some of its projects, of each family in the order of `PROGRAMME_FAMILIES`."""
    of_projects = programme_metrics._replace(projects=projects)
    return tuple(
        "".join(
            f"{family.name}{{{format_labels(family.labels, labels)}}} {_format_value(value)}\n"
            for labels, value in family.samples(metrics)
        ).encode()
        for metrics, families in ((programme_metrics, _OWN_FAMILIES), (of_projects, _PROJECT_FAMILIES))
        for family in families
    )


def count_programme_series(metrics: ProgrammeMetrics) -> int:
    """Return how many series a programme has of its own."""
    return sum(1 for family in _OWN_FAMILIES for _ in family.samples(metrics))


def count_project_series(project: ProjectClaims) -> int:
    """Return how many series a project has."""
    return 1 + (project.investment is not None) + (project.jobs is not None)


def count_series(status: MilestoneStatus, cause: SlipCause | None = None, impact: Impact = NO_IMPACT) -> int:
    """Return how many series a milestone has."""
    optional = (*status[3:8], status.float_days, status.driver, status.last_claim_stamp, status.amount)
    # All but the states and the dependents may be missing.
    count = len(State) + 1 + len(optional) - optional.count(None) + (cause is not None)
    return count + 2 + len(impact.held_up.investment) if status.dependents else count


def _format_value(value: float) -> str:
    # Whole numbers print short; jobs may be integers beyond any float's range.
    if isinstance(value, int):
        return str(value) if abs(value) < 10**300 else "+Inf"
    return repr(value)
