"""Drawing programmes: their forecasts in SQL, and a history row for each that an event moved.

A programme is read at one moment, drawn without any lock, and written in a short transaction that begins by moving its
row of `pictures` from what was read to what was done. Whoever finds that row moved by somebody else writes nothing and
begins again; so a worker that lost a programme without knowing it does no harm, and recording never waits for drawing.

What was drawn last is kept in memory, so that the next drawing reads only what was written since. Without it (after a
start, a rebalance) everything is read, and where events came since the last drawing, what stood before them is folded
again from the ledger.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine

from models.database.claims import NEVER_READ, Recalled, recall
from models.database.engine import reading, writing
from models.database.forecasts import (
    Drawing,
    Mark,
    Move,
    Moved,
    Stored,
    cause_of,
    move_marks,
    note,
    read_known,
    read_stored,
    write_forecasts,
)
from models.database.ledger import Strike, read_correlations, read_strikes, read_subject_events
from models.domain.claims import Facts, MilestoneKey, fold
from models.domain.forecast_changes import Movements, movements
from models.domain.schedule import Picture, picture
from models.domain.timestamps import Stamp
from models.failpoints import failpoint

#: How many milestones and dependencies are kept in memory, at most; a thousand are about a megabyte.
KEPT: Final = 50_000


class Drawn(NamedTuple):
    """A programme as it was drawn."""

    programme: str
    revision: int
    facts: Facts
    picture: Picture
    #: Whether its history has changes that are not published.
    is_untold: bool
    #: What moved since it was drawn before, although no event moved it: its rows were changed past the events.
    unexplained: Sequence[MilestoneKey] = ()

    @property
    def size(self) -> int:
        """How many milestones and dependencies it has."""
        return len(self.facts.milestones) + len(self.facts.dependencies)


@dataclass(slots=True)
class _Pass:
    """One programme in the course of being drawn."""

    programme: str
    revision: int
    mark: Mark | None
    #: What was drawn last, when that is what the database holds.
    last: Drawn | None
    after: Facts
    before: Facts
    taken_back: Mapping[Stamp, Stamp]
    #: What the database holds, when that is not known already.
    stored: Mapping[tuple[str, ...], Stored]

    @property
    def is_behind(self) -> bool:
        """Whether events came since the last drawing."""
        return self.mark is None or self.mark.revision < self.revision

    @property
    def noted(self) -> int:
        """How many rows its history has already."""
        return 0 if self.mark is None else self.mark.history

    def is_as_marked(self, day: date) -> bool:
        """Return whether the database holds this drawing already; a mark may be ahead where rows were made anew."""
        return self.mark is not None and (self.mark.revision, self.mark.day) == (self.revision, day)


class Forecasts:
    """Draws programmes, and remembers those it drew."""

    def __init__(self, engine: Engine, kept: int = KEPT) -> None:
        self._engine, self._kept = engine, kept
        self._drawn: OrderedDict[str, Drawn] = OrderedDict()

    def draw(self, names: Sequence[str], day: date, now_ms: int) -> list[Drawn]:
        """Draw programmes for a day, and write what differs; programmes that no event names are left out.

        Raises `RacedError` when somebody else drew one of them meanwhile, and what the database raises.
        """
        try:
            with reading(self._engine) as connection:
                passes = self._look(connection, sorted(set(names)))
            done = [self._draw(one, day) for one in passes]
            self._write(done, day, now_ms)
        except BaseException:
            # What is remembered may not be what the database holds.
            for name in names:
                self._drawn.pop(name, None)
            raise
        return [self._keep(one, now, moved) for one, now, moved in done]

    def forget(self, wanted: Callable[[str], bool]) -> None:
        """Let go of every programme that is not wanted."""
        for name in [name for name in self._drawn if not wanted(name)]:
            del self._drawn[name]

    def _look(self, connection: Connection, names: Sequence[str]) -> list[_Pass]:
        """Read what is needed of each programme, all of one moment."""
        known = read_known(connection, names)
        revisions = {name: its.revision for name, its in known.items()}
        marks = {name: its.mark for name, its in known.items() if its.mark is not None}
        last = {
            name: drawn
            for name, revision in revisions.items()
            if (drawn := self._as_stored(name, marks.get(name))) is not None and drawn.revision <= revision
        }
        since = {
            name: last[name].revision if name in last else NEVER_READ
            for name, revision in revisions.items()
            if name not in last or last[name].revision < revision
        }
        recalled = recall(connection, since)
        facts = recalled.facts.split(since)
        marked = {name: mark.revision for name in since if (mark := marks.get(name)) is not None}
        strikes = read_strikes(connection, {name: then for name, then in marked.items() if then < revisions[name]})
        passes = []
        for name, revision in sorted(revisions.items()):
            its = [strike for strike in strikes if strike.programme == name]
            taken_back = {strike.struck: strike.by for strike in its}
            drawn, mark = last.get(name), marks.get(name)
            if drawn is not None:
                gone = {(name, strike.project) for strike in its}
                after = drawn.facts.replaced(facts[name], gone) if name in since else drawn.facts
                passes.append(_Pass(name, revision, mark, drawn, after, drawn.facts, taken_back, {}))
                continue
            one = _Pass(name, revision, mark, None, facts[name], Facts(), taken_back, {})
            if mark is not None:
                one.stored = read_stored(connection, name)
                one.before = _fold_before(connection, one, recalled, its) if one.is_behind else one.after
            passes.append(one)
        return passes

    def _as_stored(self, name: str, mark: Mark | None) -> Drawn | None:
        """Return what is remembered of a programme, when that is what the database holds."""
        drawn = self._drawn.get(name)
        if drawn is None or mark is None or (drawn.revision, drawn.picture.day) != (mark.revision, mark.day):
            return None
        return drawn

    def _draw(self, one: _Pass, day: date) -> tuple[_Pass, Picture, Movements]:
        last = None if one.last is None else one.last.picture
        now = picture(one.after, day, last)
        if not one.is_behind:
            return one, now, Movements([], [])
        # Both for the same day: what moved because another day has come is no event's doing.
        then = last if last is not None and last.day == day else picture(one.before, day, last)
        return one, now, movements((one.before, then), (one.after, now), one.taken_back)

    def _write(self, done: Sequence[tuple[_Pass, Picture, Movements]], day: date, now_ms: int) -> None:
        done = [(one, now, moved) for one, now, moved in done if not one.is_as_marked(day)]
        if not done:
            return
        moves = [
            Move(one.programme, one.mark, Mark(one.revision, day, one.noted + len(moved.explained), 0))
            for one, _, moved in done
        ]
        drawings = [Drawing(one.programme, one.last.picture if one.last else one.stored, now) for one, now, _ in done]
        history = [
            Moved(one.noted + number, one.revision, movement)
            for one, _, moved in done
            for number, movement in enumerate(moved.explained, start=1)
        ]
        names = sorted({cause_of(movement) for _, _, movement in history})
        with writing(self._engine) as connection:
            move_marks(connection, moves)
            write_forecasts(connection, drawings)
            note(connection, history, read_correlations(connection, names) if names else {}, now_ms)
            failpoint("before-forecast-commit")
        failpoint("after-forecast-commit")

    def _keep(self, one: _Pass, now: Picture, moved: Movements) -> Drawn:
        """Remember what was drawn, and let go of what was drawn longest ago when that is too much."""
        published = 0 if one.mark is None else one.mark.published
        is_untold = one.noted + len(moved.explained) > published
        drawn = Drawn(one.programme, one.revision, one.after, now, is_untold, moved.unexplained)
        self._drawn[one.programme] = drawn
        self._drawn.move_to_end(one.programme)
        size = sum(drawn.size for drawn in self._drawn.values())
        while size > self._kept:
            size -= self._drawn.popitem(last=False)[1].size
        return drawn


def _fold_before(connection: Connection, one: _Pass, recalled: Recalled, strikes: Sequence[Strike]) -> Facts:
    """Return the facts as they stood at the last drawing."""
    assert one.mark is not None  # noqa: S101 - narrows for mypy: without one there is no before
    then = one.mark.revision
    touched = {strike.project for strike in strikes} | {
        project
        for (programme, project), revision in recalled.revisions.items()
        if programme == one.programme and revision > then
    }
    events = read_subject_events(connection, one.programme, sorted(touched), until=then)
    return one.after.replaced(fold(events), {(one.programme, project) for project in touched})
