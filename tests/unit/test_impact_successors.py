"""Who waits for a gate, by hand."""

from models.domain.impact import successors_of
from models.domain.schedule import compute_schedule
from tests.helpers.networks import (
    TODAY,
    declare_dependency,
    estimate_date,
    facts_of,
    milestone_key,
    plan_date,
    report_actual,
)

PARK = [plan_date(1, "park/open", 10), estimate_date(2, "park/open", 30)]


def waiting(*events: object) -> list[tuple[str, str, int, int | None]]:
    """Give who waits for the park: through which milestone, how long after it, and with how much slack."""
    shown = compute_schedule(facts_of(*events), TODAY)  # type: ignore[arg-type]  # whatever the tests say
    return [
        ("/".join(one.status.key[1:]), str(one.predecessor), one.lag_days, one.slack_days)
        for one in successors_of(shown, milestone_key("park/open"))
    ]


def test_those_who_would_move_first_come_first() -> None:
    held = [plan_date(3, "one/launch", 40), declare_dependency(4, "one/launch", "park/open", 30)]
    patient = [plan_date(5, "two/launch", 70), declare_dependency(6, "two/launch", "park/open", 30)]

    assert waiting(*PARK, *patient, *held) == [
        ("one/launch", "park/open", 30, 0),
        ("two/launch", "park/open", 30, 10),
    ]


def test_of_equals_the_first_in_the_order_of_rows_comes_first() -> None:
    names = ["lot-2/design-completed", "lot-2/site-leased", "lot-10/design-completed"]
    held = [
        event
        for number, name in enumerate(reversed(names))
        for event in (plan_date(3 + 2 * number, name, 40), declare_dependency(4 + 2 * number, name, "park/open", 30))
    ]

    assert [name for name, *_ in waiting(*PARK, *held)] == names


def test_slack_adds_up_along_the_way() -> None:
    first = [plan_date(3, "one/launch", 65), declare_dependency(4, "one/launch", "park/open", 30)]
    second = [plan_date(5, "one/sale", 80), declare_dependency(6, "one/sale", "one/launch", 10)]

    assert waiting(*PARK, *first, *second) == [
        ("one/launch", "park/open", 30, 5),
        ("one/sale", "one/launch", 10, 10),
    ]


def test_nothing_waits_through_what_has_happened() -> None:
    done = [report_actual(3, "one/launch", -3), declare_dependency(4, "one/launch", "park/open", 30)]
    second = [plan_date(5, "one/sale", 80), declare_dependency(6, "one/sale", "one/launch", 10)]

    assert waiting(*PARK, *done, *second) == []
