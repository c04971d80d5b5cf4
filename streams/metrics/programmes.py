"""The metric families of programmes and their projects on `/metrics/milestones`: contract, section 7.

Each family is a row of a table: what it is, and how its samples are calculated.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from models.domain.claims import Facts, ProgrammeClaims, ProjectClaims, ProjectKey
from models.domain.schedule import Schedule
from streams.metrics.exposition import MONEY_UNIT, Family, format_labels, format_value

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


class _SampledFamily(NamedTuple):
    family: Family
    samples: Callable[[ProgrammeMetrics], ProgrammeSamples]


def _programme_family(
    name: str, description: str, unit: str, samples: Callable[[ProgrammeMetrics], ProgrammeSamples], labels: str = ""
) -> _SampledFamily:
    return _SampledFamily(Family(f"milepost_{name}", description, unit, ("programme", *labels.split())), samples)


_OWN_FAMILIES: Final = (
    _programme_family("programme_info", "A programme and its name.", "always 1", _programme_info, "name"),
    _programme_family(
        "programme_investment",
        "What is announced for the whole.",
        MONEY_UNIT,
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
        MONEY_UNIT,
        lambda metrics: _investments(metrics.projects),
        "project currency",
    ),
    _programme_family("project_jobs", "A project's jobs.", "jobs", lambda metrics: _jobs(metrics.projects), "project"),
)
PROGRAMME_FAMILIES: Final = tuple(row.family for row in (*_OWN_FAMILIES, *_PROJECT_FAMILIES))


def render_programme_metrics(
    programme_metrics: ProgrammeMetrics, projects: Sequence[RegisteredProject]
) -> tuple[bytes, ...]:
    """Return the lines of a programme and some of its projects, of each family in the order of `PROGRAMME_FAMILIES`."""
    of_projects = programme_metrics._replace(projects=projects)
    return tuple(
        "".join(
            f"{row.family.name}{{{format_labels(row.family.labels, labels)}}} {format_value(value)}\n"
            for labels, value in row.samples(metrics)
        ).encode()
        for metrics, rows in ((programme_metrics, _OWN_FAMILIES), (of_projects, _PROJECT_FAMILIES))
        for row in rows
    )


def count_programme_series(metrics: ProgrammeMetrics) -> int:
    """Return how many series a programme has of its own."""
    return sum(1 for row in _OWN_FAMILIES for _ in row.samples(metrics))


def count_project_series(project: ProjectClaims) -> int:
    """Return how many series a project has."""
    return 1 + (project.investment is not None) + (project.jobs is not None)
