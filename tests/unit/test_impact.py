"""What a gate holds up, by hand: how many milestones it moves, and the money and jobs of their projects."""

from decimal import Decimal

from models.domain.claims import ProjectClaims, ProjectKey, Register
from models.domain.events import Event, Money
from models.domain.impact import MAX_CURRENCIES, NO_IMPACT, HeldUp, Impact, delay_roots, measure_impacts
from models.domain.schedule import compute_schedule
from models.domain.timestamps import Stamp
from tests.helpers.networks import (
    TODAY,
    cancel_milestone,
    declare_dependency,
    estimate_date,
    facts_of,
    milestone_key,
    plan_date,
    report_actual,
    withdraw_project,
)

STAMP = Stamp("2026-01-01T00:00:00\toffice\te-1")
#: Twenty days late.
PARK = (plan_date(1, "park/open", 10), estimate_date(2, "park/open", 30))
#: The first moves by ten days, and the second waits for the first.
LAUNCH = (plan_date(3, "one/launch", 50), declare_dependency(4, "one/launch", "park/open", 30))
SALE = (plan_date(5, "two/sale", 55), declare_dependency(6, "two/sale", "one/launch", 5))


def stakes(**projects: tuple[float, str, int]) -> dict[ProjectKey, ProjectClaims]:
    """Give projects of the north with amount, currency and jobs."""
    return {
        ProjectKey("north", name): ProjectClaims(
            investment=Register(STAMP, Money(amount, currency)), jobs=Register(STAMP, jobs)
        )
        for name, (amount, currency, jobs) in projects.items()
    }


def impact_of(
    name: str, *events: Event, projects: dict[ProjectKey, ProjectClaims] | None = None
) -> tuple[int, int, dict[str, Decimal], int]:
    statuses = compute_schedule(facts_of(*events), TODAY).statuses
    moved, held_up = measure_impacts(statuses, projects or {}).get(milestone_key(name), NO_IMPACT)
    return moved, held_up.projects, dict(held_up.investment), held_up.jobs


def test_a_late_gate_holds_up_the_money_and_the_jobs_of_all_that_it_moves() -> None:
    projects = stakes(one=(0.1, "USD", 10), two=(0.2, "USD", 5), three=(7, "USD", 70))

    assert impact_of("park/open", *PARK, *LAUNCH, *SALE, projects=projects) == (2, 2, {"USD": Decimal("0.3")}, 15)
    assert impact_of("one/launch", *PARK, *LAUNCH, *SALE, projects=projects) == (1, 1, {"USD": Decimal("0.2")}, 5)
    assert impact_of("two/sale", *PARK, *LAUNCH, *SALE, projects=projects) == (0, 0, {}, 0)


def test_money_is_added_by_currency() -> None:
    projects = stakes(one=(300, "USD", 1), two=(200.5, "EUR", 1))

    assert impact_of("park/open", *PARK, *LAUNCH, *SALE, projects=projects)[2] == {
        "EUR": Decimal("200.5"),
        "USD": Decimal(300),
    }


def test_sums_of_the_largest_and_the_smallest_amounts_are_exact() -> None:
    projects = stakes(one=(1e300, "USD", 1), two=(0.01, "USD", 1))

    [total] = impact_of("park/open", *PARK, *LAUNCH, *SALE, projects=projects)[2].values()
    assert str(total) == "1" + "0" * 300 + ".01"


def test_a_project_counts_once_however_many_of_its_milestones_move() -> None:
    more = plan_date(7, "one/sale", 55), declare_dependency(8, "one/sale", "one/launch", 5)

    assert impact_of("park/open", *PARK, *LAUNCH, *more, projects=stakes(one=(5, "USD", 2))) == (
        2,
        1,
        {"USD": Decimal(5)},
        2,
    )


def test_the_gates_own_project_is_left_out_though_its_milestones_are_moved() -> None:
    own = plan_date(7, "park/sale", 20), declare_dependency(8, "park/sale", "park/open")
    projects = stakes(one=(5, "USD", 2), park=(1000, "USD", 100))

    assert impact_of("park/open", *PARK, *own, projects=projects) == (1, 0, {}, 0)
    assert impact_of("park/open", *PARK, *LAUNCH, *own, projects=projects) == (2, 1, {"USD": Decimal(5)}, 2)


def test_a_project_without_money_or_jobs_is_held_up_with_none() -> None:
    assert impact_of("park/open", *PARK, *LAUNCH) == (1, 1, {}, 0)
    assert impact_of("park/open", *PARK, *LAUNCH, projects=stakes(one=(0, "USD", 0)))[2] == {"USD": Decimal(0)}


def test_who_waits_with_slack_is_not_moved() -> None:
    patient = plan_date(7, "two/launch", 400), declare_dependency(8, "two/launch", "park/open", 30)
    projects = stakes(one=(5, "USD", 2), two=(9, "USD", 9))

    assert impact_of("park/open", *PARK, *LAUNCH, *patient, projects=projects) == (1, 1, {"USD": Decimal(5)}, 2)


def test_who_was_never_planned_comes_after_no_baseline() -> None:
    unplanned = [estimate_date(3, "one/launch", 50), declare_dependency(4, "one/launch", "park/open", 30)]

    assert impact_of("park/open", *PARK, *unplanned, projects=stakes(one=(5, "USD", 2))) == (0, 0, {}, 0)


def test_a_gate_that_comes_on_time_holds_up_nothing() -> None:
    on_time = plan_date(1, "park/open", 30)
    events = on_time, *LAUNCH, *SALE
    statuses = compute_schedule(facts_of(*events), TODAY).statuses
    impacts = measure_impacts(statuses, stakes(one=(5, "USD", 2), two=(9, "USD", 9)))

    assert impact_of("park/open", *events) == (0, 0, {}, 0)
    assert list(impacts) == [milestone_key("one/launch")], "which is late by itself"
    assert [
        (str(root.gate.ref), [str(each.ref) for each in root.moved]) for root in delay_roots(statuses, impacts)
    ] == [("one/launch", ["two/sale"])]


def test_a_gate_without_a_baseline_is_never_on_time() -> None:
    assert impact_of("park/open", estimate_date(1, "park/open", 30), *LAUNCH)[0] == 1


def test_what_was_achieved_late_holds_up_whose_date_it_still_sets() -> None:
    done = plan_date(1, "park/open", -30), report_actual(2, "park/open", -1)
    launch = plan_date(3, "one/launch", 10), declare_dependency(4, "one/launch", "park/open", 30)

    assert impact_of("park/open", *done, *launch, projects=stakes(one=(5, "USD", 2))) == (1, 1, {"USD": Decimal(5)}, 2)


def test_what_is_achieved_cancelled_or_withdrawn_is_held_up_no_more_nor_what_is_behind_it() -> None:
    projects = stakes(one=(5, "USD", 2), two=(9, "USD", 9))
    for closing in (
        report_actual(9, "one/launch", -1),
        cancel_milestone(9, "one/launch"),
        withdraw_project(9, "one"),
    ):
        assert impact_of("park/open", *PARK, *LAUNCH, *SALE, closing, projects=projects) == (0, 0, {}, 0)
    assert impact_of("park/open", *PARK, *LAUNCH, cancel_milestone(9, "park/open"), projects=projects) == (0, 0, {}, 0)


def test_the_same_names_in_another_programme_are_other_milestones() -> None:
    south = [plan_date(7, "south/park/open", 10), plan_date(8, "south/one/launch", 50)]
    statuses = compute_schedule(facts_of(*PARK, *LAUNCH, *south), TODAY).statuses

    assert measure_impacts(statuses, stakes(one=(5, "USD", 2))) == {
        milestone_key("park/open"): Impact(1, HeldUp(1, {"USD": Decimal(5)}, 2))
    }


def test_drivers_in_a_circle_which_only_changed_rows_can_have_end() -> None:
    statuses = compute_schedule(facts_of(*PARK, *LAUNCH, *SALE), TODAY).statuses
    gate, last = (next(each for each in statuses if each.project == name) for name in ("one", "two"))
    circle = [gate._replace(driver=last.ref), last]

    assert measure_impacts(circle, {}) == {}
    assert delay_roots(circle, {}) == []


def test_of_more_currencies_than_there_are_the_first_are_added() -> None:
    names = [f"{first}{second}A" for first in "ABCDEFGHIJ" for second in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    projects = stakes(**{f"p{number}": (1, name, 1) for number, name in enumerate(names)})
    launches = [
        event
        for number in range(len(names))
        for event in (
            plan_date(10 + number, f"p{number}/launch", 1),
            declare_dependency(1000 + number, f"p{number}/launch", "park/open"),
        )
    ]

    moved, count, investment, jobs = impact_of("park/open", *PARK, *launches, projects=projects)
    assert (moved, count, jobs) == (260, 260, 260)
    assert list(investment) == names[:MAX_CURRENCIES]
