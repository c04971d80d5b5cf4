"""Which milestones are shown: none that was closed long ago, and no more than a worker may show series.

Where there is no room for all, gates come first (something open waits for them), then what else is open, then the rest:
over all programmes of the worker, so that none is left out for being drawn late.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from models.instants import Stamp, day_of, read_stamp
from models.milestones import Facts, ProjectKey
from models.schedule import Standing


class Room(NamedTuple):
    """Numbers of series, by rank: what a programme would have, or may have."""

    gates: int = 0
    others: int = 0
    closed: int = 0


def rank(standing: Standing) -> int:
    """Return the place in `Room` that a milestone belongs to."""
    if standing.dependents:
        return 0
    return 1 if standing.is_open else 2


def lasting(standings: Sequence[Standing], facts: Facts, day: date, keep_days: int) -> list[Standing]:
    """Return the milestones that are open, or closed no longer than so many days."""
    oldest = day - timedelta(days=min(keep_days, day.toordinal() - 1))
    return [standing for standing in standings if standing.is_open or _closed(standing, facts) >= oldest]


def _closed(standing: Standing, facts: Facts) -> date:
    """Return when a milestone was achieved or cancelled, or last spoken of."""
    project = facts.projects.get(ProjectKey(standing.programme, standing.project))
    said: list[Stamp | None] = [standing.last, project.withdrawn if project is not None else None]
    days = [day_of(read_stamp(stamp).instant) for stamp in said if stamp is not None]
    return max([*days, standing.actual or date.min])


def allot(wanted: Mapping[str, Room], most: int) -> dict[str, Room]:
    """Return how many series of each rank every programme may have, so that all together have no more than `most`."""
    if sum(map(sum, wanted.values())) <= most:
        return dict(wanted)
    allotted: dict[str, list[int]] = {name: [] for name in wanted}
    for place in range(len(Room._fields)):
        for name in sorted(wanted):
            given = min(wanted[name][place], most)
            allotted[name].append(given)
            most -= given
    return {name: Room(*given) for name, given in allotted.items()}


def fitting(sized: Sequence[tuple[Standing, int]], room: Room) -> Iterator[Standing]:
    """Return the milestones, each with its number of series, that fit into a room."""
    left = list(room)
    for standing, series in sized:
        place = rank(standing)
        if series <= left[place]:
            left[place] -= series
            yield standing
        else:
            # None behind it takes its place: which are shown must not depend on how many series the others have.
            left[place] = 0
