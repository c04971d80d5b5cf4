"""Which series are exposed when not all fit: max-min fairness between programmes, and an order within each.

Milestones that were closed long ago have no series. Where not all others fit, every programme has the same share,
whatever its name or size, and what small programmes leave of theirs goes to the others. Within a programme its own
series come first, then gates (something open waits for them), other open milestones, closed ones, each with its
project, and last the projects without any.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple

from models.domain.claims import Facts, ProjectKey
from models.domain.schedule import MilestoneStatus
from models.domain.timestamps import Stamp, day_of, parse_stamp
from streams.metrics.milestones import MilestoneMetrics
from streams.metrics.programmes import (
    ProgrammeMetrics,
    RegisteredProject,
    count_programme_series,
    count_project_series,
)

#: Smaller shares are exact: programmes that small are cheap to cut.
_MIN_ROUNDED_SHARE: Final = 1024


def _series_rank(milestone: MilestoneMetrics) -> int:
    """Return in which order milestones get a programme's share: gates, others, closed ones."""
    status = milestone.status
    if status.dependents:
        return 0
    return 1 if status.is_open else 2


def visible_milestones(
    statuses: Sequence[MilestoneStatus], facts: Facts, today: date, keep_days: int
) -> list[MilestoneStatus]:
    """Return the milestones that are open, or were closed no more than `keep_days` ago."""
    oldest = today - timedelta(days=min(keep_days, today.toordinal() - 1))
    return [
        status
        for status in statuses
        # The comparison with the actual date spares most others the parsing of their stamps.
        if status.is_open or (status.actual or date.min) >= oldest or _closed_on(status, facts) >= oldest
    ]


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


def round_share(share: int) -> int:
    """Round a share down to five significant bits: a large programme is not cut again for each newcomer."""
    return share >> (excess := max(0, share.bit_length() - 5)) << excess if share >= _MIN_ROUNDED_SHARE else share


class Selection(NamedTuple):
    """What a programme exposes of what it requests."""

    milestones: list[MilestoneMetrics]
    projects: list[RegisteredProject]
    #: How many series the programme has, and how many of them it exposes.
    requested: int
    exposed: int
    #: The share at which more would fit; none if nothing is left out.
    next_share: int | None


def select_series(metrics: ProgrammeMetrics, milestones: Sequence[MilestoneMetrics], share: int) -> Selection:
    """Return what fits into a share, the milestones in the order in which they are given.

    Nothing smaller takes the place of the first that does not fit: what is exposed must not depend on sizes.
    """
    requested = (
        count_programme_series(metrics)
        + sum([milestone.series_count for milestone in milestones])
        + sum([count_project_series(claims) for _, claims in metrics.projects])
    )
    if requested <= share:
        return Selection([*milestones], [*metrics.projects], requested, requested, None)
    selection = _select_ranked(metrics, sorted(milestones, key=_series_rank), share)._replace(requested=requested)
    selected = set(map(id, selection.milestones))
    return selection._replace(milestones=[item for item in milestones if id(item) in selected])


def _select_ranked(metrics: ProgrammeMetrics, milestones: Sequence[MilestoneMetrics], share: int) -> Selection:
    selection = Selection([], [], 0, 0, None)
    exposed = count_programme_series(metrics)
    if exposed > share:
        return selection._replace(next_share=exposed)
    projects = {key: (key, claims) for key, claims in metrics.projects}
    for milestone in milestones:
        project = projects.get(ProjectKey(*milestone.status[:2]))
        total = exposed + milestone.series_count + (count_project_series(project[1]) if project else 0)
        if total > share:
            return selection._replace(exposed=exposed, next_share=total)
        exposed = total
        selection.milestones.append(milestone)
        if project:
            selection.projects.append(projects.pop(project[0]))
    for project in projects.values():
        total = exposed + count_project_series(project[1])
        if total > share:
            return selection._replace(exposed=exposed, next_share=total)
        exposed = total
        selection.projects.append(project)
    return selection._replace(exposed=exposed)
