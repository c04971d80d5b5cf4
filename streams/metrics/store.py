"""The rendered series of a worker's programmes, as in kube-state-metrics' metrics_store: a scrape joins bytes.

Milestones that were closed long ago have no series, and a worker has no more than its limit. Gates come first
(something open waits for them), then other open milestones, then closed ones, over all programmes of the worker, so
that none is dropped because it was rendered late.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from models.database.projector import ForecastResult
from models.domain.claims import Facts, ProgrammeClaims, ProjectKey
from models.domain.schedule import MilestoneStatus
from models.domain.timestamps import Stamp, day_of, parse_stamp
from streams.metrics.milestones import (
    MILESTONE_FAMILIES,
    PROGRAMME_FAMILIES,
    Family,
    ProgrammeMetrics,
    RenderedMilestone,
    collect_programme_metrics,
    count_series,
    render_milestone,
    render_programme_metrics,
)


class SeriesBudget(NamedTuple):
    """Numbers of series by rank: those that a programme has, or those that it may expose."""

    gates: int = 0
    others: int = 0
    closed: int = 0


def budget_rank(status: MilestoneStatus) -> int:
    """Return the index of a milestone's rank in `SeriesBudget`."""
    if status.dependents:
        return 0
    return 1 if status.is_open else 2


def visible_milestones(
    statuses: Sequence[MilestoneStatus], facts: Facts, today: date, keep_days: int
) -> list[MilestoneStatus]:
    """Return the milestones that are open, or were closed no more than `keep_days` ago."""
    oldest = today - timedelta(days=min(keep_days, today.toordinal() - 1))
    return [status for status in statuses if status.is_open or _closed_on(status, facts) >= oldest]


def _closed_on(status: MilestoneStatus, facts: Facts) -> date:
    """Return when a milestone was achieved or cancelled, or last reported."""
    project = facts.projects.get(ProjectKey(status.programme, status.project))
    stamps: list[Stamp | None] = [status.last_claim_stamp, project.withdrawn if project is not None else None]
    days = [day_of(parse_stamp(stamp).instant) for stamp in stamps if stamp is not None]
    return max([*days, status.actual or date.min])


def allocate_series(requested: Mapping[str, SeriesBudget], limit: int) -> dict[str, SeriesBudget]:
    """Return how many series of each rank every programme may expose, no more than `limit` in total."""
    if sum(map(sum, requested.values())) <= limit:
        return dict(requested)
    allocated: dict[str, list[int]] = {name: [] for name in requested}
    for rank in range(len(SeriesBudget._fields)):
        for name in sorted(requested):
            count = min(requested[name][rank], limit)
            allocated[name].append(count)
            limit -= count
    return {name: SeriesBudget(*counts) for name, counts in allocated.items()}


def within_budget(
    statuses_with_series: Sequence[tuple[MilestoneStatus, int]], budget: SeriesBudget
) -> Iterator[MilestoneStatus]:
    """Yield the milestones, given with their numbers of series, that fit into a budget."""
    remaining = list(budget)
    for status, series_count in statuses_with_series:
        rank = budget_rank(status)
        if series_count <= remaining[rank]:
            remaining[rank] -= series_count
            yield status
        else:
            # No smaller one behind it takes its place: which milestones are exposed must not depend on their sizes.
            remaining[rank] = 0


class RenderedProgramme(NamedTuple):
    """The series of a programme."""

    revision: int
    day: date
    #: The series that it has, and those that it may expose.
    requested: SeriesBudget
    allocated: SeriesBudget
    milestones: Mapping[tuple[str, ...], RenderedMilestone]
    programme_metrics: ProgrammeMetrics
    #: The programme's own lines, of each family in the order of `PROGRAMME_FAMILIES`.
    programme_lines: tuple[bytes, ...]
    #: How many milestones the limit left out.
    dropped_milestones: int
    #: The milestones' lines of each family, joined when first scraped.
    family_cache: dict[int, bytes]

    def family_bytes(self, family_index: int) -> bytes:
        """Return the milestones' lines of a family, given its index in `MILESTONE_FAMILIES`."""
        if family_index not in self.family_cache:
            self.family_cache[family_index] = b"".join(
                lines.family_lines[family_index] for lines in self.milestones.values()
            )
        return self.family_cache[family_index]


_NOT_RENDERED: Final = RenderedProgramme(
    -1, date.min, SeriesBudget(), SeriesBudget(), {}, ProgrammeMetrics("", ProgrammeClaims(), (), 0), (), 0, {}
)


@dataclass(slots=True)
class MetricsStore:
    """The rendered programmes of one worker."""

    #: How many series of milestones there may be.
    max_series: int
    #: For how many days a milestone is exposed after it was closed.
    keep_days: int
    _rendered: dict[str, RenderedProgramme] = field(default_factory=dict)

    def render(self, result: ForecastResult) -> RenderedProgramme:
        """Return the series of a programme, rendering only the milestones that changed since it was rendered last.

        It only reads the store, so that it may run in another thread.
        """
        previous = self._rendered.get(result.programme, _NOT_RENDERED)
        day = result.schedule.data_date
        statuses_with_series = []
        counts = [0] * len(SeriesBudget._fields)
        for status in visible_milestones(result.schedule.statuses, result.facts, day, self.keep_days):
            cached = previous.milestones.get(status[:3])
            series = cached.series_count if cached is not None and cached.status is status else count_series(status)
            statuses_with_series.append((status, series))
            counts[budget_rank(status)] += series
        requested = SeriesBudget(*counts)
        allocated = self._allocate({result.programme: requested})[result.programme]
        milestones: dict[tuple[str, ...], RenderedMilestone] = {}
        for status in within_budget(statuses_with_series, allocated):
            cached = previous.milestones.get(status[:3])
            if cached is None or cached.status is not status:
                cached = render_milestone(status)
            milestones[status[:3]] = cached
        metrics = collect_programme_metrics(result.programme, result.facts, result.schedule)
        lines = previous.programme_lines if metrics == previous.programme_metrics else render_programme_metrics(metrics)
        dropped = len(statuses_with_series) - len(milestones)
        return RenderedProgramme(result.revision, day, requested, allocated, milestones, metrics, lines, dropped, {})

    def _allocate(self, changed: Mapping[str, SeriesBudget]) -> dict[str, SeriesBudget]:
        """Return the budget of each programme, some of which request other numbers than before."""
        requested = {name: rendered.requested for name, rendered in self._rendered.copy().items()}
        return allocate_series(requested | dict(changed), self.max_series)

    def put(self, programme: str, rendered: RenderedProgramme) -> None:
        """Expose a programme."""
        self._rendered[programme] = rendered

    def retain(self, is_wanted: Callable[[str], bool]) -> None:
        """Drop every programme that is not wanted."""
        for name in [name for name in self._rendered if not is_wanted(name)]:
            del self._rendered[name]

    def outdated_programmes(self, revisions: Mapping[str, int], today: date) -> list[str]:
        """Return the programmes that are not rendered as of their revision and this day, or not with their budget."""
        budgets = self._allocate({})
        actual = {name: (item.revision, item.day, item.allocated) for name, item in self._rendered.items()}
        return [
            name
            for name, revision in sorted(revisions.items())
            if actual.get(name) != (revision, today, budgets.get(name))
        ]

    @property
    def programme_names(self) -> frozenset[str]:
        """The programmes that are exposed."""
        return frozenset(self._rendered)

    @property
    def dropped_milestones(self) -> int:
        """How many milestones the limit left out."""
        return sum(rendered.dropped_milestones for rendered in self._rendered.values())

    def iter_families(self) -> Iterator[bytes]:
        """Return a snapshot of the exposition, a family at a time.

        The lines of a programme that changed since the last scrape are joined on iteration, which may be in another
        thread.
        """
        return _iter_families(list(self._rendered.values()))


def _iter_families(programmes: list[RenderedProgramme]) -> Iterator[bytes]:
    for index, family in enumerate(MILESTONE_FAMILIES):
        yield _family_text(family, (programme.family_bytes(index) for programme in programmes))
    for index, programme_family in enumerate(PROGRAMME_FAMILIES):
        yield _family_text(programme_family, (programme.programme_lines[index] for programme in programmes))


def _family_text(family: Family[Any, Any], chunks: Iterable[bytes]) -> bytes:
    header = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n".encode()
    return b"".join((header, *chunks))
