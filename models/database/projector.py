"""Recalculates programmes: writes their forecasts, and a history row for each forecast that an event changed.

Optimistic locking: a programme is read in one snapshot and calculated without a lock. The write transaction first
advances the programme's checkpoint from the version that was read; if another worker has advanced it, the transaction
is rolled back and the calculation is retried. So a worker that lost a programme without noticing does no harm, and
recording never waits for a calculation.

The last result is cached, so that the next calculation reads only later changes. Without it (after a start or a
rebalance) all facts are read, and if events came since the checkpoint, the facts at the checkpoint are folded from the
ledger.
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
    ForecastRow,
    ForecastUpdate,
    NumberedChange,
    ProgrammeVersion,
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

#: Milestones and dependencies in the cache; a thousand take about a megabyte.
DEFAULT_CACHE_SIZE: Final = 50_000


class ForecastResult(NamedTuple):
    """A calculated programme."""

    programme: str
    revision: int
    facts: Facts
    schedule: Schedule
    #: Whether its history has unpublished changes.
    has_unpublished: bool
    #: Milestones whose forecast changed without an event: somebody changed rows by hand.
    unexplained: Sequence[MilestoneKey] = ()

    @property
    def size(self) -> int:
        """The number of milestones and dependencies."""
        return len(self.facts.milestones) + len(self.facts.dependencies)


@dataclass(slots=True)
class _Job:
    """The calculation of one programme."""

    programme: str
    revision: int
    checkpoint: Checkpoint | None
    #: The last result, if the database still holds that version.
    cached: ForecastResult | None
    current_facts: Facts
    previous_facts: Facts
    retracted_by: Mapping[Stamp, Stamp]
    #: The forecasts in the database, unless `cached` has them.
    stored: Mapping[tuple[str, ...], ForecastRow]

    @property
    def has_new_events(self) -> bool:
        """Whether events came since the checkpoint."""
        return self.checkpoint is None or self.checkpoint.revision < self.revision

    @property
    def history_count(self) -> int:
        """The number of history rows."""
        return 0 if self.checkpoint is None else self.checkpoint.history_count

    def is_at_checkpoint(self, data_date: date) -> bool:
        """Return whether the database holds this version; a rebuild can leave a checkpoint ahead of the revision."""
        return self.checkpoint is not None and self.checkpoint[:2] == (self.revision, data_date)


#: A job, its new schedule, and the difference to the previous one.
_Calculation = tuple[_Job, Schedule, ScheduleDiff]


class Projector:
    """Calculates programmes, and caches the results."""

    def __init__(self, engine: Engine, cache_size: int = DEFAULT_CACHE_SIZE) -> None:
        self._engine = engine
        self._cache = LRUCache[str, ForecastResult](cache_size, getsizeof=lambda result: result.size)

    def recalculate(self, names: Sequence[str], data_date: date, now_ms: int) -> list[ForecastResult]:
        """Calculate programmes for a data date, and write what changed; skips programmes that do not exist.

        Raises `ConcurrentWriteError` when another worker calculated one of them meanwhile, and the database's errors.
        """
        try:
            with read_transaction(self._engine) as connection:
                jobs = self._load(connection, sorted(set(names)))
            calculations = [_calculate(job, data_date) for job in jobs]
            self._write_results(calculations, data_date, now_ms)
        except BaseException:
            # The cache may differ from the database now.
            for name in names:
                self._cache.pop(name, None)
            raise
        return [self._add_to_cache(*calculation) for calculation in calculations]

    def retain(self, is_wanted: Callable[[str], bool]) -> None:
        """Drop all other programmes from the cache."""
        for name in [name for name in self._cache if not is_wanted(name)]:
            del self._cache[name]

    def _load(self, connection: Connection, names: Sequence[str]) -> list[_Job]:
        """Read what each programme's calculation needs, from one snapshot."""
        versions = read_programme_versions(connection, names)
        cached = {
            name: result
            for name, version in versions.items()
            if (result := self._cached_if_current(name, version)) is not None
        }
        since = {
            name: cached[name].revision if name in cached else FROM_START
            for name, version in versions.items()
            if name not in cached or cached[name].revision < version.revision
        }
        changed = load_changed_since(connection, since)
        facts = changed.facts.split_by_programme(since)
        checkpoint_revisions = {
            name: checkpoint.revision
            for name in since
            if (checkpoint := versions[name].checkpoint) is not None and checkpoint.revision < versions[name].revision
        }
        all_retractions = read_retractions(connection, checkpoint_revisions)
        jobs = []
        for name, (revision, checkpoint) in sorted(versions.items()):
            retractions = [retraction for retraction in all_retractions if retraction.programme == name]
            retracted_by = {retraction.retracted_stamp: retraction.retraction_stamp for retraction in retractions}
            if (result := cached.get(name)) is not None:
                current = result.facts
                if name in since:
                    removed = {(name, retraction.project) for retraction in retractions}
                    current = current.merged_with(facts[name], removed)
                jobs.append(_Job(name, revision, checkpoint, result, current, result.facts, retracted_by, {}))
                continue
            job = _Job(name, revision, checkpoint, None, facts[name], Facts(), retracted_by, {})
            if checkpoint is not None:
                job.stored = read_forecasts(connection, name)
                job.previous_facts = job.current_facts
                if job.has_new_events:
                    job.previous_facts = _fold_previous_facts(connection, job, checkpoint, changed, retractions)
            jobs.append(job)
        return jobs

    def _cached_if_current(self, name: str, version: ProgrammeVersion) -> ForecastResult | None:
        """Return the cached result, if it is the version of the checkpoint."""
        result, (revision, checkpoint) = self._cache.get(name), version
        if result is None or checkpoint is None or result.revision > revision:
            return None
        return result if checkpoint[:2] == (result.revision, result.schedule.data_date) else None

    def _write_results(self, calculations: Sequence[_Calculation], data_date: date, now_ms: int) -> None:
        updates, history = [], []
        for job, schedule, diff in calculations:
            if job.is_at_checkpoint(data_date):
                continue
            name, count = job.programme, job.history_count
            advanced = Checkpoint(job.revision, data_date, count + len(diff.explained), 0)
            stored = job.cached.schedule if job.cached else job.stored
            updates.append(ForecastUpdate(name, job.checkpoint, advanced, stored, schedule))
            history += [
                NumberedChange(number, job.revision, change)
                for number, change in enumerate(diff.explained, start=count + 1)
            ]
        if not updates:
            return
        causes = sorted({cause_key(change) for _, _, change in history})
        with write_transaction(self._engine) as connection:
            advance_checkpoints(connection, updates)
            write_forecasts(connection, updates)
            insert_history(connection, history, read_correlation_ids(connection, causes) if causes else {}, now_ms)
            hit_failpoint("before-forecast-commit")
        hit_failpoint("after-forecast-commit")

    def _add_to_cache(self, job: _Job, schedule: Schedule, diff: ScheduleDiff) -> ForecastResult:
        published = 0 if job.checkpoint is None else job.checkpoint.published_number
        has_unpublished = job.history_count + len(diff.explained) > published
        result = ForecastResult(
            job.programme, job.revision, job.current_facts, schedule, has_unpublished, diff.unexplained
        )
        self._cache.pop(job.programme, None)
        with suppress(ValueError):  # A programme larger than the whole cache is not cached.
            self._cache[job.programme] = result
        return result


def _calculate(job: _Job, data_date: date) -> _Calculation:
    cached = None if job.cached is None else job.cached.schedule
    schedule = compute_schedule(job.current_facts, data_date, cached)
    if not job.has_new_events:
        return job, schedule, ScheduleDiff([], [])
    # Compare schedules of the same data date: no event caused a change that only the date caused.
    if cached is not None and cached.data_date == data_date:
        previous = cached
    else:
        previous = compute_schedule(job.previous_facts, data_date, cached)
    diff = diff_schedules((job.previous_facts, previous), (job.current_facts, schedule), job.retracted_by)
    return job, schedule, diff


def _fold_previous_facts(
    connection: Connection,
    job: _Job,
    checkpoint: Checkpoint,
    changed: ChangedFacts,
    retractions: Sequence[Retraction],
) -> Facts:
    """Return the facts at the checkpoint."""
    projects = {retraction.project for retraction in retractions} | {
        project
        for (programme, project), revision in changed.newest_revisions.items()
        if programme == job.programme and revision > checkpoint.revision
    }
    events = read_subject_events(connection, job.programme, sorted(projects), until_revision=checkpoint.revision)
    return job.current_facts.merged_with(fold(events), {(job.programme, project) for project in projects})
