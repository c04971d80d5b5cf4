"""The rendered series of a worker's programmes, as in kube-state-metrics' metrics_store: a scrape joins bytes.

Milestones that were closed long ago have no series, and a worker has no more series than its limit. Where not all fit,
every programme has the same share, whatever its name or size, and what small programmes leave of theirs goes to the
others (max-min fairness). Within a programme its own series come first, then gates (something open waits for them),
other open milestones, closed ones, each with its project, and last the projects without any.
"""

from collections import Counter
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
    RegisteredProject,
    RenderedMilestone,
    collect_programme_metrics,
    count_programme_series,
    count_project_series,
    count_series,
    render_milestone,
    render_programme_metrics,
)


def series_rank(status: MilestoneStatus) -> int:
    """Return in which order milestones get a programme's share: gates, others, closed ones."""
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


def fair_share(counts: Mapping[int, int], limit: int) -> int:
    """Return the largest share with which all programmes, each cut to that share, have no more series than `limit`.

    `counts` says how many programmes request a number of series. Where all fit, the share is `limit` itself.
    """
    remaining, programmes = limit, sum(counts.values())
    for requested in sorted(counts):
        if requested * programmes > remaining:
            return remaining // programmes
        remaining -= requested * counts[requested]
        programmes -= counts[requested]
    return limit


class _Selection(NamedTuple):
    """What a programme exposes of what it requests."""

    milestones: list[MilestoneStatus]
    projects: list[RegisteredProject]
    exposed: int
    #: The share at which more would fit; none if nothing is left out.
    next_share: int | None


def select_series(
    metrics: ProgrammeMetrics, milestones: Sequence[tuple[MilestoneStatus, int]], share: int
) -> _Selection:
    """Return what fits into a share, given the milestones by rank with their numbers of series.

    Nothing smaller takes the place of the first that does not fit: what is exposed must not depend on sizes.
    """
    selection = _Selection([], [], 0, None)
    exposed = count_programme_series(metrics)
    if exposed > share:
        return selection._replace(next_share=exposed)
    projects = {key: (key, claims) for key, claims in metrics.projects}
    for status, series in milestones:
        project = projects.get(ProjectKey(status.programme, status.project))
        total = exposed + series + (count_project_series(project[1]) if project else 0)
        if total > share:
            return selection._replace(exposed=exposed, next_share=total)
        exposed = total
        selection.milestones.append(status)
        if project:
            selection.projects.append(projects.pop(project[0]))
    for project in projects.values():
        total = exposed + count_project_series(project[1])
        if total > share:
            return selection._replace(exposed=exposed, next_share=total)
        exposed = total
        selection.projects.append(project)
    return selection._replace(exposed=exposed)


class RenderedProgramme(NamedTuple):
    """The series of a programme."""

    revision: int
    day: date
    #: How many series it has, and how many of them it exposes.
    requested: int
    exposed: int
    #: The share at which it would expose more; none if nothing is left out.
    next_share: int | None
    milestones: Mapping[tuple[str, ...], RenderedMilestone]
    programme_metrics: ProgrammeMetrics
    #: The programme's own lines, of each family in the order of `PROGRAMME_FAMILIES`.
    programme_lines: tuple[bytes, ...]
    #: The projects that it exposes.
    projects: Sequence[RegisteredProject]
    #: The milestones' lines of each family, joined when first scraped.
    family_cache: dict[int, bytes]

    def family_bytes(self, family_index: int) -> bytes:
        """Return the milestones' lines of a family, given its index in `MILESTONE_FAMILIES`."""
        if family_index not in self.family_cache:
            self.family_cache[family_index] = b"".join(
                lines.family_lines[family_index] for lines in self.milestones.values()
            )
        return self.family_cache[family_index]

    def cut(self, share: int) -> "RenderedProgramme":
        """Return no more of the series than a share."""
        sizes = [(item.status, item.series_count) for item in self.milestones.values()]
        selection = select_series(self.programme_metrics, sizes, share)
        milestones: dict[tuple[str, ...], RenderedMilestone] = {
            status[:3]: self.milestones[status[:3]] for status in selection.milestones
        }
        return self._replace(
            exposed=selection.exposed,
            next_share=selection.next_share,
            milestones=milestones,
            programme_lines=_programme_lines(self.programme_metrics, selection),
            projects=selection.projects,
            family_cache={},
        )


def _programme_lines(metrics: ProgrammeMetrics, selection: _Selection) -> tuple[bytes, ...]:
    if not selection.exposed:
        return (b"",) * len(PROGRAMME_FAMILIES)
    return render_programme_metrics(metrics, selection.projects)


_NOT_RENDERED: Final = RenderedProgramme(
    -1, date.min, 0, 0, None, {}, ProgrammeMetrics("", ProgrammeClaims(), (), 0), (), (), {}
)


@dataclass(slots=True)
class MetricsStore:
    """The rendered programmes of one worker."""

    #: How many series there may be, of all families.
    max_series: int
    #: For how many days a milestone is exposed after it was closed.
    keep_days: int
    _rendered: dict[str, RenderedProgramme] = field(default_factory=dict)
    #: How many programmes request a number of series, and the names of those that expose a number of them: what a
    #: programme costs here must not depend on how many others there are.
    _requests: Counter[int] = field(default_factory=Counter)
    _exposing: dict[int, set[str]] = field(default_factory=dict)
    _requested_total: int = 0
    _exposed_total: int = 0
    #: The most series that a programme may expose.
    _share: int = field(init=False)

    def __post_init__(self) -> None:
        self._share = self.max_series

    def render(self, result: ForecastResult) -> RenderedProgramme:
        """Return the series of a programme, rendering only the milestones that changed since it was rendered last.

        It only reads the store, so that it may run in another thread.
        """
        previous = self._rendered.get(result.programme, _NOT_RENDERED)
        day = result.schedule.data_date
        sizes = []
        for status in visible_milestones(result.schedule.statuses, result.facts, day, self.keep_days):
            cached = previous.milestones.get(status[:3])
            series = cached.series_count if cached is not None and cached.status is status else count_series(status)
            sizes.append((status, series))
        sizes.sort(key=lambda item: series_rank(item[0]))
        metrics = collect_programme_metrics(result.programme, result.facts, result.schedule)
        selection = select_series(metrics, sizes, self._share)
        milestones: dict[tuple[str, ...], RenderedMilestone] = {}
        for status in selection.milestones:
            cached = previous.milestones.get(status[:3])
            if cached is None or cached.status is not status:
                cached = render_milestone(status)
            milestones[status[:3]] = cached
        is_same = (metrics, selection.projects) == (previous.programme_metrics, previous.projects)
        lines = previous.programme_lines if is_same else _programme_lines(metrics, selection)
        requested = (
            count_programme_series(metrics)
            + sum(series for _, series in sizes)
            + sum(count_project_series(claims) for _, claims in metrics.projects)
        )
        return RenderedProgramme(
            result.revision,
            day,
            requested,
            selection.exposed,
            selection.next_share,
            milestones,
            metrics,
            lines,
            selection.projects,
            {},
        )

    def put(self, *programmes: RenderedProgramme) -> None:
        """Expose programmes. If not all of them fit, those above the fair share are cut to it at once."""
        for rendered in programmes:
            self._replace(rendered.programme_metrics.name, rendered)
        self._share = fair_share(self._requests, self.max_series)
        for exposed in [exposed for exposed in self._exposing if exposed > self._share]:
            for name in [*self._exposing[exposed]]:
                self._replace(name, self._rendered[name].cut(self._share))

    def retain(self, is_wanted: Callable[[str], bool]) -> None:
        """Drop every programme that is not wanted."""
        for name in [name for name in self._rendered if not is_wanted(name)]:
            self._replace(name, None)
        self._share = fair_share(self._requests, self.max_series)

    def _replace(self, name: str, rendered: RenderedProgramme | None) -> None:
        """Put a programme in the place of what there is of it, or nothing."""
        if (old := self._rendered.get(name)) is not None:
            self._requests[old.requested] -= 1
            if not self._requests[old.requested]:
                del self._requests[old.requested]
            self._exposing[old.exposed].remove(name)
            if not self._exposing[old.exposed]:
                del self._exposing[old.exposed]
            self._requested_total -= old.requested
            self._exposed_total -= old.exposed
        if rendered is None:
            self._rendered.pop(name, None)
        else:
            self._rendered[name] = rendered
            self._requests[rendered.requested] += 1
            self._exposing.setdefault(rendered.exposed, set()).add(name)
            self._requested_total += rendered.requested
            self._exposed_total += rendered.exposed

    def outdated_programmes(self, revisions: Mapping[str, int], today: date) -> list[str]:
        """Return the programmes that are not rendered as of their revision and this day, or that may expose more."""
        return [
            name
            for name, revision in sorted(revisions.items())
            if (rendered := self._rendered.get(name)) is None
            or (rendered.revision, rendered.day) != (revision, today)
            or (rendered.next_share is not None and rendered.next_share <= self._share)
        ]

    @property
    def programme_names(self) -> frozenset[str]:
        """The programmes that are exposed."""
        return frozenset(self._rendered)

    @property
    def dropped_series(self) -> int:
        """How many series the limit left out."""
        return self._requested_total - self._exposed_total

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
