"""Recalculates programmes: writes their forecasts, and a history row for each forecast that an event changed.

Optimistic locking: a programme is read in one snapshot and calculated without a lock. The write transaction first
advances the programme's checkpoint from the version that was read; if another worker has advanced it, the transaction
is rolled back and the calculation is retried. So a worker that lost a programme without noticing does no harm, and
recording never waits for a calculation.

The last result is cached, so that the next calculation reads only later changes. Without it (after a start or a
rebalance) all facts are read, and if events came since the checkpoint, the facts at the checkpoint are folded from the
ledger.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from cachetools import LRUCache
from sqlalchemy import Connection, Engine

from models.database import forecasts
from models.database.claims import FROM_START, ChangedFacts, load_changed_since
from models.database.engine import read_transaction, write_transaction
from models.database.ledger import Retraction, read_retractions, read_subject_events
from models.domain.claims import Facts, MilestoneKey, fold
from models.domain.forecast_changes import ScheduleDiff, diff_schedules
from models.domain.schedule import Schedule, compute_schedule
from models.domain.timestamps import Stamp
from models.failpoints import hit_failpoint

#: How many kilobytes a programme takes that holds nothing.
_PROGRAMME_SIZE: Final = 2


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
    #: The newest event behind what this calculation changed; None when it changed nothing.
    newest_cause: Stamp | None = None

    @property
    def size(self) -> int:
        """About how many kilobytes of memory it takes."""
        return _PROGRAMME_SIZE + len(self.facts.projects) + len(self.facts.milestones) + len(self.facts.dependencies)


@dataclass(slots=True)
class _Job:
    """The calculation of one programme."""

    programme: str
    revision: int
    checkpoint: forecasts.Checkpoint
    current_facts: Facts
    previous_facts: Facts
    retracted_by: Mapping[Stamp, Stamp]
    #: A schedule if the cache has the version that the database holds.
    stored: forecasts.StoredForecasts

    @property
    def has_new_events(self) -> bool:
        """Whether events came since the checkpoint."""
        return self.checkpoint.revision < self.revision


#: A job, its new schedule, and the difference to the previous one.
_Calculation = tuple[_Job, Schedule, ScheduleDiff]


class Projector:
    """Calculates programmes; caches results of about `cache_size` kilobytes, whatever they hold."""

    def __init__(self, engine: Engine, cache_size: int = 50_000) -> None:
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
        versions = forecasts.read_programme_versions(connection, names)
        cached = {
            name: result
            for name, (revision, checkpoint) in versions.items()
            if (result := self._cache.get(name)) is not None
            and checkpoint[:2] == (result.revision, result.schedule.data_date)
            and result.revision <= revision
        }
        since = dict.fromkeys(versions.keys() - cached.keys(), FROM_START)
        since |= {name: result.revision for name, result in cached.items() if result.revision < versions[name][0]}
        changed = load_changed_since(connection, since)
        facts = changed.facts.split_by_programme(since)
        checkpoint_revisions = {
            name: checkpoint.revision
            for name, (revision, checkpoint) in versions.items()
            if name in since and FROM_START < checkpoint.revision < revision
        }
        retractions_by_programme = defaultdict[str, list[Retraction]](list)
        for retraction in read_retractions(connection, checkpoint_revisions):
            retractions_by_programme[retraction.programme].append(retraction)
        stored = forecasts.read_forecasts(
            connection,
            [name for name, (_, at) in versions.items() if name not in cached and at != forecasts.NO_CHECKPOINT],
        )
        jobs = []
        for name, (revision, checkpoint) in sorted(versions.items()):
            retractions = retractions_by_programme[name]
            retracted_by = {retraction.retracted_stamp: retraction.retraction_stamp for retraction in retractions}
            if (result := cached.get(name)) is not None:
                current = result.facts
                if name in since:
                    current = current.merged_with(
                        facts[name], {(name, retraction.project) for retraction in retractions}
                    )
                job = _Job(name, revision, checkpoint, current, result.facts, retracted_by, result.schedule)
            else:
                job = _Job(name, revision, checkpoint, facts[name], Facts(), retracted_by, {})
                if name in stored:
                    job.stored, job.previous_facts = stored[name], job.current_facts
                    if job.has_new_events:
                        job.previous_facts = _fold_previous_facts(connection, job, changed, retractions)
            jobs.append(job)
        return jobs

    def _write_results(self, calculations: Sequence[_Calculation], data_date: date, now_ms: int) -> None:
        updates = [
            forecasts.ForecastUpdate(job.programme, job.revision, job.checkpoint, job.stored, schedule, diff.explained)
            for job, schedule, diff in calculations
            # Whether the database holds another version: a rebuild can leave a checkpoint ahead of the revision.
            if job.checkpoint[:2] != (job.revision, data_date)
        ]
        if not updates:
            return
        with write_transaction(self._engine) as connection:
            forecasts.write_updates(connection, updates, now_ms)
            hit_failpoint("before-forecast-commit")
        hit_failpoint("after-forecast-commit")

    def _add_to_cache(self, job: _Job, schedule: Schedule, diff: ScheduleDiff) -> ForecastResult:
        has_unpublished = job.checkpoint.history_count + len(diff.explained) > job.checkpoint.published_number
        newest_cause = max((change.cause for change in diff.explained), default=None)
        result = ForecastResult(
            job.programme, job.revision, job.current_facts, schedule, has_unpublished, diff.unexplained, newest_cause
        )
        self._cache.pop(job.programme, None)
        with suppress(ValueError):  # A programme larger than the whole cache is not cached.
            self._cache[job.programme] = result
        return result


def _calculate(job: _Job, data_date: date) -> _Calculation:
    cached = job.stored if isinstance(job.stored, Schedule) else None
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
    connection: Connection, job: _Job, changed: ChangedFacts, retractions: Sequence[Retraction]
) -> Facts:
    """Return the facts at the checkpoint."""
    until_revision = job.checkpoint.revision
    projects = {retraction.project for retraction in retractions} | {
        project
        for (programme, project), revision in changed.newest_revisions.items()
        if programme == job.programme and revision > until_revision
    }
    events = read_subject_events(connection, job.programme, sorted(projects), until_revision=until_revision)
    return job.current_facts.merged_with(fold(events), {(job.programme, project) for project in projects})
