"""Drawing a programme: `models.domain.schedule.picture` from nothing, and again after one claim."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from models.domain.claims import Facts, MilestoneClaims
from models.domain.schedule import Schedule, compute_schedule
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.gc_settings import worker_gc_settings
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import (
    LiveUpdates,
    ProgrammePlan,
    facts_of_json,
    initial_events,
    realistic_plan,
    scattered_plan,
)

#: By number of milestones: how often drawing is tried in one run.
_SIZES: Final[Mapping[int, int]] = {10_000: 20, 100_000: 5}
#: By number of milestones and shape: what drawing may take, in seconds.
_MAX_SECONDS: Final[Mapping[tuple[int, str], float]] = {
    (10_000, "realistic"): 0.060,
    (10_000, "scattered"): 0.060,
    (100_000, "realistic"): 1.0,
    (100_000, "scattered"): 1.2,
}
_PLAN_SHAPES: Final = {"realistic": realistic_plan, "scattered": scattered_plan}
#: Weights of estimates, plans and achievements.
_CHANGE_WEIGHTS: Final = {"a date": (7, 2, 0), "an achievement": (0, 0, 1)}


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Draw programmes of every size and shape, with the garbage collected as seldom as in a worker."""
    with worker_gc_settings():
        yield from _measure(environment, options)


def _measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    for full_size, tries in _SIZES.items():
        size = options.scaled(full_size, multiple_of=10)
        for shape, plan_of in _PLAN_SHAPES.items():
            environment.report_progress(f"{size:,} milestones, {shape}")
            plan = plan_of("north", size, environment.data_date)
            facts = facts_of_json(initial_events(plan))
            title, most = f"{size:,} milestones, {2 * size:,} dependencies, {shape}", _MAX_SECONDS[full_size, shape]
            yield from merge_runs(_run(title, plan, facts, number, most, tries) for number in range(options.runs))


def _run(  # noqa: PLR0913 - what one run needs
    title: str, plan: ProgrammePlan, facts: Facts, seed: int, max_seconds: float, repetitions: int
) -> list[Figure]:
    nothing = [_timed_schedule(facts, plan, None)[0] for _ in range(repetitions)]
    figures = [Figure(f"{title}: from nothing", "s", nothing, [Target("median", max_seconds)])]
    drawn, live = compute_schedule(facts, plan.data_date), LiveUpdates(plan, seed)
    for kind, weights in _CHANGE_WEIGHTS.items():
        again = []
        for event in live.date_updates(repetitions, weights):
            facts = _with_claims(facts, facts_of_json([event]))
            took, drawn = _timed_schedule(facts, plan, drawn)
            again.append(took)
        figures.append(Figure(f"{title}: again, {kind} changed", "s", again, [Target("median", max_seconds)]))
    assert drawn.statuses == compute_schedule(facts, plan.data_date).statuses
    return figures


def _timed_schedule(facts: Facts, plan: ProgrammePlan, before: Schedule | None) -> tuple[float, Schedule]:
    began = time.perf_counter()
    drawn = compute_schedule(facts, plan.data_date, before)
    return time.perf_counter() - began, drawn


def _with_claims(facts: Facts, newer: Facts) -> Facts:
    """Return facts with newer claims about milestones, as whoever reads what changed puts them together."""
    changed = {
        key: replace(
            facts.milestones.get(key, MilestoneClaims()),
            **{name: claim for name in ("planned", "estimated", "actual") if (claim := getattr(claims, name))},
        )
        for key, claims in newer.milestones.items()
    }
    return facts.merged_with(Facts(facts.programmes, milestones=changed))
