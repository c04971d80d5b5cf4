"""Drawing a programme: `models.domain.schedule.picture` from nothing, and again after one claim."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from models.domain.claims import Facts, Milestone
from models.domain.schedule import Picture, picture
from tests.benchmarks.collecting import as_in_a_worker
from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.programmes import Live, Plan, facts_of, realistic, said_of, scattered

#: By number of milestones: what drawing may take, and how often it is tried in one run.
_SIZES: Final[Mapping[int, tuple[float, int]]] = {10_000: (0.060, 20), 100_000: (1.0, 5)}
_SHAPES: Final = {"realistic": realistic, "scattered": scattered}
#: Weights of estimates, plans and achievements.
_KINDS: Final = {"a date": (7, 2, 0), "an achievement": (0, 0, 1)}


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Draw programmes of every size and shape, with the garbage collected as seldom as in a worker."""
    with as_in_a_worker():
        yield from _measure(ground, effort)


def _measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    for full_size, (most, tries) in _SIZES.items():
        size = effort.of(full_size, multiple_of=10)
        for shape, plan_of in _SHAPES.items():
            ground.say(f"{size:,} milestones, {shape}")
            plan = plan_of("north", size, ground.day)
            facts = facts_of(said_of(plan))
            title = f"{size:,} milestones, {2 * size:,} dependencies, {shape}"
            yield from pooled(_run(title, plan, facts, number, most, tries) for number in range(effort.runs))


def _run(title: str, plan: Plan, facts: Facts, seed: int, most: float, tries: int) -> list[Figure]:  # noqa: PLR0913 - what one run needs
    nothing = [_timed(facts, plan, None)[0] for _ in range(tries)]
    figures = [Figure(f"{title}: from nothing", "s", nothing, [Target("median", most)])]
    drawn, live = picture(facts, plan.day), Live(plan, seed)
    for kind, weights in _KINDS.items():
        again = []
        for event in live.moved(tries, weights):
            facts = _with_claims(facts, facts_of([event]))
            took, drawn = _timed(facts, plan, drawn)
            again.append(took)
        figures.append(Figure(f"{title}: again, {kind} changed", "s", again, [Target("median", most)]))
    assert drawn.standings == picture(facts, plan.day).standings
    return figures


def _timed(facts: Facts, plan: Plan, before: Picture | None) -> tuple[float, Picture]:
    began = time.perf_counter()
    drawn = picture(facts, plan.day, before)
    return time.perf_counter() - began, drawn


def _with_claims(facts: Facts, said: Facts) -> Facts:
    """Return facts with newer claims about milestones, as whoever reads what changed puts them together."""
    changed = {
        key: replace(
            facts.milestones.get(key, Milestone()),
            **{name: claim for name in ("planned", "estimated", "actual") if (claim := getattr(claims, name))},
        )
        for key, claims in said.milestones.items()
    }
    return facts.replaced(Facts(facts.programmes, milestones=changed))
