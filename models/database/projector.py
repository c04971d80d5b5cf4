"""Drawing programmes: their forecasts in SQL, and a history row for each that an event moved.

A programme is read at one moment, drawn without any lock, and written in a short transaction that begins by moving its
row of `pictures` from what was read to what was done. Whoever finds that row moved by somebody else writes nothing and
begins again; so a worker that lost a programme without knowing it does no harm, and recording never waits for drawing.

What was drawn last is kept in memory, so that the next drawing reads only what was written since. Without it (after a
start, a rebalance) everything is read, and where events came since the last drawing, what stood before them is folded
again from the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from cachetools import LRUCache
from sqlalchemy import Connection, Engine

from models.database.claims import FROM_START, ChangedFacts, load_changed_since
from models.database.engine import read_transaction, write_transaction
from models.database.forecasts import (
    Checkpoint,
    CheckpointMove,
    ForecastRow,
    ForecastUpdate,
    NumberedChange,
    advance_checkpoints,
    cause_key,
    insert_history,
    read_forecasts,
    read_programme_versions,
    write_forecasts,
)
from models.database.ledger import Retraction, read_correlation_ids, read_retractions, read_subject_events
from models.domain.claims import Facts, MilestoneKey, fold
from models.domain.forecast_changes import ScheduleDiff, diff_schedules
from models.domain.schedule import Schedule, compute_schedule
from models.domain.timestamps import Stamp
from models.failpoints import hit_failpoint

#: How many milestones and dependencies are kept in memory, at most; a thousand are about a megabyte.
DEFAULT_CACHE_SIZE: Final = 50_000


class ForecastResult(NamedTuple):
    """A programme as it was drawn."""

    programme: str
    revision: int
    facts: Facts
    schedule: Schedule
    #: Whether its history has changes that are not published.
    has_unpublished: bool
    #: What moved since it was drawn before, although no event moved it: its rows were changed past the events.
    unexplained: Sequence[MilestoneKey] = ()

    @property
    def size(self) -> int:
        """How many milestones and dependencies it has."""
        return len(self.facts.milestones) + len(self.facts.dependencies)


@dataclass(slots=True)
class _Job:
    """One programme in the course of being drawn."""

    programme: str
    revision: int
    checkpoint: Checkpoint | None
    #: What was drawn last, when that is what the database holds.
    cached: ForecastResult | None
    current_facts: Facts
    previous_facts: Facts
    retracted_by: Mapping[Stamp, Stamp]
    #: What the database holds, when that is not known already.
    stored: Mapping[tuple[str, ...], ForecastRow]

    @property
    def has_new_events(self) -> bool:
        """Whether events came since the last drawing."""
        return self.checkpoint is None or self.checkpoint.revision < self.revision

    @property
    def history_count(self) -> int:
        """How many rows its history has already."""
        return 0 if self.checkpoint is None else self.checkpoint.history_count

    def is_at_checkpoint(self, data_date: date) -> bool:
        """Return whether the database holds this drawing already; a mark may be ahead where rows were made anew."""
        return self.checkpoint is not None and (self.checkpoint.revision, self.checkpoint.data_date) == (
            self.revision,
            data_date,
        )


class Projector:
    """Draws programmes, and remembers those it drew."""

    def __init__(self, engine: Engine, cache_size: int = DEFAULT_CACHE_SIZE) -> None:
        self._engine = engine
        self._cache = LRUCache[str, ForecastResult](cache_size, getsizeof=lambda result: result.size)

    def recalculate(self, names: Sequence[str], data_date: date, now_ms: int) -> list[ForecastResult]:
        """Draw programmes for a day, and write what differs; programmes that no event names are left out.

        Raises `RacedError` when somebody else drew one of them meanwhile, and what the database raises.
        """
        try:
            with read_transaction(self._engine) as connection:
                passes = self._load(connection, sorted(set(names)))
            done = [self._calculate(one, data_date) for one in passes]
            self._write_results(done, data_date, now_ms)
        except BaseException:
            # What is remembered may not be what the database holds.
            for name in names:
                self._cache.pop(name, None)
            raise
        return [self._add_to_cache(one, now, moved) for one, now, moved in done]

    def retain(self, is_wanted: Callable[[str], bool]) -> None:
        """Let go of every programme that is not wanted."""
        for name in [name for name in self._cache if not is_wanted(name)]:
            del self._cache[name]

    def _load(self, connection: Connection, names: Sequence[str]) -> list[_Job]:
        """Read what is needed of each programme, all of one moment."""
        known = read_programme_versions(connection, names)
        revisions = {name: its.revision for name, its in known.items()}
        marks = {name: its.checkpoint for name, its in known.items() if its.checkpoint is not None}
        last = {
            name: drawn
            for name, revision in revisions.items()
            if (drawn := self._cached_if_current(name, marks.get(name))) is not None and drawn.revision <= revision
        }
        since = {
            name: last[name].revision if name in last else FROM_START
            for name, revision in revisions.items()
            if name not in last or last[name].revision < revision
        }
        recalled = load_changed_since(connection, since)
        facts = recalled.facts.split_by_programme(since)
        marked = {name: mark.revision for name in since if (mark := marks.get(name)) is not None}
        strikes = read_retractions(connection, {name: then for name, then in marked.items() if then < revisions[name]})
        passes = []
        for name, revision in sorted(revisions.items()):
            its = [strike for strike in strikes if strike.programme == name]
            taken_back = {strike.retracted_stamp: strike.retraction_stamp for strike in its}
            drawn, mark = last.get(name), marks.get(name)
            if drawn is not None:
                gone = {(name, strike.project) for strike in its}
                after = drawn.facts.merged_with(facts[name], gone) if name in since else drawn.facts
                passes.append(_Job(name, revision, mark, drawn, after, drawn.facts, taken_back, {}))
                continue
            one = _Job(name, revision, mark, None, facts[name], Facts(), taken_back, {})
            if mark is not None:
                one.stored = read_forecasts(connection, name)
                one.previous_facts = (
                    _fold_previous_facts(connection, one, recalled, its) if one.has_new_events else one.current_facts
                )
            passes.append(one)
        return passes

    def _cached_if_current(self, name: str, checkpoint: Checkpoint | None) -> ForecastResult | None:
        """Return what is remembered of a programme, when that is what the database holds."""
        drawn = self._cache.get(name)
        if (
            drawn is None
            or checkpoint is None
            or (drawn.revision, drawn.schedule.data_date) != (checkpoint.revision, checkpoint.data_date)
        ):
            return None
        return drawn

    def _calculate(self, job: _Job, data_date: date) -> tuple[_Job, Schedule, ScheduleDiff]:
        last = None if job.cached is None else job.cached.schedule
        now = compute_schedule(job.current_facts, data_date, last)
        if not job.has_new_events:
            return job, now, ScheduleDiff([], [])
        # Both for the same day: what moved because another day has come is no event's doing.
        then = (
            last
            if last is not None and last.data_date == data_date
            else compute_schedule(job.previous_facts, data_date, last)
        )
        return job, now, diff_schedules((job.previous_facts, then), (job.current_facts, now), job.retracted_by)

    def _write_results(
        self, calculated: Sequence[tuple[_Job, Schedule, ScheduleDiff]], data_date: date, now_ms: int
    ) -> None:
        calculated = [(one, now, moved) for one, now, moved in calculated if not one.is_at_checkpoint(data_date)]
        if not calculated:
            return
        moves = [
            CheckpointMove(
                one.programme,
                one.checkpoint,
                Checkpoint(one.revision, data_date, one.history_count + len(moved.explained), 0),
            )
            for one, _, moved in calculated
        ]
        drawings = [
            ForecastUpdate(one.programme, one.cached.schedule if one.cached else one.stored, now)
            for one, now, _ in calculated
        ]
        history = [
            NumberedChange(one.history_count + number, one.revision, movement)
            for one, _, moved in calculated
            for number, movement in enumerate(moved.explained, start=1)
        ]
        names = sorted({cause_key(movement) for _, _, movement in history})
        with write_transaction(self._engine) as connection:
            advance_checkpoints(connection, moves)
            write_forecasts(connection, drawings)
            insert_history(connection, history, read_correlation_ids(connection, names) if names else {}, now_ms)
            hit_failpoint("before-forecast-commit")
        hit_failpoint("after-forecast-commit")

    def _add_to_cache(self, job: _Job, schedule: Schedule, changes: ScheduleDiff) -> ForecastResult:
        """Remember what was drawn, and let go of what was drawn longest ago when that is too much."""
        published = 0 if job.checkpoint is None else job.checkpoint.published_number
        is_untold = job.history_count + len(changes.explained) > published
        drawn = ForecastResult(job.programme, job.revision, job.current_facts, schedule, is_untold, changes.unexplained)
        self._cache.pop(job.programme, None)
        with suppress(ValueError):  # A programme larger than the whole cache is not cached.
            self._cache[job.programme] = drawn
        return drawn


def _fold_previous_facts(
    connection: Connection, job: _Job, changed: ChangedFacts, retractions: Sequence[Retraction]
) -> Facts:
    """Return the facts as they stood at the last drawing."""
    assert job.checkpoint is not None  # noqa: S101 - narrows for mypy: without one there is no before
    then = job.checkpoint.revision
    touched = {strike.project for strike in retractions} | {
        project
        for (programme, project), revision in changed.newest_revisions.items()
        if programme == job.programme and revision > then
    }
    events = read_subject_events(connection, job.programme, sorted(touched), until_revision=then)
    return job.current_facts.merged_with(fold(events), {(job.programme, project) for project in touched})
