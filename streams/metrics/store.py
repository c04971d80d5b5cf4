"""The rendered series of a worker's programmes, as in kube-state-metrics' metrics_store: a scrape joins bytes.

A worker has no more series than its limit (`streams.metrics.series_share`). What nobody's share takes is kept by who
was exposed first, and the number of programmes is limited: a crowd of newcomers takes nothing from what is shown but
what their shares need.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Final, NamedTuple, cast

from models.database.projector import ForecastResult
from models.database.slip_causes import SlipCause
from models.domain.claims import MilestoneKey, ProgrammeClaims
from models.domain.impact import NO_IMPACT, measure_impacts
from streams.metrics.exposition import Family
from streams.metrics.milestone_chunk import MilestoneChunk, render_chunks
from streams.metrics.milestones import MILESTONE_FAMILIES, MilestoneMetrics, collect_milestone_metrics
from streams.metrics.programmes import (
    PROGRAMME_FAMILIES,
    ProgrammeMetrics,
    RegisteredProject,
    collect_programme_metrics,
    render_programme_metrics,
)
from streams.metrics.series_share import (
    Selection,
    fair_share,
    round_share,
    select_series,
    visible_milestones,
)

#: A worker exposes one programme for each so many series of its limit, in the order in which they came: shares of fewer
#: series would hold no milestone, and a crowd of newcomers would leave nothing of anybody.
SERIES_PER_PROGRAMME: Final = 40
#: The part of the limit that is freed when something has to be cut, so that not every newcomer needs a cut.
_HEADROOM_DIVISOR: Final = 64


_NO_LINES: Final = (b"",) * len(PROGRAMME_FAMILIES)
_NO_CLAIMS: Final = ProgrammeClaims()


class RenderedProgramme(NamedTuple):
    """The series of a programme."""

    revision: int
    day: date
    #: How many series it has, and how many of them it exposes.
    requested: int
    exposed: int
    #: The share at which it would expose more; none if nothing is left out.
    next_share: int | None
    chunks: Sequence[MilestoneChunk]
    programme_metrics: ProgrammeMetrics
    #: The programme's own lines, of each family in the order of `PROGRAMME_FAMILIES`.
    programme_lines: tuple[bytes, ...]
    #: The projects that it exposes.
    projects: Sequence[RegisteredProject]
    #: Whether it is among the programmes of which there may be series.
    is_admitted: bool = True

    @property
    def name(self) -> str:
        """The programme's name."""
        return self.programme_metrics.name

    @property
    def milestones(self) -> dict[tuple[str, ...], MilestoneMetrics]:
        """The milestones that it exposes, in the order of their keys."""
        # Not stored: keys and table take 200 bytes for each milestone.
        return dict(sorted(self.iter_milestones()))

    def iter_milestones(self) -> Iterator[tuple[tuple[str, ...], MilestoneMetrics]]:
        """Yield the milestones that it exposes with their keys, in any order."""
        return ((metrics.status[:3], metrics) for chunk in self.chunks for metrics in chunk.milestones)

    def family_bytes(self, family_index: int) -> bytes:
        """Return the milestones' lines of a family, given its index in `MILESTONE_FAMILIES`."""
        return b"".join([chunk.family_lines(family_index) for chunk in self.chunks])

    def cut(self, share: int) -> "RenderedProgramme":
        """Return no more of the series than a share."""
        selection = select_series(self.programme_metrics, [*self.milestones.values()], share)
        return self._replace(
            exposed=selection.exposed,
            next_share=selection.next_share,
            chunks=render_chunks(selection.milestones, self.chunks),
            programme_lines=_programme_lines(self.programme_metrics, selection),
            projects=selection.projects,
        )

    def leave_out(self) -> "RenderedProgramme":
        """Return nothing of it but its version and size: there may be very many."""
        metrics = ProgrammeMetrics(self.name, _NO_CLAIMS, (), 0)
        return RenderedProgramme(
            self.revision,
            self.day,
            self.requested,
            0,
            None,
            (),
            metrics,
            _NO_LINES,
            (),
            is_admitted=False,
        )


def _programme_lines(metrics: ProgrammeMetrics, selection: Selection) -> tuple[bytes, ...]:
    if not selection.exposed:
        return _NO_LINES
    return render_programme_metrics(metrics, selection.projects)


_NOT_RENDERED: Final = RenderedProgramme(
    -1, date.min, 0, 0, None, (), ProgrammeMetrics("", ProgrammeClaims(), (), 0), (), ()
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

    def render(
        self, result: ForecastResult, causes: Mapping[MilestoneKey, SlipCause] = MappingProxyType({})
    ) -> RenderedProgramme:
        """Return the series of a programme; what changed since it was rendered last is rendered by the next scrape.

        Takes the causes of those that slip.

        It only reads the store, so that it may run in another thread.
        """
        previous = self._rendered.get(result.programme, _NOT_RENDERED)
        day = result.schedule.data_date
        impacts, candidates = measure_impacts(result.schedule.statuses, result.facts.projects), []
        rendered = dict(previous.iter_milestones())
        for status in visible_milestones(result.schedule.statuses, result.facts, day, self.keep_days):
            # Equal to `status.key`, and made in a third of the time.
            key = cast("MilestoneKey", status[:3])
            cached, cause, impact = rendered.get(key), causes.get(key), impacts.get(key, NO_IMPACT)
            if cached is None or cached[:3] != (status, cause, impact):
                cached = collect_milestone_metrics(status, cause, impact)
            candidates.append(cached)
        metrics = collect_programme_metrics(result.programme, result.facts, result.schedule)
        free = self.max_series - self._exposed_total
        selection = select_series(metrics, candidates, max(self._share, previous.exposed + free))
        is_same = (metrics, selection.projects) == (previous.programme_metrics, previous.projects)
        lines = previous.programme_lines if is_same else _programme_lines(metrics, selection)
        return RenderedProgramme(
            result.revision,
            day,
            selection.requested,
            selection.exposed,
            selection.next_share,
            render_chunks(selection.milestones, previous.chunks),
            metrics,
            lines,
            selection.projects,
        )

    def fit(self, arriving: Sequence[RenderedProgramme]) -> list[RenderedProgramme]:
        """Return what to put so that all fit: some programmes that were rendered, and those that are cut for them.

        Newcomers beyond the limit of programmes are left out. Programmes above the fair share are cut to it, the latest
        first. It only reads the store, so that it may run in another thread.
        """
        changed, replaced = self._admit(arriving), list[RenderedProgramme]()
        for name in changed:
            if (old := self._rendered.get(name)) is not None and old.is_admitted:
                replaced.append(old)
        total = self._exposed_total
        total += sum(item.exposed for item in changed.values()) - sum(item.exposed for item in replaced)
        if total <= self.max_series:
            return list(changed.values())
        requests = self._requests.copy()
        requests.update(item.requested for item in changed.values() if item.is_admitted)
        requests.subtract(item.requested for item in replaced)
        share = round_share(fair_share(+requests, self.max_series))
        exposing = self._exposing.copy()
        above = {name for exposed in exposing if exposed > share for name in exposing[exposed].copy()} - changed.keys()
        above |= {name for name, rendered in changed.items() if rendered.exposed > share}
        names = self._rendered.copy()
        wanted = self.max_series - self.max_series // _HEADROOM_DIVISOR
        for name in reversed([*names, *(name for name in changed if name not in names)]):
            if total <= wanted:
                break
            if name in above:
                rendered = changed.get(name) or names[name]
                changed[name] = rendered.cut(share)
                total -= rendered.exposed - changed[name].exposed
        return list(changed.values())

    def _admit(self, arriving: Iterable[RenderedProgramme]) -> dict[str, RenderedProgramme]:
        """Return programmes by name, those without any series that come when there are as many as there may be."""
        admitted = {}
        left = max(1, self.max_series // SERIES_PER_PROGRAMME) - self._requests.total()
        for rendered in arriving:
            old = self._rendered.get(rendered.name)
            is_new = old is None or not old.is_admitted
            admitted[rendered.name] = rendered.leave_out() if is_new and left <= 0 else rendered
            left -= is_new
        return admitted

    def put(self, *programmes: RenderedProgramme) -> None:
        """Expose programmes that fit."""
        for rendered in programmes:
            self._replace(rendered.name, rendered)
        self._update_share()

    def retain(self, is_wanted: Callable[[str], bool]) -> None:
        """Drop every programme that is not wanted."""
        for name in [name for name in self._rendered if not is_wanted(name)]:
            self._replace(name, None)
        self._update_share()

    def _update_share(self) -> None:
        is_enough = self._requested_total <= self.max_series
        self._share = self.max_series if is_enough else round_share(fair_share(self._requests, self.max_series))

    def _replace(self, name: str, rendered: RenderedProgramme | None) -> None:
        """Put a programme in the place of what there is of it, or nothing."""
        if (old := self._rendered.get(name)) is not None:
            self._requested_total -= old.requested
            if old.is_admitted:
                self._requests[old.requested] -= 1
                if not self._requests[old.requested]:
                    del self._requests[old.requested]
                self._exposing[old.exposed].remove(name)
                if not self._exposing[old.exposed]:
                    del self._exposing[old.exposed]
                self._exposed_total -= old.exposed
        if rendered is None:
            self._rendered.pop(name, None)
            return
        self._rendered[name] = rendered
        self._requested_total += rendered.requested
        if rendered.is_admitted:
            self._requests[rendered.requested] += 1
            self._exposing.setdefault(rendered.exposed, set()).add(name)
            self._exposed_total += rendered.exposed

    def outdated_programmes(self, revisions: Mapping[str, int], today: date) -> list[str]:
        """Return the programmes that are not rendered as of their revision and this day, or that may expose more.

        Those with the most changes come first: after a start, what has long been there comes before a crowd.
        """
        is_full = self._requests.total() >= max(1, self.max_series // SERIES_PER_PROGRAMME)
        return [
            name
            for name, revision in sorted(revisions.items(), key=lambda item: (-item[1], item[0]))
            if (rendered := self._rendered.get(name)) is None
            or (rendered.revision, rendered.day) != (revision, today)
            or (rendered.next_share is not None and rendered.next_share <= self._share)
            or not (rendered.is_admitted or is_full)
        ]

    @property
    def programme_names(self) -> KeysView[str]:
        """The programmes that are rendered now: a view, since there may be very many."""
        return self._rendered.keys()

    @property
    def dropped_series(self) -> int:
        """How many series the limit left out."""
        return self._requested_total - self._exposed_total

    def iter_families(self) -> Iterator[bytes]:
        """Return a snapshot of the exposition, a family at a time.

        The lines of a programme that changed since the last scrape are joined on iteration, which may be in another
        thread.
        """
        return _iter_families([programme for programme in self._rendered.values() if programme.exposed])


def _iter_families(programmes: list[RenderedProgramme]) -> Iterator[bytes]:
    for index, family in enumerate(MILESTONE_FAMILIES):
        yield _family_text(family, (programme.family_bytes(index) for programme in programmes))
    for index, programme_family in enumerate(PROGRAMME_FAMILIES):
        yield _family_text(programme_family, (programme.programme_lines[index] for programme in programmes))


def _family_text(family: Family, chunks: Iterable[bytes]) -> bytes:
    header = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n".encode()
    return b"".join((header, *chunks))
