"""An independent reading of the contract's section 2.1, for tests to hold the product against.

It shares no code with the product. It looks at every pair of a gate and a milestone, and follows each chain of drivers
to its end. Amounts are fractions, so that no sum is rounded.
"""

from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from tests.helpers.oracle import (
    JsonEvent,
    JsonRow,
    MilestoneId,
    expected_dependents,
    expected_milestones,
    expected_projects,
)


class ExpectedImpact(NamedTuple):
    """What a milestone holds up."""

    dependents: int
    moved: int
    projects: int
    investment: dict[str, Fraction]
    jobs: int


def expected_impacts(
    events: Iterable[JsonEvent], data_date: date, as_of: str | None = None
) -> dict[MilestoneId, ExpectedImpact]:
    """Give of every milestone who waits for it, who is moved by it, and what stands behind them."""
    events = list(events)
    dependents, projects = expected_dependents(events, as_of), expected_projects(events, as_of)
    rows = {
        (row["programme"], row["project"], row["milestone"]): row
        for row in expected_milestones(events, data_date, as_of)
    }
    late = {key: _chain_of_drivers(rows, key) for key, row in rows.items() if _comes_after_baseline(row)}
    impacts = {}
    for gate, row in rows.items():
        comes_on_time = row["slip_days"] is not None and row["slip_days"] <= 0
        moved = [] if comes_on_time else [key for key, chain in late.items() if gate in chain]
        behind = {key[:2] for key in moved} - {gate[:2]}
        investment: dict[str, Fraction] = {}
        for project in behind:
            if money := projects[project]["investment"]:
                sum_so_far = investment.get(money["currency"], Fraction())
                investment[money["currency"]] = sum_so_far + Fraction(repr(money["amount"]))
        jobs = sum(projects[project]["jobs"] or 0 for project in behind)
        impacts[gate] = ExpectedImpact(dependents[gate], len(moved), len(behind), investment, jobs)
    return impacts


def _comes_after_baseline(row: JsonRow) -> bool:
    is_open = row["state"] not in {"achieved", "cancelled"}
    return is_open and row["slip_days"] is not None and row["slip_days"] > 0


def _chain_of_drivers(rows: dict[MilestoneId, JsonRow], key: MilestoneId) -> list[MilestoneId]:
    chain = []
    while rows[key]["driver"] is not None:
        project, milestone = rows[key]["driver"].split("/")
        key = (key[0], project, milestone)
        chain.append(key)
    return chain
