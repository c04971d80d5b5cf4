"""Which milestones are shown: none that was closed long ago, and no more than a worker may show series.

Where there is no room for all, gates come first (something open waits for them), then what else is open, then the rest:
over all programmes of the worker, so that none is left out for being drawn late.
"""
# The rendered programmes of one worker, ready to be scraped, and which of them are out of date.

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
    """Numbers of series, by rank: what a programme would have, or may have."""

    gates: int = 0
    others: int = 0
    closed: int = 0


def budget_rank(status: MilestoneStatus) -> int:
    """Return the place in `SeriesBudget` that a milestone belongs to."""
    if status.dependents:
        return 0
    return 1 if status.is_open else 2


def visible_milestones(
    statuses: Sequence[MilestoneStatus], facts: Facts, today: date, keep_days: int
) -> list[MilestoneStatus]:
    """Return the milestones that are open, or closed no longer than so many days."""
    oldest = today - timedelta(days=min(keep_days, today.toordinal() - 1))
    return [standing for standing in statuses if standing.is_open or _closed_on(standing, facts) >= oldest]


def _closed_on(status: MilestoneStatus, facts: Facts) -> date:
    """Return when a milestone was achieved or cancelled, or last spoken of."""
    project = facts.projects.get(ProjectKey(status.programme, status.project))
    said: list[Stamp | None] = [status.last_claim_stamp, project.withdrawn if project is not None else None]
    days = [day_of(parse_stamp(stamp).instant) for stamp in said if stamp is not None]
    return max([*days, status.actual or date.min])


def allocate_series(requested: Mapping[str, SeriesBudget], limit: int) -> dict[str, SeriesBudget]:
    """Return how many series of each rank every programme may have, so that all together have no more than `limit`."""
    if sum(map(sum, requested.values())) <= limit:
        return dict(requested)
    allotted: dict[str, list[int]] = {name: [] for name in requested}
    for place in range(len(SeriesBudget._fields)):
        for name in sorted(requested):
            given = min(requested[name][place], limit)
            allotted[name].append(given)
            limit -= given
    return {name: SeriesBudget(*given) for name, given in allotted.items()}


def within_budget(
    statuses_with_series: Sequence[tuple[MilestoneStatus, int]], budget: SeriesBudget
) -> Iterator[MilestoneStatus]:
    """Return the milestones, each with its number of series, that fit into a room."""
    left = list(budget)
    for standing, series in statuses_with_series:
        place = budget_rank(standing)
        if series <= left[place]:
            left[place] -= series
            yield standing
        else:
            # None behind it takes its place: which are shown must not depend on how many series the others have.
            left[place] = 0


class RenderedProgramme(NamedTuple):
    """A programme as it is shown."""

    revision: int
    day: date
    #: What it would need to be shown whole, and what it was given.
    requested: SeriesBudget
    allocated: SeriesBudget
    milestones: Mapping[tuple[str, ...], RenderedMilestone]
    programme_metrics: ProgrammeMetrics
    #: Of the whole, of each family, in the order of `PROGRAMME_FAMILIES`.
    programme_lines: tuple[bytes, ...]
    #: How many milestones there was no room for.
    dropped_milestones: int
    #: The milestones' lines of each family in one piece, once they were asked for.
    family_cache: dict[int, bytes]

    def family_bytes(self, family_index: int) -> bytes:
        """Return the milestones' lines of one family, by its place in `MILESTONE_FAMILIES`."""
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

    #: How many milestone series may stand here, at most.
    max_series: int
    #: How long a milestone stays after it was achieved or cancelled.
    keep_days: int
    _rendered: dict[str, RenderedProgramme] = field(default_factory=dict)

    def render(self, result: ForecastResult) -> RenderedProgramme:
        """Return a programme as it is to be shown; what did not change since it was shown last is not rendered again.

        It only looks at what stands here, so that it may run in another thread.
        """
        before = self._rendered.get(result.programme, _NOT_RENDERED)
        day = result.schedule.data_date
        sized = []
        wanted = [0] * len(SeriesBudget._fields)
        for standing in visible_milestones(result.schedule.statuses, result.facts, day, self.keep_days):
            known = before.milestones.get(standing[:3])
            series = known.series_count if known is not None and known.status is standing else count_series(standing)
            sized.append((standing, series))
            wanted[budget_rank(standing)] += series
        room = self._allocate({result.programme: SeriesBudget(*wanted)})[result.programme]
        milestones: dict[tuple[str, ...], RenderedMilestone] = {}
        for standing in within_budget(sized, room):
            known = before.milestones.get(standing[:3])
            if known is None or known.status is not standing:
                known = render_milestone(standing)
            milestones[standing[:3]] = known
        its = collect_programme_metrics(result.programme, result.facts, result.schedule)
        lines = before.programme_lines if its == before.programme_metrics else render_programme_metrics(its)
        left_out = len(sized) - len(milestones)
        return RenderedProgramme(
            result.revision, day, SeriesBudget(*wanted), room, milestones, its, lines, left_out, {}
        )

    def _allocate(self, requested: Mapping[str, SeriesBudget]) -> dict[str, SeriesBudget]:
        """Return the room of each programme, some of which want other room than they did."""
        all_wanted = {name: shown.requested for name, shown in self._rendered.copy().items()}
        return allocate_series(all_wanted | dict(requested), self.max_series)

    def put(self, programme: str, rendered: RenderedProgramme) -> None:
        """Show a programme."""
        self._rendered[programme] = rendered

    def retain(self, is_wanted: Callable[[str], bool]) -> None:
        """Take down every programme that is not wanted."""
        for name in [name for name in self._rendered if not is_wanted(name)]:
            del self._rendered[name]

    def outdated_programmes(self, revisions: Mapping[str, int], today: date) -> list[str]:
        """Return the programmes that are not shown as of their revision and this day, or not in the room they have."""
        rooms = self._allocate({})
        now = {name: (shown.revision, shown.day, shown.allocated) for name, shown in self._rendered.items()}
        return [
            name for name, revision in sorted(revisions.items()) if now.get(name) != (revision, today, rooms.get(name))
        ]

    @property
    def programme_names(self) -> frozenset[str]:
        """The programmes that are shown."""
        return frozenset(self._rendered)

    @property
    def dropped_milestones(self) -> int:
        """How many milestones there was no room for."""
        return sum(shown.dropped_milestones for shown in self._rendered.values())

    def iter_families(self) -> Iterator[bytes]:
        """Return the whole exposition of this moment, a family at a time.

        What changed since it was asked for last is put together as the pages are read; that may be in another thread.
        """
        return _iter_families(list(self._rendered.values()))


def _iter_families(rendered: list[RenderedProgramme]) -> Iterator[bytes]:
    for place, family in enumerate(MILESTONE_FAMILIES):
        yield _family_text(family, (one.family_bytes(place) for one in rendered))
    for place, other in enumerate(PROGRAMME_FAMILIES):
        yield _family_text(other, (one.programme_lines[place] for one in rendered))


def _family_text(family: Family[Any], chunks: Iterable[bytes]) -> bytes:
    header = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n".encode()
    return b"".join((header, *chunks))
