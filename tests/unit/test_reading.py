"""Examples worked out by hand that pin the reading which other tests trust, and the events made for them."""

import json
from datetime import date
from itertools import count, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.publisher import UNTIL, binary, event_sets, events, random_events, shuffled_with_duplicates, structured
from tests.reading import (
    CANCELLED,
    DEPENDENCY_DECLARED,
    DEPENDENCY_WITHDRAWN,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    REPORTED,
    RETRACTED,
    Event,
    Row,
    instant,
    read_dependencies,
    read_milestones,
    read_programmes,
    read_projects,
)

TODAY = date(2026, 3, 10)
_numbers = count(1)


def said(type_: str, time: str, *, source: str = "office", called: str = "", on: str = "", **data: Any) -> Event:  # noqa: ANN401 - fields of JSON
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


def report(time: str, classifier: str, day: str, **more: str) -> Event:
    return said(REPORTED, time, milestone="permit-approved", classifier=classifier, date=day, **more)


def only(*events: Event, data_date: date = TODAY, as_of: str | None = None) -> Row:
    [row] = read_milestones(events, data_date, as_of)
    return row


def test_a_replan_moves_planned_but_never_the_baseline_so_the_slip_stays_visible() -> None:
    assert only(report("05", "PLN", "2026-06-11"), report("01", "PLN", "2026-06-01")) == {
        "programme": "north",
        "project": "wharf",
        "milestone": "permit-approved",
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


def test_a_cancelled_milestone_keeps_its_dates_and_a_newer_report_revives_it() -> None:
    plan = report("01", "PLN", "2026-06-01")
    cancelled = said(CANCELLED, "02", milestone="permit-approved")
    row = only(cancelled, plan)
    assert (row["state"], row["forecast"], row["slip_days"], row["float_days"]) == (
        "cancelled",
        "2026-06-01",
        0,
        None,
    )
    assert only(plan, cancelled, report("03", "EST", "2026-06-01"))["state"] == "planned"
    assert only(cancelled)["state"] == "cancelled"


def test_the_milestones_of_a_withdrawn_project_are_cancelled_until_a_newer_registration() -> None:
    withdrawn = said(PROJECT_WITHDRAWN, "05")
    declared = said(DEPENDENCY_DECLARED, "09", on="north/quay", milestone="x", after=after("wharf"))
    events = [report("09", "ACT", "2026-01-09"), said(PROJECT_REGISTERED, "04"), withdrawn, declared]
    states = [(row["project"], row["milestone"], row["state"]) for row in read_milestones(events, TODAY)]
    assert states == [
        ("quay", "x", "unknown"),
        ("wharf", "permit-approved", "cancelled"),
        ("wharf", "y", "cancelled"),
    ]
    back = said(PROJECT_REGISTERED, "06", jobs=7)
    assert [row["state"] for row in read_milestones([back, *events], TODAY)] == ["unknown", "achieved", "unknown"]


def after(project: str) -> dict[str, str]:
    return {"project": project, "milestone": "y"}


def test_a_retraction_counts_in_either_order_but_only_from_the_same_source_and_not_against_a_retraction() -> None:
    first, second = report("01", "PLN", "2026-06-01", called="a"), report("02", "PLN", "2026-07-01", called="b")
    taken_back = said(RETRACTED, "03", called="c", retracts="a", reason="incorrect_data")
    for order in permutations([first, second, taken_back, first]):
        assert only(*order)["baseline"] == "2026-07-01"
    of_another = said(RETRACTED, "03", source="other", retracts="a", reason="incorrect_data")
    assert only(first, second, of_another)["baseline"] == "2026-06-01"
    of_the_retraction = said(RETRACTED, "04", called="d", retracts="c", reason="did_not_occur")
    assert only(first, second, taken_back, of_the_retraction)["baseline"] == "2026-07-01"


def test_what_only_a_retracted_event_named_does_not_exist_but_the_project_of_the_retraction_does() -> None:
    events = [
        report("01", "PLN", "2026-06-01", called="a", on="south/wharf"),
        said(RETRACTED, "02", retracts="a", reason="did_not_occur", on="north/quay"),
    ]
    assert read_milestones(events, TODAY) == []
    assert list(read_projects(events)) == [("north", "quay")]
    assert list(read_programmes(events)) == ["north"]


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
        said(RETRACTED, "05", retracts="a", reason="incorrect_data"),
    ]
    assert only(*events, as_of="2026-01-03T11:59:59.999999999Z")["planned"] == "2026-06-01"
    assert only(*events, as_of="2026-01-03T13:00:00+01:00")["slip_days"] == 30
    assert only(*events, as_of="2026-01-05T12:00:00Z")["baseline"] == "2026-07-01"
    assert read_milestones(events, TODAY, "2025-12-31T00:00:00Z") == []


def test_every_field_of_a_project_is_its_own_register_and_a_site_exists_by_being_named() -> None:
    events = [
        said(PROJECT_REGISTERED, "03", name="new", site="park"),
        said(PROJECT_REGISTERED, "02", name="old", kind="participant", jobs=0),
        said(PROJECT_REGISTERED, "01", name="older", jobs=9),
        said(PROJECT_WITHDRAWN, "04", on="north/park", site="unknown-fields-name-nothing"),
        said(PROGRAMME_REGISTERED, "01", jobs=5, investment={"amount": 1.5, "currency": "EUR"}),
    ]
    for event in events:
        event["data"].setdefault("name", None)
    for order in permutations(events):
        assert read_projects(order) == {
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
        assert read_programmes(order) == {
            "north": {"name": None, "investment": {"amount": 1.5, "currency": "EUR"}, "jobs": 5}
        }


def test_a_dependency_holds_with_the_newest_lag_when_declared_after_it_was_withdrawn() -> None:
    first = said(DEPENDENCY_DECLARED, "01", milestone="x", after=after("quay"), lag_days=5)
    withdrawn = said(DEPENDENCY_WITHDRAWN, "02", milestone="x", after=after("quay"))
    again = said(DEPENDENCY_DECLARED, "03", milestone="x", after=after("quay"))
    key = ("north", "wharf", "x", "quay", "y")
    assert read_dependencies([first]) == {key: 5}
    assert read_dependencies([withdrawn, first]) == {}
    assert read_dependencies([again, withdrawn, first]) == {key: 0}
    named = [(row["project"], row["milestone"]) for row in read_milestones([withdrawn], TODAY)]
    assert named == [("quay", "y"), ("wharf", "x")]
    assert list(read_projects([withdrawn])) == [("north", "quay"), ("north", "wharf")]


@given(event_sets(), st.randoms(use_true_random=False))
def test_the_reading_knows_no_order_and_no_repetition(published: list[Event], chance: Any) -> None:  # noqa: ANN401 - random.Random, or what Hypothesis has for it
    delivered = published + published[: len(published) // 2]
    chance.shuffle(delivered)
    assert read_milestones(delivered, TODAY) == read_milestones(published, TODAY)
    assert read_projects(delivered) == read_projects(published)
    assert read_dependencies(delivered) == read_dependencies(published)


@given(events())
def test_both_content_modes_carry_the_whole_event(event: Event) -> None:
    headers, value = structured(event)
    assert dict(headers) == {"content-type": b"application/cloudevents+json"}
    assert json.loads(value) == event
    headers, value = binary(event)
    assert dict(headers)["content-type"] == b"application/json"
    carried = {name.removeprefix("ce_"): text.decode() for name, text in headers if name.startswith("ce_")}
    assert {**carried, "data": json.loads(value)} == {k: v for k, v in event.items() if k != "datacontenttype"}


@given(events())
def test_no_event_is_of_the_future_and_nothing_happened_later_than_a_day_after_it_was_said(event: Event) -> None:
    assert_is_of_the_past(event)


def assert_is_of_the_past(event: Event) -> None:
    said_at = instant(event["recordedtime"] if "recordedtime" in event else event["time"])
    assert max(said_at, instant(event["time"])) < instant(UNTIL.isoformat())
    if event["data"].get("classifier") == "ACT":
        assert instant(f"{event['data']['date']}T00:00:00Z") <= said_at + 86400


def test_the_same_seed_gives_the_same_events_with_every_rule_at_work() -> None:
    published = random_events(1, 3000, with_dependencies=True)
    assert published == random_events(1, 3000, with_dependencies=True)
    assert published != random_events(2, 3000, with_dependencies=True)
    assert len({(event["source"], event["id"]) for event in published}) == 3000
    delivered = shuffled_with_duplicates(published, 1)
    assert len(delivered) > 4000
    rows = read_milestones(delivered, date(2026, 11, 1))
    assert {row["state"] for row in rows} == {
        "achieved",
        "cancelled",
        "overdue",
        "planned",
        "slipping",
        "unknown",
    }
    assert rows == read_milestones(published, date(2026, 11, 1))
    assert read_dependencies(published)
    assert not read_dependencies(random_events(1, 3000))
    for event in published:
        assert_is_of_the_past(event)
