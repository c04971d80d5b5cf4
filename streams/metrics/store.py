"""Which milestones are shown: none that was closed long ago, and no more than a worker may show series.

Where there is no room for all, gates come first (something open waits for them), then what else is open, then the rest:
over all programmes of the worker, so that none is left out for being drawn late.
"""
# The rendered programmes of one worker, ready to be scraped, and which of them are out of date.

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from models.database.projector import Drawn
from models.domain.claims import Facts, Programme, ProjectKey
from models.domain.schedule import Standing
from models.domain.timestamps import Stamp, day_of, read_stamp
from streams.metrics.milestones import (
    MILESTONE_FAMILIES,
    WHOLE_FAMILIES,
    Family,
    Lines,
    Whole,
    count_series,
    render_milestone,
    render_whole,
    whole,
)


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


class Shown(NamedTuple):
    """A programme as it is shown."""

    revision: int
    day: date
    #: What it would need to be shown whole, and what it was given.
    wanted: Room
    room: Room
    milestones: Mapping[tuple[str, ...], Lines]
    whole: Whole
    #: Of the whole, of each family, in the order of `WHOLE_FAMILIES`.
    lines: tuple[bytes, ...]
    #: How many milestones there was no room for.
    left_out: int
    #: The milestones' lines of each family in one piece, once they were asked for.
    pieces: dict[int, bytes]

    def piece(self, place: int) -> bytes:
        """Return the milestones' lines of one family, by its place in `MILESTONE_FAMILIES`."""
        if place not in self.pieces:
            self.pieces[place] = b"".join(lines.lines[place] for lines in self.milestones.values())
        return self.pieces[place]


_NOT_SHOWN: Final = Shown(-1, date.min, Room(), Room(), {}, Whole("", Programme(), (), 0), (), 0, {})


@dataclass(slots=True)
class Shelf:
    """The rendered programmes of one worker."""

    #: How many milestone series may stand here, at most.
    max_series: int
    #: How long a milestone stays after it was achieved or cancelled.
    keep_days: int
    _shown: dict[str, Shown] = field(default_factory=dict)

    def render(self, drawn: Drawn) -> Shown:
        """Return a programme as it is to be shown; what did not change since it was shown last is not rendered again.

        It only looks at what stands here, so that it may run in another thread.
        """
        before = self._shown.get(drawn.programme, _NOT_SHOWN)
        day = drawn.picture.day
        sized = []
        wanted = [0] * len(Room._fields)
        for standing in lasting(drawn.picture.standings, drawn.facts, day, self.keep_days):
            known = before.milestones.get(standing[:3])
            series = known.series if known is not None and known.standing is standing else count_series(standing)
            sized.append((standing, series))
            wanted[rank(standing)] += series
        room = self._rooms({drawn.programme: Room(*wanted)})[drawn.programme]
        milestones: dict[tuple[str, ...], Lines] = {}
        for standing in fitting(sized, room):
            known = before.milestones.get(standing[:3])
            if known is None or known.standing is not standing:
                known = render_milestone(standing)
            milestones[standing[:3]] = known
        its = whole(drawn.programme, drawn.facts, drawn.picture)
        lines = before.lines if its == before.whole else render_whole(its)
        left_out = len(sized) - len(milestones)
        return Shown(drawn.revision, day, Room(*wanted), room, milestones, its, lines, left_out, {})

    def _rooms(self, wanted: Mapping[str, Room]) -> dict[str, Room]:
        """Return the room of each programme, some of which want other room than they did."""
        all_wanted = {name: shown.wanted for name, shown in self._shown.copy().items()}
        return allot(all_wanted | dict(wanted), self.max_series)

    def put(self, name: str, shown: Shown) -> None:
        """Show a programme."""
        self._shown[name] = shown

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Take down every programme that is not wanted."""
        for name in [name for name in self._shown if not wanted(name)]:
            del self._shown[name]

    def behind(self, revisions: Mapping[str, int], day: date) -> list[str]:
        """Return the programmes that are not shown as of their revision and this day, or not in the room they have."""
        rooms = self._rooms({})
        now = {name: (shown.revision, shown.day, shown.room) for name, shown in self._shown.items()}
        return [
            name for name, revision in sorted(revisions.items()) if now.get(name) != (revision, day, rooms.get(name))
        ]

    @property
    def names(self) -> frozenset[str]:
        """The programmes that are shown."""
        return frozenset(self._shown)

    @property
    def left_out(self) -> int:
        """How many milestones there was no room for."""
        return sum(shown.left_out for shown in self._shown.values())

    def pages(self) -> Iterator[bytes]:
        """Return the whole exposition of this moment, a family at a time.

        What changed since it was asked for last is put together as the pages are read; that may be in another thread.
        """
        return _pages(list(self._shown.values()))


def _pages(shown: list[Shown]) -> Iterator[bytes]:
    for place, family in enumerate(MILESTONE_FAMILIES):
        yield _page(family, (one.piece(place) for one in shown))
    for place, other in enumerate(WHOLE_FAMILIES):
        yield _page(other, (one.lines[place] for one in shown))


def _page(family: Family[Any], lines: Iterable[bytes]) -> bytes:
    header = f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n".encode()
    return b"".join((header, *lines))
