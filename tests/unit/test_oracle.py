"""Examples worked out by hand that pin the reading which other tests trust, and the events made for them."""

import json
from datetime import date
from itertools import count, pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.event_generators import (
    STAMP_LIMIT,
    binary_record,
    event_sets,
    events,
    random_events,
    shuffled_with_duplicates,
    structured_record,
)
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    DEPENDENCY_WITHDRAWN,
    EVENT_RETRACTED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    JsonEvent,
    JsonRow,
    expected_cyclic,
    expected_dependencies,
    expected_dependents,
    expected_milestones,
    expected_programmes,
    expected_projects,
    in_order_of_rows,
    seconds_since_day_zero,
)

TODAY = date(2026, 3, 10)
_numbers = count(1)


def event_json(
    type_: str,
    time: str,
    *,
    source: str = "office",
    called: str = "",
    on: str = "",
    **data: Any,  # noqa: ANN401 - fields of JSON
) -> JsonEvent:
    """Give an event said at `time`, a day of January 2026 when it is only a number."""
    moment = f"2026-01-{time}T12:00:00Z" if len(time) == 2 else time
    return {
        "specversion": "1.0",
        "id": called or f"event-{next(_numbers)}",
        "source": source,
        "type": type_,
        "subject": on or ("north" if type_ == PROGRAMME_REGISTERED else "north/wharf"),
        "time": moment,
        "data": data,
    }


def report(time: str, classifier: str, day: str, **more: str) -> JsonEvent:
    return event_json(MILESTONE_REPORTED, time, milestone="permit-approved", classifier=classifier, date=day, **more)


def only(*events: JsonEvent, data_date: date = TODAY, as_of: str | None = None) -> JsonRow:
    [row] = expected_milestones(events, data_date, as_of)
    return row


def test_a_replan_moves_planned_but_never_the_baseline_so_the_slip_stays_visible() -> None:
    assert only(report("05", "PLN", "2026-06-11"), report("01", "PLN", "2026-06-01")) == {
        "programme": "north",
        "project": "wharf",
        "milestone": "permit-approved",
        "name": None,
        "baseline": "2026-06-01",
        "planned": "2026-06-11",
        "estimated": None,
        "actual": None,
        "forecast": "2026-06-11",
        "slip_days": 10,
        "float_days": 0,
        "state": "slipping",
        "driver": None,
    }


def test_the_own_date_is_what_was_said_last_of_estimate_and_plan() -> None:
    plan, estimate = report("01", "PLN", "2026-06-01"), report("02", "EST", "2026-06-21")
    row = only(plan, estimate)
    assert (row["forecast"], row["slip_days"], row["float_days"]) == ("2026-06-21", 20, -20)
    row = only(plan, estimate, report("03", "PLN", "2026-05-31"))
    assert (row["estimated"], row["forecast"], row["slip_days"], row["state"]) == (
        "2026-06-21",
        "2026-05-31",
        -1,
        "planned",
    )


def test_what_is_not_reported_as_done_is_overdue_from_the_day_after_and_is_forecast_for_the_data_date() -> None:
    plan = report("01", "PLN", "2026-03-09")
    assert only(plan, data_date=date(2026, 3, 9))["state"] == "planned"
    row = only(plan)
    assert (row["state"], row["forecast"], row["slip_days"], row["float_days"]) == ("overdue", "2026-03-10", 1, -1)


def test_an_achieved_milestone_has_its_actual_date_whatever_is_estimated_later_and_no_float() -> None:
    row = only(report("01", "PLN", "2026-01-03"), report("02", "ACT", "2026-01-02"), report("09", "EST", "2026-09-09"))
    assert (row["state"], row["forecast"], row["slip_days"], row["float_days"]) == (
        "achieved",
        "2026-01-02",
        -1,
        None,
    )


def test_a_milestone_with_an_estimate_alone_has_a_forecast_but_neither_slip_nor_float() -> None:
    row = only(report("01", "EST", "2026-06-01"))
    assert (row["state"], row["forecast"], row["slip_days"], row["float_days"]) == (
        "planned",
        "2026-06-01",
        None,
        None,
    )


def test_a_cancelled_milestone_keeps_its_claims_without_a_forecast_and_a_newer_report_revives_it() -> None:
    plan = report("01", "PLN", "2026-06-01")
    cancelled = event_json(MILESTONE_CANCELLED, "02", milestone="permit-approved")
    row = only(cancelled, plan)
    assert (row["state"], row["forecast"], row["slip_days"], row["float_days"]) == ("cancelled", None, None, None)
    assert (row["baseline"], row["planned"]) == ("2026-06-01", "2026-06-01")
    assert only(plan, cancelled, report("03", "EST", "2026-06-01"))["state"] == "planned"
    assert only(cancelled)["state"] == "cancelled"


def test_the_milestones_of_a_withdrawn_project_are_cancelled_until_a_newer_registration() -> None:
    withdrawn = event_json(PROJECT_WITHDRAWN, "05")
    declared = event_json(DEPENDENCY_DECLARED, "09", on="north/quay", milestone="x", after=after("wharf"))
    events = [report("09", "ACT", "2026-01-09"), event_json(PROJECT_REGISTERED, "04"), withdrawn, declared]
    states = [(row["project"], row["milestone"], row["state"]) for row in expected_milestones(events, TODAY)]
    assert states == [
        ("quay", "x", "unknown"),
        ("wharf", "permit-approved", "cancelled"),
        ("wharf", "y", "cancelled"),
    ]
    back = event_json(PROJECT_REGISTERED, "06", jobs=7)
    assert [row["state"] for row in expected_milestones([back, *events], TODAY)] == ["unknown", "achieved", "unknown"]


def after(project: str) -> dict[str, str]:
    return {"project": project, "milestone": "y"}


def test_a_retraction_counts_in_either_order_but_only_from_the_same_source_and_not_against_a_retraction() -> None:
    first, second = report("01", "PLN", "2026-06-01", called="a"), report("02", "PLN", "2026-07-01", called="b")
    taken_back = event_json(EVENT_RETRACTED, "03", called="c", retracts="a", reason="incorrect_data")
    for order in permutations([first, second, taken_back, first]):
        assert only(*order)["baseline"] == "2026-07-01"
    of_another = event_json(EVENT_RETRACTED, "03", source="other", retracts="a", reason="incorrect_data")
    assert only(first, second, of_another)["baseline"] == "2026-06-01"
    of_the_retraction = event_json(EVENT_RETRACTED, "04", called="d", retracts="c", reason="did_not_occur")
    assert only(first, second, taken_back, of_the_retraction)["baseline"] == "2026-07-01"


def test_what_only_a_retracted_event_named_does_not_exist_but_the_project_of_the_retraction_does() -> None:
    events = [
        report("01", "PLN", "2026-06-01", called="a", on="south/wharf"),
        event_json(EVENT_RETRACTED, "02", retracts="a", reason="did_not_occur", on="north/quay"),
    ]
    assert expected_milestones(events, TODAY) == []
    assert list(expected_projects(events)) == [("north", "quay")]
    assert list(expected_programmes(events)) == ["north"]


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("2026-03-10T00:30:00+01:00", "2026-03-09T23:29:59.9999999999Z"),
        ("2026-03-09T20:00:00-05:00", "2026-03-10T00:59:59Z"),
        ("2026-03-10T00:00:00.10Z", "2026-03-10T00:00:00.0999Z"),
        ("2026-03-10T00:00:00.000000000002z", "2026-03-10t00:00:00.000000000001Z"),
    ],
)
def test_stamps_are_instants_with_every_digit(newer: str, older: str) -> None:
    row = only(report(newer, "PLN", "2026-06-02"), report(older, "PLN", "2026-06-01"))
    assert (row["baseline"], row["planned"]) == ("2026-06-01", "2026-06-02")


def test_of_one_instant_the_source_then_the_id_decides_by_code_point_and_recordedtime_replaces_time() -> None:
    noon, same_noon = "2026-01-05T12:00:00.000Z", "2026-01-05T14:00:00+02:00"
    row = only(
        report(noon, "PLN", "2026-06-03", source="b", called="10"),
        report(same_noon, "PLN", "2026-06-02", source="B", called="9"),
        report(noon, "PLN", "2026-06-01", source="B", called="10"),
        report(same_noon, "PLN", "2026-06-04", source="b", called="\N{REPLACEMENT CHARACTER}"),
        report(noon, "PLN", "2026-06-05", source="b", called="🏗"),
    )
    assert (row["baseline"], row["planned"]) == ("2026-06-01", "2026-06-05")
    amended = {**report("01", "PLN", "2026-06-09"), "recordedtime": "2026-01-06T00:00:00Z"}
    assert only(report("05", "PLN", "2026-06-01"), amended)["baseline"] == "2026-06-01"


def test_as_of_folds_what_was_stamped_up_to_then_and_a_later_retraction_was_not_yet_known() -> None:
    events = [
        report("01", "PLN", "2026-06-01", called="a"),
        report("03", "PLN", "2026-07-01"),
        event_json(EVENT_RETRACTED, "05", retracts="a", reason="incorrect_data"),
    ]
    assert only(*events, as_of="2026-01-03T11:59:59.999999999Z")["planned"] == "2026-06-01"
    assert only(*events, as_of="2026-01-03T13:00:00+01:00")["slip_days"] == 30
    assert only(*events, as_of="2026-01-05T12:00:00Z")["baseline"] == "2026-07-01"
    assert expected_milestones(events, TODAY, "2025-12-31T00:00:00Z") == []


def test_every_field_of_a_project_is_its_own_register_and_a_site_exists_by_being_named() -> None:
    events = [
        event_json(PROJECT_REGISTERED, "03", name="new", site="park"),
        event_json(PROJECT_REGISTERED, "02", name="old", kind="participant", jobs=0),
        event_json(PROJECT_REGISTERED, "01", name="older", jobs=9),
        event_json(PROJECT_WITHDRAWN, "04", on="north/park", site="unknown-fields-name-nothing"),
        event_json(PROGRAMME_REGISTERED, "01", jobs=5, investment={"amount": 1.5, "currency": "EUR"}),
    ]
    for event in events:
        event["data"].setdefault("name", None)
    for order in permutations(events):
        assert expected_projects(order) == {
            ("north", "park"): {
                "name": None,
                "kind": None,
                "site": None,
                "investment": None,
                "jobs": None,
                "withdrawn": True,
            },
            ("north", "wharf"): {
                "name": "new",
                "kind": "participant",
                "site": "park",
                "investment": None,
                "jobs": 0,
                "withdrawn": False,
            },
        }
        assert expected_programmes(order) == {
            "north": {"name": None, "investment": {"amount": 1.5, "currency": "EUR"}, "jobs": 5}
        }


def test_a_dependency_holds_with_the_newest_lag_when_declared_after_it_was_withdrawn() -> None:
    first = event_json(DEPENDENCY_DECLARED, "01", milestone="x", after=after("quay"), lag_days=5)
    withdrawn = event_json(DEPENDENCY_WITHDRAWN, "02", milestone="x", after=after("quay"))
    again = event_json(DEPENDENCY_DECLARED, "03", milestone="x", after=after("quay"))
    key = ("north", "wharf", "x", "quay", "y")
    assert expected_dependencies([first]) == {key: 5}
    assert expected_dependencies([withdrawn, first]) == {}
    assert expected_dependencies([again, withdrawn, first]) == {key: 0}
    named = [(row["project"], row["milestone"]) for row in expected_milestones([withdrawn], TODAY)]
    assert named == [("quay", "y"), ("wharf", "x")]
    assert list(expected_projects([withdrawn])) == [("north", "quay"), ("north", "wharf")]


def dated(name: str, classifier: str, day: str, time: str = "01") -> JsonEvent:
    """Give a report on `project/milestone`."""
    project, _, milestone = name.partition("/")
    return event_json(
        MILESTONE_REPORTED, time, on=f"north/{project}", milestone=milestone, classifier=classifier, date=day
    )


def waits(name: str, after: str, time: str = "01", *, type_: str = DEPENDENCY_DECLARED, **more: Any) -> JsonEvent:  # noqa: ANN401 - fields of JSON
    """Give a dependency of `project/milestone` on another one."""
    project, _, milestone = name.partition("/")
    other = dict(zip(("project", "milestone"), after.split("/"), strict=True))
    return event_json(type_, time, on=f"north/{project}", milestone=milestone, after=other, **more)


def cancelled(name: str, time: str = "02") -> JsonEvent:
    project, _, milestone = name.partition("/")
    return event_json(MILESTONE_CANCELLED, time, on=f"north/{project}", milestone=milestone)


def expected(*events: JsonEvent, data_date: date = TODAY, fields: str = "forecast driver state") -> dict[str, Any]:
    """Give of each milestone these fields, or the field when it is one."""
    return {
        f"{row['project']}/{row['milestone']}": values[0] if len(values) == 1 else values
        for row in expected_milestones(events, data_date)
        for values in [tuple(row[field] for field in fields.split())]
    }


def floats(*events: JsonEvent) -> dict[str, int | None]:
    return expected(*events, fields="float_days")


def test_a_predecessor_sets_the_forecast_and_drives_it_when_it_is_strictly_later_with_its_lag() -> None:
    plans = [dated("wharf/a", "PLN", "2026-06-10"), dated("wharf/b", "PLN", "2026-06-12")]
    # 10 June and five days is 15 June: three days after b's own date, and b is the end of the only path.
    a, b = expected_milestones([*plans, waits("wharf/b", "wharf/a", lag_days=5)], TODAY)
    assert (a["forecast"], a["slip_days"], a["float_days"], a["state"], a["driver"]) == (
        "2026-06-10",
        0,
        -3,
        "planned",
        None,
    )
    assert (b["forecast"], b["slip_days"], b["float_days"], b["state"], b["driver"]) == (
        "2026-06-15",
        3,
        -3,
        "blocked",
        "wharf/a",
    )
    # Exactly its own date, and earlier than it: nobody drives.
    for lag in (2, 1, -30):
        a, b = expected_milestones([*plans, waits("wharf/b", "wharf/a", lag_days=lag)], TODAY)
        assert (a["float_days"], b["forecast"], b["driver"], b["state"]) == (0, "2026-06-12", None, "planned")
    # A negative lag lets b come before a, and still drive it: 10 July less 10 days is 30 June.
    later = dated("wharf/a", "EST", "2026-07-10", "02")
    assert expected(*plans, later, waits("wharf/b", "wharf/a", lag_days=-10))["wharf/b"] == (
        "2026-06-30",
        "wharf/a",
        "blocked",
    )


def test_a_milestone_without_an_own_date_takes_the_one_its_predecessors_set_but_never_one_in_the_past() -> None:
    estimate = dated("wharf/a", "EST", "2026-03-09")
    with_lag = [estimate, waits("wharf/b", "wharf/a", lag_days=4)]
    assert expected(*with_lag, data_date=date(2026, 3, 9)) == {
        "wharf/a": ("2026-03-09", None, "planned"),
        "wharf/b": ("2026-03-13", "wharf/a", "blocked"),
    }
    # An overdue gate pushes what waits for it, day by day.
    assert expected(*with_lag, data_date=date(2026, 3, 10)) == {
        "wharf/a": ("2026-03-10", None, "overdue"),
        "wharf/b": ("2026-03-14", "wharf/a", "blocked"),
    }
    # A gate that was passed pushes no more: 9 March and four days, then it is the data date that counts.
    passed = [*with_lag, dated("wharf/a", "ACT", "2026-03-09", "05")]
    for day, told_of_b in (
        (date(2026, 3, 12), ("2026-03-13", "wharf/a", "blocked")),
        (date(2026, 3, 13), ("2026-03-13", None, "planned")),
        (date(2026, 3, 14), ("2026-03-14", None, "planned")),
    ):
        assert expected(*passed, data_date=day)["wharf/b"] == told_of_b
    # Without a baseline there is no slip, without a plan no float.
    [_, b] = expected_milestones(with_lag, TODAY)
    assert (b["slip_days"], b["float_days"]) == (None, None)


def test_predecessors_without_a_forecast_do_not_count_and_neither_date_nor_predecessor_is_unknown() -> None:
    chain = [waits("wharf/b", "wharf/a"), waits("wharf/c", "wharf/b"), waits("wharf/c", "wharf/x")]
    unknown = (None, None, "unknown")
    assert expected(*chain) == dict.fromkeys(("wharf/a", "wharf/b", "wharf/c", "wharf/x"), unknown)
    assert expected(*chain, dated("wharf/b", "PLN", "2026-06-01")) == {
        "wharf/a": unknown,
        "wharf/b": ("2026-06-01", None, "planned"),
        "wharf/c": ("2026-06-01", "wharf/b", "blocked"),
        "wharf/x": unknown,
    }


def test_an_achieved_milestone_has_no_driver_however_late_its_predecessor_is() -> None:
    events = [
        dated("wharf/a", "PLN", "2026-06-01"),
        waits("wharf/b", "wharf/a"),
        dated("wharf/b", "ACT", "2026-01-02", "03"),
        waits("wharf/c", "wharf/b", lag_days=100),
    ]
    # 2 January and 100 days: 29 to the end of January, 28 of February, 31 of March, and 12 of April.
    assert expected(*events) == {
        "wharf/a": ("2026-06-01", None, "planned"),
        "wharf/b": ("2026-01-02", None, "achieved"),
        "wharf/c": ("2026-04-12", "wharf/b", "blocked"),
    }


def test_cancelled_predecessors_do_not_count_nor_those_of_withdrawn_projects_until_they_are_back() -> None:
    events = [
        dated("quay/a", "PLN", "2026-08-01"),
        dated("wharf/a", "PLN", "2026-07-01"),
        dated("wharf/b", "PLN", "2026-06-01"),
        waits("wharf/b", "quay/a"),
        waits("wharf/b", "wharf/a"),
    ]
    withdrawn = event_json(PROJECT_WITHDRAWN, "02", on="north/quay")
    assert expected(*events)["wharf/b"] == ("2026-08-01", "quay/a", "blocked")
    assert expected(*events, withdrawn)["wharf/b"] == ("2026-07-01", "wharf/a", "blocked")
    assert expected(*events, withdrawn, cancelled("wharf/a"))["wharf/b"] == ("2026-06-01", None, "planned")
    back = [event_json(PROJECT_REGISTERED, "03", on="north/quay"), dated("wharf/a", "EST", "2026-09-01", "03")]
    assert expected(*events, withdrawn, cancelled("wharf/a"), *back)["wharf/b"] == ("2026-09-01", "wharf/a", "blocked")
    # Cancelled comes before achieved.
    done = dated("wharf/a", "ACT", "2026-01-01")
    assert expected(done, cancelled("wharf/a"), waits("wharf/b", "wharf/a"))["wharf/b"] == (None, None, "unknown")


def test_a_cancelled_milestone_has_no_forecast_driver_slip_or_float_and_drives_nobody() -> None:
    events = [
        dated("wharf/a", "PLN", "2026-06-10"),
        dated("wharf/b", "PLN", "2026-06-01"),
        waits("wharf/b", "wharf/a"),
        dated("wharf/c", "PLN", "2026-06-05"),
        waits("wharf/c", "wharf/b"),
        cancelled("wharf/b"),
    ]
    assert expected(*events, fields="forecast driver slip_days float_days state") == {
        "wharf/a": ("2026-06-10", None, 0, 0, "planned"),
        "wharf/b": (None, None, None, None, "cancelled"),
        "wharf/c": ("2026-06-05", None, 0, 0, "planned"),
    }


def test_rows_stand_by_programme_project_date_catalogue_and_name_where_numbers_count_by_value() -> None:
    def rows(*names: str, **dates: str) -> list[JsonRow]:
        fields = dict.fromkeys(("baseline", "planned", "estimated", "actual", "forecast"))
        keys = [dict(zip(("programme", "project", "milestone"), name.split("/"), strict=True)) for name in names]
        return [{**key, **fields, **dates} for key in keys]

    in_order = [
        *rows("area-9/b/x", baseline="2026-09-01"),
        *rows("area-10/a/x", baseline="2026-01-01"),
        *rows("area-10/lot-02/x", baseline="2026-09-01"),
        *rows("area-10/lot-2/x", baseline="2026-01-01", forecast="2027-01-01"),
        *rows("area-10/lot-2/w", planned="2026-01-02", estimated="2026-01-01"),
        *rows("area-10/lot-2/v", estimated="2026-01-03", actual="2026-01-01"),
        *rows("area-10/lot-2/u", actual="2026-01-04", forecast="2026-01-01"),
        *rows("area-10/lot-2/t", forecast="2026-01-05"),
        *rows(*(f"area-10/lot-2/{name}" for name in ("agreement-signed", "permit-approved", "hall-9", "hall-10"))),
        *rows("area-10/lot-10/x", "area-10/lot-a/x"),
    ]
    assert in_order_of_rows(in_order[::-1]) == in_order
    assert in_order_of_rows(sorted(in_order, key=str)) == in_order


def test_of_predecessors_that_set_the_same_date_the_first_by_project_then_milestone_drives() -> None:
    names = ("a-z/x", "a.b/x", "a/y", "a/z", "b/a")
    equal = [event for name in names for event in (dated(name, "PLN", "2026-06-01"), waits("wharf/b", name))]
    # As one text "a-z/x" would come before "a/y".
    assert expected(*equal)["wharf/b"] == ("2026-06-01", "a/y", "blocked")
    assert expected(*equal, cancelled("a/y"))["wharf/b"] == ("2026-06-01", "a/z", "blocked")
    assert expected(*equal, cancelled("a/y"), cancelled("a/z"))["wharf/b"] == ("2026-06-01", "a-z/x", "blocked")
    # It is the date with the lag that is equal, and a later one comes before the first.
    lag = waits("wharf/b", "b/a", "02", lag_days=1)
    assert expected(*equal, lag)["wharf/b"] == ("2026-06-02", "b/a", "blocked")
    assert expected(*equal, lag, waits("wharf/b", "a.b/x", "02", lag_days=1))["wharf/b"] == (
        "2026-06-02",
        "a.b/x",
        "blocked",
    )


def test_an_own_date_in_the_past_is_overdue_even_with_a_driver_and_a_driver_comes_before_a_slip() -> None:
    events = [
        dated("wharf/a", "PLN", "2026-03-12"),
        dated("wharf/b", "PLN", "2026-03-09"),
        dated("wharf/b", "PLN", "2026-03-11", "02"),
        waits("wharf/b", "wharf/a"),
    ]
    assert expected(*events, data_date=date(2026, 3, 11))["wharf/b"] == ("2026-03-12", "wharf/a", "blocked")
    assert expected(*events, data_date=date(2026, 3, 12))["wharf/b"] == ("2026-03-12", None, "overdue")
    lag = waits("wharf/b", "wharf/a", "02", lag_days=1)
    assert expected(*events, lag, data_date=date(2026, 3, 12))["wharf/b"] == ("2026-03-13", "wharf/a", "overdue")
    assert expected(*events, cancelled("wharf/a"))["wharf/b"] == ("2026-03-11", None, "slipping")


def test_float_is_the_smallest_over_the_paths_that_begin_at_an_open_milestone() -> None:
    estimates = [dated(name, "EST", "2026-06-01") for name in ("wharf/a", "wharf/b", "wharf/c")]
    diamond = [
        *estimates,
        dated("wharf/d", "PLN", "2026-06-30"),
        waits("wharf/b", "wharf/a", lag_days=2),
        waits("wharf/d", "wharf/b", lag_days=3),
        waits("wharf/c", "wharf/a", lag_days=10),
        waits("wharf/d", "wharf/c", lag_days=-1),
    ]
    # a is forecast for 1 June, b for the 3rd, c for the 11th, d for the 30th. a may be as late as 25 June for
    # the sake of b, as 21 June for the sake of c; b as 27 June, c as 1 July.
    assert floats(*diamond) == {"wharf/a": 20, "wharf/b": 24, "wharf/c": 20, "wharf/d": 0}
    # Its own plan counts, and that of every milestone on the way, though the estimate is what was said last.
    before = "2025-12-31T12:00:00Z"
    assert floats(*diamond, dated("wharf/a", "PLN", "2026-05-31", before))["wharf/a"] == -1
    on_the_way = dated("wharf/b", "PLN", "2026-06-05", before)
    # b, forecast for the 3rd, has two days to its plan of the 5th, and so has a, two days ahead of it.
    assert floats(*diamond, on_the_way) == {"wharf/a": 2, "wharf/b": 2, "wharf/c": 20, "wharf/d": 0}


def test_no_path_of_float_goes_through_what_is_achieved_or_cancelled() -> None:
    events = [
        dated("wharf/a", "EST", "2026-06-01"),
        dated("wharf/b", "PLN", "2026-06-11"),
        waits("wharf/b", "wharf/a"),
        dated("wharf/c", "PLN", "2026-06-06"),
        waits("wharf/c", "wharf/b"),
    ]
    # c is forecast for 11 June with b, five days after its plan; a has five days to 6 June.
    assert floats(*events) == {"wharf/a": 5, "wharf/b": -5, "wharf/c": -5}
    assert floats(*events, cancelled("wharf/c")) == {"wharf/a": 10, "wharf/b": 0, "wharf/c": None}
    assert floats(*events, cancelled("wharf/b")) == {"wharf/a": None, "wharf/b": None, "wharf/c": 0}
    done = dated("wharf/b", "ACT", "2026-01-02", "03")
    assert floats(*events, done) == {"wharf/a": None, "wharf/b": None, "wharf/c": 0}


def test_without_a_forecast_there_is_no_float_and_without_a_planned_date_downstream_neither() -> None:
    follows = waits("wharf/b", "wharf/a")
    assert floats(follows, dated("wharf/b", "PLN", "2026-06-01")) == {"wharf/a": None, "wharf/b": 0}
    assert floats(follows, dated("wharf/a", "EST", "2026-06-01")) == {"wharf/a": None, "wharf/b": None}
    assert floats(follows, dated("wharf/a", "PLN", "2026-06-01")) == {"wharf/a": 0, "wharf/b": None}


def test_a_dependency_that_would_close_a_cycle_is_set_aside_and_the_one_declared_last_is_it() -> None:
    plans = [dated("wharf/a", "PLN", "2026-06-01"), dated("wharf/b", "PLN", "2026-06-11")]
    a_first, b_first = ("north", "wharf", "b", "wharf", "a"), ("north", "wharf", "a", "wharf", "b")
    older, newer = waits("wharf/b", "wharf/a", "02", lag_days=20), waits("wharf/a", "wharf/b", "03", lag_days=20)
    for order in permutations([older, newer, *plans]):
        assert expected_cyclic(order) == {"north": [b_first]}
        assert expected(*order) == {
            "wharf/a": ("2026-06-01", None, "planned"),
            "wharf/b": ("2026-06-21", "wharf/a", "blocked"),
        }
    assert set(expected_dependencies([older, newer])) == {a_first, b_first}
    # A declaration said again is the newer one, even with the same content.
    again = waits("wharf/b", "wharf/a", "04", lag_days=20)
    events = [again, older, newer, *plans]
    assert expected_cyclic(events) == {"north": [a_first]}
    assert expected(*events)["wharf/a"] == ("2026-07-01", "wharf/b", "blocked")
    assert expected_cyclic(events, "2026-01-03T12:00:00Z") == {"north": [b_first]}
    assert expected_cyclic(events, "2026-01-02T12:00:00Z") == {"north": []}
    # With the older one taken back the newer one counts.
    taken_back = waits("wharf/b", "wharf/a", "04", type_=DEPENDENCY_WITHDRAWN)
    assert expected_cyclic([older, newer, taken_back, *plans]) == {"north": []}
    assert expected(older, newer, taken_back, *plans)["wharf/a"] == ("2026-07-01", "wharf/b", "blocked")


def test_at_one_instant_source_then_id_decide_which_dependency_is_set_aside() -> None:
    there, back = waits("wharf/b", "wharf/a"), waits("wharf/a", "wharf/b")
    there_last, back_last = ("north", "wharf", "b", "wharf", "a"), ("north", "wharf", "a", "wharf", "b")
    named = [{**there, "source": "b", "id": "1"}, {**back, "source": "b", "id": "2"}]
    assert expected_cyclic(named) == {"north": [back_last]}
    named = [{**there, "source": "b", "id": "1"}, {**back, "source": "a", "id": "2"}]
    assert expected_cyclic(named) == {"north": [there_last]}


def test_a_milestone_that_waits_for_itself_closes_a_cycle_and_is_otherwise_read_as_ever() -> None:
    events = [dated("wharf/a", "PLN", "2026-06-01"), waits("wharf/a", "wharf/a", lag_days=5)]
    assert expected_cyclic(events) == {"north": [("north", "wharf", "a", "wharf", "a")]}
    assert expected(*events) == {"wharf/a": ("2026-06-01", None, "planned")}
    assert expected_dependents(events) == {("north", "wharf", "a"): 0}


def test_longer_cycles_count_and_those_over_cancelled_milestones_but_none_over_what_is_set_aside() -> None:
    ring = [
        waits("wharf/b", "wharf/a", "02"),
        waits("quay/c", "wharf/b", "03"),
        waits("wharf/a", "quay/c", "04"),
        # Only the one set aside would make a ring of these.
        waits("wharf/x", "wharf/a", "05"),
        waits("quay/c", "wharf/x", "06"),
    ]
    closing = ("north", "wharf", "a", "quay", "c")
    assert expected_cyclic(ring) == {"north": [closing]}
    assert expected_cyclic([*ring, cancelled("wharf/b", "09")]) == {"north": [closing]}
    assert expected_cyclic([*ring, event_json(PROJECT_WITHDRAWN, "09", on="north/quay")]) == {"north": [closing]}
    # Two that each close a cycle, and a programme where there is none.
    events = [*ring, waits("wharf/a", "wharf/b", "07"), event_json(PROGRAMME_REGISTERED, "01", on="east")]
    assert expected_cyclic(events) == {"east": [], "north": [closing, ("north", "wharf", "a", "wharf", "b")]}
    # What is named alike in another programme is another milestone.
    elsewhere = event_json(
        DEPENDENCY_DECLARED, "01", on="east/wharf", milestone="a", after={"project": "wharf", "milestone": "b"}
    )
    assert expected_cyclic([ring[0], elsewhere]) == {"east": [], "north": []}


def test_dependents_are_the_open_milestones_downstream_each_counted_once_and_none_past_a_closed_one() -> None:
    events = [
        waits("wharf/b", "wharf/a"),
        waits("wharf/c", "wharf/a"),
        waits("wharf/d", "wharf/b"),
        waits("wharf/d", "wharf/c"),
        waits("quay/e", "wharf/d"),
        waits("wharf/a", "quay/e", "02"),
    ]

    def dependents(*more: JsonEvent) -> dict[str, int]:
        counted = expected_dependents([*events, *more])
        assert {programme for programme, _, _ in counted} == {"north"}
        return {f"{project}/{milestone}": number for (_, project, milestone), number in counted.items()}

    assert dependents() == {"quay/e": 0, "wharf/a": 4, "wharf/b": 2, "wharf/c": 2, "wharf/d": 1}
    # What is achieved is not counted, nor is what waits through it.
    done = dated("wharf/d", "ACT", "2026-01-02", "03")
    assert dependents(done) == {"quay/e": 0, "wharf/a": 2, "wharf/b": 0, "wharf/c": 0, "wharf/d": 1}
    assert dependents(cancelled("wharf/b")) == {"quay/e": 0, "wharf/a": 3, "wharf/b": 0, "wharf/c": 2, "wharf/d": 1}
    assert dependents(cancelled("wharf/d")) == {"quay/e": 0, "wharf/a": 2, "wharf/b": 0, "wharf/c": 0, "wharf/d": 0}
    gone = event_json(PROJECT_WITHDRAWN, "03", on="north/quay")
    assert dependents(gone) == {"quay/e": 0, "wharf/a": 3, "wharf/b": 1, "wharf/c": 1, "wharf/d": 0}
    alone = dated("quay/z", "PLN", "2026-06-01")
    assert dependents(alone)["quay/z"] == 0
    freed = waits("wharf/b", "wharf/a", "02", type_=DEPENDENCY_WITHDRAWN)
    assert dependents(freed)["wharf/a"] == 3


def test_a_chain_of_two_thousand_is_read_to_its_end() -> None:
    names = [f"wharf/m{number:04}" for number in range(2000)]
    ends = [dated(names[0], "EST", "2026-06-01"), dated(names[-1], "PLN", "2026-06-01")]

    def chain(lag: int) -> list[JsonEvent]:
        return [*ends, *(waits(later, earlier, lag_days=lag) for earlier, later in pairwise(names))]

    # 1999 days after 1 June 2026: five years with one leap day are 1826, 173 more lead past 30 days of June, 31 of
    # July and of August, 30 of September and 31 of October (153) to 21 November.
    last = expected_milestones(chain(1), TODAY)[-1]
    assert (last["forecast"], last["slip_days"], last["float_days"]) == ("2031-11-21", 1999, -1999)
    assert (last["state"], last["driver"]) == ("blocked", "wharf/m1998")
    dependents = expected_dependents(chain(1))
    assert list(dependents.values()) == list(range(1999, -1, -1))
    # From the last back to the first it closes a cycle, and from the first to the last it does not.
    closing = waits(names[0], names[-1], "02")
    assert expected_cyclic([*chain(1), closing]) == {"north": [("north", "wharf", "m0000", "wharf", "m1999")]}
    assert expected_cyclic([*chain(1), waits(names[-1], names[0], "02")]) == {"north": []}
    # Ten years each lead out of the calendar: nothing is forecast later than its end.
    rows = expected_milestones(chain(3650), TODAY)
    assert (rows[1]["forecast"], rows[1]["float_days"]) == ("2036-05-29", -1999 * 3650)
    assert (rows[-2]["forecast"], rows[-1]["forecast"], rows[-1]["driver"]) == (
        "9999-12-31",
        "9999-12-31",
        "wharf/m1998",
    )


def test_nothing_is_later_than_the_last_day_of_the_calendar_nor_set_later_than_it() -> None:
    events = [dated("wharf/a", "PLN", "2026-06-01"), waits("wharf/b", "wharf/a", lag_days=3)]
    assert expected(*events, data_date=date(9999, 12, 30)) == {
        "wharf/a": ("9999-12-30", None, "overdue"),
        "wharf/b": ("9999-12-31", "wharf/a", "blocked"),
    }
    assert expected(*events, data_date=date.max) == {
        "wharf/a": ("9999-12-31", None, "overdue"),
        "wharf/b": ("9999-12-31", None, "planned"),
    }


@given(event_sets(), st.randoms(use_true_random=False))
def test_the_reading_knows_no_order_and_no_repetition(published: list[JsonEvent], chance: Any) -> None:  # noqa: ANN401 - random.Random, or what Hypothesis has for it
    delivered = published + published[: len(published) // 2]
    chance.shuffle(delivered)
    assert expected_milestones(delivered, TODAY) == expected_milestones(published, TODAY)
    assert expected_projects(delivered) == expected_projects(published)
    assert expected_dependencies(delivered) == expected_dependencies(published)
    assert expected_cyclic(delivered) == expected_cyclic(published)
    assert expected_dependents(delivered) == expected_dependents(published)


@given(events())
def test_both_content_modes_carry_the_whole_event(event: JsonEvent) -> None:
    headers, value = structured_record(event)
    assert dict(headers) == {"content-type": b"application/cloudevents+json"}
    assert json.loads(value) == event
    headers, value = binary_record(event)
    assert dict(headers)["content-type"] == b"application/json"
    carried = {name.removeprefix("ce_"): text.decode() for name, text in headers if name.startswith("ce_")}
    assert {**carried, "data": json.loads(value)} == {k: v for k, v in event.items() if k != "datacontenttype"}


@given(events())
def test_no_event_is_of_the_future_and_nothing_happened_later_than_a_day_after_it_was_said(event: JsonEvent) -> None:
    assert_is_of_the_past(event)


def assert_is_of_the_past(event: JsonEvent) -> None:
    said_at = seconds_since_day_zero(event["recordedtime"] if "recordedtime" in event else event["time"])
    assert max(said_at, seconds_since_day_zero(event["time"])) < seconds_since_day_zero(STAMP_LIMIT.isoformat())
    if event["data"].get("classifier") == "ACT":
        assert seconds_since_day_zero(f"{event['data']['date']}T00:00:00Z") <= said_at + 86400


def test_the_same_seed_gives_the_same_events_with_every_rule_at_work() -> None:
    published = random_events(1, 3000, with_dependencies=True)
    assert published == random_events(1, 3000, with_dependencies=True)
    assert published != random_events(2, 3000, with_dependencies=True)
    assert len({(event["source"], event["id"]) for event in published}) == 3000
    delivered = shuffled_with_duplicates(published, 1)
    assert len(delivered) > 4000
    rows = expected_milestones(delivered, date(2026, 11, 1))
    assert {row["state"] for row in rows} == {
        "achieved",
        "blocked",
        "cancelled",
        "overdue",
        "planned",
        "slipping",
        "unknown",
    }
    assert any(expected_cyclic(published).values())
    assert rows == expected_milestones(published, date(2026, 11, 1))
    assert expected_dependencies(published)
    assert not expected_dependencies(random_events(1, 3000))
    for event in published:
        assert_is_of_the_past(event)
