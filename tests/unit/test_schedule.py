"""The picture of a day, by hand."""

from datetime import date, timedelta

import pytest

from models.domain.claims import (
    Claim,
    DependencyClaims,
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProjectClaims,
    ProjectKey,
    Register,
)
from models.domain.events import Money
from models.domain.schedule import MilestoneStatus, State, compute_schedule
from models.domain.timestamps import Stamp

TODAY = date(2026, 3, 10)
GATE = MilestoneKey("north", "wharf", "permit-approved")


def claim(number: int, days: int, amount: Money | None = None) -> Claim:
    """Give the claim with this number that something is so many days from today."""
    return Claim(stamp(number), TODAY + timedelta(days=days), amount)


def stamp(number: int) -> Stamp:
    return Stamp(f"2026-01-{number:02}T12:00:00\toffice\te-{number}")


def planned(days: int) -> MilestoneClaims:
    return MilestoneClaims(baseline=claim(1, days), planned=claim(2, days))


def gate(milestone: MilestoneClaims, project: ProjectClaims | None = None, on: date = TODAY) -> MilestoneStatus:
    projects = {} if project is None else {ProjectKey("north", "wharf"): project}
    [standing] = compute_schedule(Facts(milestones={GATE: milestone}, projects=projects), on).statuses
    return standing


def numbers(standing: MilestoneStatus) -> tuple[int | None, int | None, int | None, State]:
    """Give forecast (days from today), slip, float and state."""
    forecast = None if standing.forecast is None else (standing.forecast - TODAY).days
    return forecast, standing.slip_days, standing.float_days, standing.state


def test_of_nothing_there_is_an_empty_schedule() -> None:
    assert compute_schedule(Facts(), TODAY).statuses == []


def test_what_is_planned_stands_as_planned() -> None:
    assert gate(planned(10)) == MilestoneStatus(
        "north",
        "wharf",
        "permit-approved",
        baseline=date(2026, 3, 20),
        planned=date(2026, 3, 20),
        estimated=None,
        actual=None,
        forecast=date(2026, 3, 20),
        slip_days=0,
        float_days=0,
        state=State.PLANNED,
        driver=None,
        dependents=0,
        last_claim_stamp=stamp(2),
        amount=None,
        name=None,
    )


P, E, A = "planned", "estimated", "actual"


def claimed(*claims: tuple[str, int], cancelled: int | None = None) -> MilestoneClaims:
    """Give the milestone of these claims, the oldest first; one of them, by number, was a cancellation."""
    milestone = MilestoneClaims(cancelled=None if cancelled is None else stamp(cancelled))
    for number, (kind, days) in enumerate(claims, start=1):
        setattr(milestone, kind, claim(number, days))
        if kind == P and milestone.baseline is None:
            milestone.baseline = claim(number, days)
    return milestone


@pytest.mark.parametrize(
    ("why", "milestone", "expected"),
    [
        ("planned for today", claimed((P, 0)), (0, 0, 0, State.PLANNED)),
        ("planned earlier than at first", claimed((P, 20), (P, 10)), (10, -10, 0, State.PLANNED)),
        ("planned later than at first", claimed((P, 10), (P, 20)), (20, 10, 0, State.SLIPPING)),
        ("planned for yesterday, not reported", claimed((P, -1)), (0, 1, -1, State.OVERDUE)),
        ("never forecast in the past", claimed((P, -30)), (0, 30, -30, State.OVERDUE)),
        ("estimated late", claimed((P, 10), (E, 25)), (25, 15, -15, State.SLIPPING)),
        ("estimated early", claimed((P, 10), (E, 5)), (5, -5, 5, State.PLANNED)),
        ("the newer plan before the estimate", claimed((P, 10), (E, 25), (P, 12)), (12, 2, 0, State.SLIPPING)),
        ("estimated for the past", claimed((P, 10), (E, -5)), (0, -10, 10, State.OVERDUE)),
        ("estimated without a plan", claimed((E, 5)), (5, None, None, State.PLANNED)),
        ("done without a plan", claimed((A, -5)), (-5, None, None, State.ACHIEVED)),
        ("done early", claimed((P, 10), (A, -5)), (-5, -15, None, State.ACHIEVED)),
        ("done late", claimed((P, -10), (A, -5)), (-5, 5, None, State.ACHIEVED)),
        ("done tomorrow", claimed((P, 1), (A, 1)), (1, 0, None, State.ACHIEVED)),
        ("done, estimated later all the same", claimed((P, 9), (A, 0), (E, 20)), (0, -9, None, State.ACHIEVED)),
        ("cancelled and nothing else", claimed(cancelled=1), (None, None, None, State.CANCELLED)),
        ("planned, then cancelled", claimed((P, 5), cancelled=2), (None, None, None, State.CANCELLED)),
        ("done, then cancelled", claimed((P, -5), (A, -4), cancelled=3), (None, None, None, State.CANCELLED)),
        ("cancelled, then planned", claimed((E, 5), (P, -5), cancelled=1), (0, 5, -5, State.OVERDUE)),
        ("only named", claimed(), (None, None, None, State.UNKNOWN)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_milestone_stands_as_its_claims_and_the_day_say(
    why: str, milestone: MilestoneClaims, expected: tuple[int | None, int | None, int | None, State]
) -> None:
    assert numbers(gate(milestone)) == expected, why


def test_an_overdue_gate_is_pushed_day_by_day_and_only_that() -> None:
    milestone = planned(2)
    assert [numbers(gate(milestone, on=TODAY + timedelta(days=days))) for days in range(5)] == [
        (2, 0, 0, State.PLANNED),
        (2, 0, 0, State.PLANNED),
        (2, 0, 0, State.PLANNED),
        (3, 1, -1, State.OVERDUE),
        (4, 2, -2, State.OVERDUE),
    ]


def test_the_milestones_of_a_withdrawn_project_count_as_cancelled() -> None:
    withdrawn = ProjectClaims(registered=stamp(1), withdrawn=stamp(2))
    assert numbers(gate(planned(5), withdrawn)) == (None, None, None, State.CANCELLED)
    back = ProjectClaims(registered=stamp(3), withdrawn=stamp(2))
    assert numbers(gate(planned(5), back)) == (5, 0, 0, State.PLANNED)


def test_a_cancelled_milestone_still_shows_its_claims() -> None:
    standing = gate(claimed((P, -5), (P, -3), (E, -2), (A, -4), cancelled=5))
    dates = (standing.baseline, standing.planned, standing.estimated, standing.actual)
    assert dates == tuple(TODAY + timedelta(days=days) for days in (-5, -3, -2, -4))
    assert (standing.forecast, standing.driver, standing.state) == (None, None, State.CANCELLED)


def test_another_projects_withdrawal_is_its_own_business() -> None:
    facts = Facts(
        milestones={GATE: planned(5)},
        projects={
            ProjectKey("north", "pier"): ProjectClaims(withdrawn=stamp(9)),
            ProjectKey("south", "wharf"): ProjectClaims(withdrawn=stamp(9)),
        },
    )
    assert [standing.state for standing in compute_schedule(facts, TODAY).statuses] == [State.PLANNED]


def test_a_milestone_that_is_only_waited_for_is_unknown() -> None:
    key = DependencyKey("north", "wharf", "permit-approved", "basin", "site-leased")
    facts = Facts(
        milestones={GATE: planned(5)},
        dependencies={key: DependencyClaims(declared=Register(stamp(1), 0), withdrawn=stamp(2))},
        projects={ProjectKey("north", "basin"): ProjectClaims(withdrawn=stamp(3))},
    )
    assert [
        (standing[:3], standing.state, standing.last_claim_stamp)
        for standing in compute_schedule(facts, TODAY).statuses
    ] == [
        (("north", "basin", "site-leased"), State.CANCELLED, None),
        (GATE, State.PLANNED, stamp(2)),
    ]
    facts.projects.clear()
    assert [standing.state for standing in compute_schedule(facts, TODAY).statuses] == [State.UNKNOWN, State.PLANNED]


def test_a_schedule_is_sorted_by_programme_project_and_milestone() -> None:
    names = [
        ("north", "ab", "x"),
        ("n.2", "a.b", "y"),
        ("north", "a-z", "x"),
        ("north", "a-z", "a"),
        ("n.2", "a-z", "y"),
    ]
    facts = Facts(milestones={MilestoneKey(*name): planned(1) for name in names})
    assert [standing[:3] for standing in compute_schedule(facts, TODAY).statuses] == sorted(names)


def test_the_newest_claims_stamp_and_amount_are_reported() -> None:
    standing = gate(
        MilestoneClaims(
            claim(1, 10), claim(2, 10, Money(5, "EUR")), estimated=claim(3, 11), cancelled=Stamp("2026-01-02T00\ta\tb")
        )
    )
    assert (standing.last_claim_stamp, standing.amount) == (stamp(3), Money(5, "EUR"))


def test_states_are_tried_in_the_contracts_order() -> None:
    assert [state.value for state in State] == [
        "cancelled",
        "achieved",
        "unknown",
        "overdue",
        "blocked",
        "slipping",
        "planned",
    ]
