"""Why a forecast is what it is, by hand, and for any programme held against the picture that is explained."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest

from models.domain.claims import DependencyKey, MilestoneKey, exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Classifier, Event
from models.domain.explanation import (
    ChainLink,
    Evidence,
    EvidenceRole,
    ForecastBasis,
    IgnoredBecause,
    IgnoredPredecessor,
    explain_forecast,
)
from models.domain.schedule import MilestoneRef, State, compute_schedule
from models.domain.timestamps import make_stamp, parse_instant
from tests.helpers.event_generators import random_events, structured_record
from tests.helpers.events import (
    cancellation,
    date_report,
    dependency_declaration,
    dependency_withdrawal,
    project_registration,
    project_withdrawal,
)
from tests.helpers.oracle import JsonEvent as Json

TODAY = date(2026, 3, 10)
FIRST, LATER, LAST = (f"2026-01-0{day}T12:00:00Z" for day in (1, 2, 3))


def events_of(told: Sequence[Json]) -> list[Event]:
    read = [decode(*structured_record(event)) for event in told]
    events = [event for event in read if isinstance(event, Event)]
    assert len(events) == len(told)
    return events


def chain(told: Sequence[Json], of: str, on: date = TODAY) -> list[ChainLink]:
    facts = fold(exclude_retracted(events_of(told)))
    return explain_forecast(facts, compute_schedule(facts, on), MilestoneKey("north", *of.split("/")))


def only(told: Sequence[Json], of: str = "quay/opened", on: date = TODAY) -> ChainLink:
    [link] = chain(told, of, on)
    return link


def evidence(role: EvidenceRole, called: str, time: str = FIRST, source: str = "office") -> Evidence:
    return Evidence(make_stamp(parse_instant(time), source, called), role)


PLAN = date_report("plan", "quay/opened", "PLN", "2026-06-01")


# What sets a forecast


def test_what_was_planned_is_its_own_date_and_its_baseline() -> None:
    link = only([PLAN])
    assert (link.status.forecast, link.set_by, link.lag_days) == (date(2026, 6, 1), ForecastBasis.PLANNED, None)
    assert (link.own_date, link.own_classifier) == (date(2026, 6, 1), Classifier.PLANNED)
    assert link.evidence == [evidence(EvidenceRole.BASELINE, "plan"), evidence(EvidenceRole.PLANNED, "plan")]
    assert link.ignored == []


def test_of_planned_and_estimated_what_was_said_last_sets_it() -> None:
    estimate = date_report("estimate", "quay/opened", "EST", "2026-07-01", time=LATER)
    link = only([PLAN, estimate])
    assert (link.set_by, link.own_date, link.own_classifier) == (
        ForecastBasis.ESTIMATED,
        date(2026, 7, 1),
        Classifier.ESTIMATED,
    )
    assert link.evidence[-1] == evidence(EvidenceRole.ESTIMATED, "estimate", LATER)
    again = date_report("again", "quay/opened", "PLN", "2026-08-01", time=LAST)
    link = only([PLAN, estimate, again])
    assert (link.set_by, link.own_date) == (ForecastBasis.PLANNED, date(2026, 8, 1))
    assert link.evidence == [
        evidence(EvidenceRole.BASELINE, "plan"),
        evidence(EvidenceRole.ESTIMATED, "estimate", LATER),
        evidence(EvidenceRole.PLANNED, "again", LAST),
    ]


def test_a_date_that_has_come_is_still_its_own_and_one_that_has_passed_is_the_data_dates() -> None:
    assert only([PLAN], on=date(2026, 6, 1)).set_by is ForecastBasis.PLANNED
    link = only([PLAN], on=date(2026, 6, 2))
    assert (link.set_by, link.status.forecast, link.own_date) == (
        ForecastBasis.DATA_DATE,
        date(2026, 6, 2),
        date(2026, 6, 1),
    )


def test_an_actual_date_ends_every_chain_and_nothing_is_waited_for() -> None:
    told = [
        PLAN,
        dependency_declaration("after", "quay/opened", "dock/opened"),
        date_report("gate", "dock/opened", "PLN", "2026-09-01"),
        cancellation("gone", "dock/built"),
        dependency_declaration("after-built", "quay/opened", "dock/built"),
        date_report("done", "quay/opened", "ACT", "2026-01-02", time=LATER),
    ]
    link = only(told)
    assert (link.set_by, link.status.forecast, link.ignored) == (ForecastBasis.ACTUAL, date(2026, 1, 2), [])
    assert {said.role for said in link.evidence} == {EvidenceRole.BASELINE, EvidenceRole.PLANNED, EvidenceRole.ACTUAL}


def test_of_what_nobody_dated_nothing_is_known() -> None:
    told = [dependency_declaration("after", "quay/opened", "dock/opened")]
    link = only(told)
    assert (link.set_by, link.status.forecast, link.own_date, link.evidence) == (ForecastBasis.NOTHING, None, None, [])
    assert link.ignored == [IgnoredPredecessor(MilestoneRef("dock", "opened"), IgnoredBecause.NO_FORECAST)]
    assert only(told, "dock/opened").set_by is ForecastBasis.NOTHING


def test_without_a_date_of_its_own_what_it_waits_for_is_why_it_has_a_forecast_at_all() -> None:
    told = [
        dependency_declaration("early", "quay/opened", "dock/built"),
        dependency_declaration("late", "quay/opened", "dock/opened", 5),
        date_report("built", "dock/built", "ACT", "2026-01-01"),
        date_report("opened", "dock/opened", "ACT", "2026-01-01"),
    ]
    link = only(told)
    assert (link.set_by, link.status.forecast, link.own_date) == (ForecastBasis.DATA_DATE, TODAY, None)
    assert link.evidence == [evidence(EvidenceRole.DEPENDENCY, "late")]
    assert link.lag_days is None


# Chains


def test_a_chain_follows_the_drivers_down_to_the_date_that_is_its_own() -> None:
    told = [
        PLAN,
        dependency_declaration("1", "quay/opened", "dock/opened", 30),
        date_report("gate", "dock/opened", "PLN", "2026-05-20"),
        dependency_declaration("2", "dock/opened", "yard/permit", 10),
        dependency_declaration("not-this", "dock/opened", "yard/opened"),
        date_report("other", "yard/opened", "PLN", "2026-05-01"),
        date_report("permit", "yard/permit", "EST", "2026-06-10"),
    ]
    first, second, third = chain(told, "quay/opened")
    assert (first.status.key, first.set_by, first.lag_days) == (("north", "quay", "opened"), ForecastBasis.DRIVER, 30)
    assert first.status.forecast == date(2026, 7, 20)
    assert first.evidence[-1] == evidence(EvidenceRole.PLANNED, "plan")
    assert evidence(EvidenceRole.DEPENDENCY, "1") in first.evidence
    assert (second.status.key, second.set_by, second.lag_days) == (
        ("north", "dock", "opened"),
        ForecastBasis.DRIVER,
        10,
    )
    assert (second.status.forecast, second.own_date) == (date(2026, 6, 20), date(2026, 5, 20))
    assert evidence(EvidenceRole.DEPENDENCY, "2") in second.evidence
    assert evidence(EvidenceRole.DEPENDENCY, "not-this") not in second.evidence
    assert (third.status.key, third.set_by, third.lag_days) == (
        ("north", "yard", "permit"),
        ForecastBasis.ESTIMATED,
        None,
    )


def test_of_a_dependency_declared_twice_the_newer_stands_behind_the_link() -> None:
    told = [
        dependency_declaration("old", "quay/opened", "dock/opened", 30),
        dependency_declaration("new", "quay/opened", "dock/opened", 7, time=LATER),
        date_report("gate", "dock/opened", "PLN", "2026-05-20"),
    ]
    link, _ = chain(told, "quay/opened")
    assert (link.lag_days, link.evidence) == (7, [evidence(EvidenceRole.DEPENDENCY, "new", LATER)])


def test_what_is_withdrawn_is_not_waited_for_and_not_worth_a_word() -> None:
    told = [
        PLAN,
        date_report("gate", "dock/opened", "PLN", "2026-09-01"),
        dependency_declaration("after", "quay/opened", "dock/opened"),
        dependency_withdrawal("no-more", "quay/opened", "dock/opened", time=LATER),
    ]
    link = only(told)
    assert (link.set_by, link.ignored) == (ForecastBasis.PLANNED, [])


def test_a_cancelled_predecessor_and_one_that_would_close_a_cycle_are_left_out_and_named() -> None:
    told = [
        PLAN,
        date_report("gate", "dock/opened", "PLN", "2026-09-01"),
        cancellation("gone", "dock/opened", time=LATER),
        dependency_declaration("1", "quay/opened", "dock/opened"),
        dependency_declaration("2", "yard/opened", "quay/opened"),
        dependency_declaration("3", "quay/opened", "yard/opened", time=LATER),
    ]
    link = only(told)
    assert link.set_by is ForecastBasis.PLANNED
    assert link.ignored == [
        IgnoredPredecessor(MilestoneRef("dock", "opened"), IgnoredBecause.CANCELLED),
        IgnoredPredecessor(MilestoneRef("yard", "opened"), IgnoredBecause.CYCLE),
    ]


def test_a_cancellation_and_a_withdrawn_project_are_evidence_while_they_count() -> None:
    told = [PLAN, project_registration("known", "quay"), cancellation("no", "quay/opened", time=LATER)]
    told.append(project_withdrawal("left", "quay", time=LAST))
    link = only(told)
    assert (link.status.state, link.set_by, link.own_date) == (
        State.CANCELLED,
        ForecastBasis.NOTHING,
        date(2026, 6, 1),
    )
    assert link.evidence[-2:] == [
        evidence(EvidenceRole.CANCELLATION, "no", LATER),
        evidence(EvidenceRole.WITHDRAWAL, "left", LAST),
    ]
    told += [
        project_registration("back", "quay", time="2026-01-04T12:00:00Z"),
        date_report("again", "quay/opened", "PLN", "2026-06-02", time=LAST),
    ]
    assert {said.role for said in only(told).evidence} == {EvidenceRole.BASELINE, EvidenceRole.PLANNED}


def test_what_is_cancelled_waits_for_nothing_whether_it_was_done_or_not() -> None:
    told = [
        PLAN,
        dependency_declaration("after", "quay/opened", "dock/opened", 9),
        date_report("gate", "dock/opened", "PLN", "2026-09-01"),
        dependency_declaration("other", "quay/opened", "yard/opened"),
    ]
    assert len(chain(told, "quay/opened")) == 2
    done = date_report("done", "quay/opened", "ACT", "2026-01-01")
    for more in ([], [done]):
        link = only([*told, *more, cancellation("gone", "quay/opened", time=LATER)])
        assert (link.set_by, link.status.forecast, link.status.driver) == (ForecastBasis.NOTHING, None, None)
        assert (link.lag_days, link.ignored) == (None, [])
        assert {EvidenceRole.CANCELLATION, EvidenceRole.PLANNED} <= {said.role for said in link.evidence}


def test_predecessors_that_are_left_out_stand_in_the_order_of_rows() -> None:
    told = [PLAN]
    for number, (name, day) in enumerate(
        [("lot-10/a", "2026-05-01"), ("lot-2/b", "2026-06-01"), ("lot-2/c", "2026-05-01"), ("lot-2/a", None)]
    ):
        told.append(dependency_declaration(f"{number}", "quay/opened", name))
        if day:
            told.append(date_report(f"plan-{number}", name, "PLN", day))
            told.append(cancellation(f"gone-{number}", name, time=LATER))
    told.append(dependency_declaration("back", "lot-2/d", "quay/opened"))
    told.append(dependency_declaration("cycle", "quay/opened", "lot-2/d", time=LATER))
    assert [str(each.gate) for each in only(told).ignored] == ["lot-2/c", "lot-2/b", "lot-2/d", "lot-2/a", "lot-10/a"]


# Any programme


@pytest.mark.parametrize("seed", range(4))
def test_every_link_of_every_chain_adds_up(seed: int) -> None:
    events = events_of(random_events(seed, 900, projects=6, with_dependencies=True))
    facts = fold(exclude_retracted(events))
    shown = compute_schedule(facts, TODAY)
    names = {event.stamp for event in events}
    seen = set()
    for standing in shown.statuses:
        links = explain_forecast(facts, shown, standing.key)
        assert links[0].status == standing
        for link, following in zip(links, [*links[1:], None], strict=True):
            seen.add(link.set_by)
            assert {said.stamp for said in link.evidence} <= names
            assert sorted(link.evidence) == link.evidence
            adds_up(link, following)
            if link.set_by is ForecastBasis.DRIVER:
                assert following is not None
                waits = facts.dependencies[DependencyKey(*link.status.key, *following.status.key[1:])]
                assert waits.is_in_force
    assert seen == set(ForecastBasis)


def adds_up(link: ChainLink, following: ChainLink | None) -> None:
    standing = link.status
    own = link.own_date or date.min
    match link.set_by:
        case ForecastBasis.DRIVER:
            assert following is not None
            assert standing.driver == following.status.key[1:]
            assert link.lag_days is not None
            assert following.status.forecast is not None
            assert standing.forecast == following.status.forecast + timedelta(days=link.lag_days)
            assert standing.forecast > max(own, TODAY)
            return
        case ForecastBasis.ACTUAL:
            assert standing.forecast == standing.actual is not None
        case ForecastBasis.DATA_DATE:
            assert standing.forecast == TODAY > own
        case ForecastBasis.NOTHING:
            assert standing.forecast is None
            assert link.own_date is None or standing.state is State.CANCELLED
        case ForecastBasis.PLANNED:
            assert (standing.forecast, link.own_classifier) == (standing.planned, Classifier.PLANNED)
        case ForecastBasis.ESTIMATED:
            assert (standing.forecast, link.own_classifier) == (standing.estimated, Classifier.ESTIMATED)
    assert (following, standing.driver, link.lag_days) == (None, None, None)
