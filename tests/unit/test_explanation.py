"""Why a forecast is what it is, by hand, and for any programme held against the picture that is explained."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from models.domain.claims import DependencyKey, MilestoneKey, fold, unretracted
from models.domain.cloudevents import decode
from models.domain.events import Classifier, Event
from models.domain.explanation import Evidence, LeftOut, Link, Role, SetBy, Why, explain
from models.domain.schedule import Driver, State, picture
from models.domain.timestamps import make_stamp, parse_instant
from tests.publisher import random_events, structured
from tests.reading import Event as Json
from tests.told import cancel, depend, register, report, undepend, withdraw

TODAY = date(2026, 3, 10)
FIRST, LATER, LAST = (f"2026-01-0{day}T12:00:00Z" for day in (1, 2, 3))


def events_of(told: Sequence[Json]) -> list[Event]:
    read = [decode(*structured(event)) for event in told]
    events = [event for event in read if isinstance(event, Event)]
    assert len(events) == len(told)
    return events


def chain(told: Sequence[Json], of: str, on: date = TODAY) -> list[Link]:
    facts = fold(unretracted(events_of(told)))
    return explain(facts, picture(facts, on), MilestoneKey("north", *of.split("/")))


def only(told: Sequence[Json], of: str = "quay/opened", on: date = TODAY) -> Link:
    [link] = chain(told, of, on)
    return link


def evidence(role: Role, called: str, time: str = FIRST, source: str = "office") -> Evidence:
    return Evidence(make_stamp(parse_instant(time), source, called), role)


PLAN = report("plan", "quay/opened", "PLN", "2026-06-01")


# What sets a forecast


def test_what_was_planned_is_its_own_date_and_its_baseline() -> None:
    link = only([PLAN])
    assert (link.standing.forecast, link.set_by, link.lag_days) == (date(2026, 6, 1), SetBy.PLANNED, None)
    assert (link.own_date, link.own_classifier) == (date(2026, 6, 1), Classifier.PLANNED)
    assert link.evidence == [evidence(Role.BASELINE, "plan"), evidence(Role.PLANNED, "plan")]
    assert link.left_out == []


def test_of_planned_and_estimated_what_was_said_last_sets_it() -> None:
    estimate = report("estimate", "quay/opened", "EST", "2026-07-01", time=LATER)
    link = only([PLAN, estimate])
    assert (link.set_by, link.own_date, link.own_classifier) == (
        SetBy.ESTIMATED,
        date(2026, 7, 1),
        Classifier.ESTIMATED,
    )
    assert link.evidence[-1] == evidence(Role.ESTIMATED, "estimate", LATER)
    again = report("again", "quay/opened", "PLN", "2026-08-01", time=LAST)
    link = only([PLAN, estimate, again])
    assert (link.set_by, link.own_date) == (SetBy.PLANNED, date(2026, 8, 1))
    assert link.evidence == [
        evidence(Role.BASELINE, "plan"),
        evidence(Role.ESTIMATED, "estimate", LATER),
        evidence(Role.PLANNED, "again", LAST),
    ]


def test_a_date_that_has_come_is_still_its_own_and_one_that_has_passed_is_the_data_dates() -> None:
    assert only([PLAN], on=date(2026, 6, 1)).set_by is SetBy.PLANNED
    link = only([PLAN], on=date(2026, 6, 2))
    assert (link.set_by, link.standing.forecast, link.own_date) == (
        SetBy.DATA_DATE,
        date(2026, 6, 2),
        date(2026, 6, 1),
    )


def test_an_actual_date_ends_every_chain_and_nothing_is_waited_for() -> None:
    told = [
        PLAN,
        depend("after", "quay/opened", "dock/opened"),
        report("gate", "dock/opened", "PLN", "2026-09-01"),
        cancel("gone", "dock/built"),
        depend("after-built", "quay/opened", "dock/built"),
        report("done", "quay/opened", "ACT", "2026-01-02", time=LATER),
    ]
    link = only(told)
    assert (link.set_by, link.standing.forecast, link.left_out) == (SetBy.ACTUAL, date(2026, 1, 2), [])
    assert {said.role for said in link.evidence} == {Role.BASELINE, Role.PLANNED, Role.ACTUAL}


def test_of_what_nobody_dated_nothing_is_known() -> None:
    told = [depend("after", "quay/opened", "dock/opened")]
    link = only(told)
    assert (link.set_by, link.standing.forecast, link.own_date, link.evidence) == (SetBy.NOTHING, None, None, [])
    assert link.left_out == [LeftOut(Driver("dock", "opened"), Why.NO_FORECAST)]
    assert only(told, "dock/opened").set_by is SetBy.NOTHING


def test_without_a_date_of_its_own_what_it_waits_for_is_why_it_has_a_forecast_at_all() -> None:
    told = [
        depend("early", "quay/opened", "dock/built"),
        depend("late", "quay/opened", "dock/opened", 5),
        report("built", "dock/built", "ACT", "2026-01-01"),
        report("opened", "dock/opened", "ACT", "2026-01-01"),
    ]
    link = only(told)
    assert (link.set_by, link.standing.forecast, link.own_date) == (SetBy.DATA_DATE, TODAY, None)
    assert link.evidence == [evidence(Role.DEPENDENCY, "late")]
    assert link.lag_days is None


# Chains


def test_a_chain_follows_the_drivers_down_to_the_date_that_is_its_own() -> None:
    told = [
        PLAN,
        depend("1", "quay/opened", "dock/opened", 30),
        report("gate", "dock/opened", "PLN", "2026-05-20"),
        depend("2", "dock/opened", "yard/permit", 10),
        depend("not-this", "dock/opened", "yard/opened"),
        report("other", "yard/opened", "PLN", "2026-05-01"),
        report("permit", "yard/permit", "EST", "2026-06-10"),
    ]
    first, second, third = chain(told, "quay/opened")
    assert (first.standing.key, first.set_by, first.lag_days) == (("north", "quay", "opened"), SetBy.DRIVER, 30)
    assert first.standing.forecast == date(2026, 7, 20)
    assert first.evidence[-1] == evidence(Role.PLANNED, "plan")
    assert evidence(Role.DEPENDENCY, "1") in first.evidence
    assert (second.standing.key, second.set_by, second.lag_days) == (("north", "dock", "opened"), SetBy.DRIVER, 10)
    assert (second.standing.forecast, second.own_date) == (date(2026, 6, 20), date(2026, 5, 20))
    assert evidence(Role.DEPENDENCY, "2") in second.evidence
    assert evidence(Role.DEPENDENCY, "not-this") not in second.evidence
    assert (third.standing.key, third.set_by, third.lag_days) == (("north", "yard", "permit"), SetBy.ESTIMATED, None)


def test_of_a_dependency_declared_twice_the_newer_stands_behind_the_link() -> None:
    told = [
        depend("old", "quay/opened", "dock/opened", 30),
        depend("new", "quay/opened", "dock/opened", 7, time=LATER),
        report("gate", "dock/opened", "PLN", "2026-05-20"),
    ]
    link, _ = chain(told, "quay/opened")
    assert (link.lag_days, link.evidence) == (7, [evidence(Role.DEPENDENCY, "new", LATER)])


def test_what_is_withdrawn_is_not_waited_for_and_not_worth_a_word() -> None:
    told = [
        PLAN,
        report("gate", "dock/opened", "PLN", "2026-09-01"),
        depend("after", "quay/opened", "dock/opened"),
        undepend("no-more", "quay/opened", "dock/opened", time=LATER),
    ]
    link = only(told)
    assert (link.set_by, link.left_out) == (SetBy.PLANNED, [])


def test_a_cancelled_predecessor_and_one_that_would_close_a_cycle_are_left_out_and_named() -> None:
    told = [
        PLAN,
        report("gate", "dock/opened", "PLN", "2026-09-01"),
        cancel("gone", "dock/opened", time=LATER),
        depend("1", "quay/opened", "dock/opened"),
        depend("2", "yard/opened", "quay/opened"),
        depend("3", "quay/opened", "yard/opened", time=LATER),
    ]
    link = only(told)
    assert link.set_by is SetBy.PLANNED
    assert link.left_out == [
        LeftOut(Driver("dock", "opened"), Why.CANCELLED),
        LeftOut(Driver("yard", "opened"), Why.CYCLE),
    ]


def test_a_cancellation_and_a_withdrawn_project_are_evidence_while_they_count() -> None:
    told = [PLAN, register("known", "quay"), cancel("no", "quay/opened", time=LATER)]
    told.append(withdraw("left", "quay", time=LAST))
    link = only(told)
    assert link.standing.state is State.CANCELLED
    assert link.evidence[-2:] == [
        evidence(Role.CANCELLATION, "no", LATER),
        evidence(Role.WITHDRAWAL, "left", LAST),
    ]
    told += [
        register("back", "quay", time="2026-01-04T12:00:00Z"),
        report("again", "quay/opened", "PLN", "2026-06-02", time=LAST),
    ]
    assert {said.role for said in only(told).evidence} == {Role.BASELINE, Role.PLANNED}


# Any programme


@pytest.mark.parametrize("seed", range(4))
def test_every_link_of_every_chain_adds_up(seed: int) -> None:
    events = events_of(random_events(seed, 900, projects=6, with_dependencies=True))
    facts = fold(unretracted(events))
    shown = picture(facts, TODAY)
    names = {event.stamp for event in events}
    seen = set()
    for standing in shown.standings:
        links = explain(facts, shown, standing.key)
        assert links[0].standing == standing
        for link, following in zip(links, [*links[1:], None], strict=True):
            seen.add(link.set_by)
            assert {said.stamp for said in link.evidence} <= names
            assert sorted(link.evidence) == link.evidence
            adds_up(link, following)
            if link.set_by is SetBy.DRIVER:
                assert following is not None
                waits = facts.dependencies[DependencyKey(*link.standing.key, *following.standing.key[1:])]
                assert waits.holds
    assert seen == set(SetBy)


def adds_up(link: Link, following: Link | None) -> None:
    standing = link.standing
    own = link.own_date or date.min
    match link.set_by:
        case SetBy.DRIVER:
            assert following is not None
            assert standing.driver == following.standing.key[1:]
            assert link.lag_days is not None
            assert following.standing.forecast is not None
            assert standing.forecast == following.standing.forecast + timedelta(days=link.lag_days)
            assert standing.forecast > max(own, TODAY)
            return
        case SetBy.ACTUAL:
            assert standing.forecast == standing.actual is not None
        case SetBy.DATA_DATE:
            assert standing.forecast == TODAY > own
        case SetBy.NOTHING:
            assert standing.forecast is None
            assert link.own_date is None
        case SetBy.PLANNED:
            assert (standing.forecast, link.own_classifier) == (standing.planned, Classifier.PLANNED)
        case SetBy.ESTIMATED:
            assert (standing.forecast, link.own_classifier) == (standing.estimated, Classifier.ESTIMATED)
    assert (following, standing.driver, link.lag_days) == (None, None, None)
