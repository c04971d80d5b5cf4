"""Laws of one picture drawn after another, and of what moved between the two."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TypeVar

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.claims import DependencyKey, Facts, MilestoneKey, ProjectKey
from models.domain.events import Event
from models.domain.forecast_changes import ForecastChange, diff_schedules
from models.domain.schedule import Schedule, State, compute_schedule
from models.domain.timestamps import Stamp
from tests.helpers.networks import data_dates, event_lists, facts_of, forecast_changes_by, retractions_by

Key = TypeVar("Key", ProjectKey, MilestoneKey, DependencyKey)
Value = TypeVar("Value")

#: What was said, and how many events of it lie between two pictures.
told = event_lists(min_size=1, max_size=35)
between = st.integers(1, 6)


def stepped(then: Facts, before: Sequence[Event], new: Sequence[Event]) -> Facts:
    """Give the facts that new events make of those before, as a reader of rows that changed comes to know them."""
    struck = retractions_by(before, new)
    gone = {(event.programme, event.project) for event in before if event.stamp in struck}
    now = facts_of(*before, *new)

    def changed(was: Mapping[Key, Value], becomes: Mapping[Key, Value]) -> dict[Key, Value]:
        return {key: value for key, value in becomes.items() if key[:2] in gone or was.get(key) != value}

    rows = Facts(
        now.programmes,
        changed(then.projects, now.projects),
        changed(then.milestones, now.milestones),
        changed(then.dependencies, now.dependencies),
        now.sites,
    )
    return then.merged_with(rows, gone)


def moved(before: Sequence[Event], new: Sequence[Event], day: date) -> tuple[Schedule, Schedule, list[ForecastChange]]:
    then = facts_of(*before)
    now = stepped(then, before, new)
    shown_then = compute_schedule(then, day)
    shown_now = compute_schedule(now, day, shown_then)
    explained, unexplained = diff_schedules((then, shown_then), (now, shown_now), retractions_by(before, new))
    assert unexplained == []
    return shown_then, shown_now, explained


def winning(known: Facts) -> set[Stamp]:
    """Give the stamps of all claims that win."""
    stamps: set[Stamp | None] = set()
    for claims in known.milestones.values():
        stamps |= {claims.cancelled}
        stamps |= {claim.stamp for claim in (claims.baseline, claims.planned, claims.estimated, claims.actual) if claim}
    for project in known.projects.values():
        stamps |= {project.registered, project.withdrawn}
    for said in known.dependencies.values():
        stamps |= {said.withdrawn, said.declared.stamp if said.declared else None}
    return {stamp for stamp in stamps if stamp is not None}


@settings(max_examples=200)
@given(told, st.lists(st.tuples(st.integers(1, 4), data_dates), max_size=8))
def test_a_schedule_calculated_after_another_is_the_schedule(
    events: list[Event], steps: list[tuple[int, date]]
) -> None:
    known, last, at = Facts(), compute_schedule(Facts(), date(2026, 3, 10)), 0
    for count, day in steps:
        known, at = stepped(known, events[:at], events[at : at + count]), at + count
        assert known == facts_of(*events[:at])
        last, afresh = compute_schedule(known, day, previous=last), compute_schedule(known, day)
        assert last._replace(network=afresh.network) == afresh
        assert last.network._replace(facts=known) == afresh.network


@settings(max_examples=300)
@given(told, between, data_dates)
def test_what_moved_makes_the_forecasts_that_were_those_that_are(events: list[Event], new: int, day: date) -> None:
    then, now, between = moved(events[:-new], events[-new:], day)
    forecasts = {standing.key: standing.forecast for standing in then.statuses if standing.forecast}
    assert len({movement.milestone for movement in between}) == len(between)
    for movement in between:
        assert forecasts.pop(movement.milestone, None) == movement.previous
        if movement.current is not None:
            forecasts[movement.milestone] = movement.current
    assert forecasts == {standing.key: standing.forecast for standing in now.statuses if standing.forecast}


@settings(max_examples=300)
@given(told, between, data_dates)
def test_a_forecast_change_has_the_status_of_its_milestone(events: list[Event], new: int, day: date) -> None:
    then, now, between = moved(events[:-new], events[-new:], day)
    was = {standing.key: standing.state for standing in then.statuses}
    stands = {standing.key: standing for standing in now.statuses}
    achieved = set()
    for movement in between:
        if movement.milestone not in stands:
            assert movement[2:7] == (None, None, State.UNKNOWN, None, None)
            continue
        standing = stands[movement.milestone]
        assert movement[3:6] == (standing.slip_days, standing.state, standing.driver)
        if movement.dependents is not None:
            assert movement.dependents == standing.dependents
            achieved.add(movement.milestone)
        else:
            assert movement.previous != movement.current
    assert achieved == {
        key for key, standing in stands.items() if standing.state == State.ACHIEVED and was.get(key) != State.ACHIEVED
    }


@settings(max_examples=300)
@given(told, between, data_dates)
def test_every_gate_moves_before_what_waits_for_it(events: list[Event], new: int, day: date) -> None:
    _, now, between = moved(events[:-new], events[-new:], day)
    turns = {movement.milestone: turn for turn, movement in enumerate(between)}
    for place, links in enumerate(now.network.predecessors):
        for gate, _ in links:
            waiting, gate_key = now.network.milestones[place], now.network.milestones[gate]
            assert turns.get(gate_key, -1) < turns.get(waiting, len(turns))


@settings(max_examples=400)
@given(told, data_dates)
def test_what_a_single_event_moved_it_is_the_cause_of(events: list[Event], day: date) -> None:
    *before, event = events
    assert {movement.cause for movement in moved(before, [event], day)[2]} <= {event.stamp}


@settings(max_examples=400)
@given(told, between, data_dates)
def test_a_cause_is_a_claim_that_wins_now_or_a_retraction(events: list[Event], new: int, day: date) -> None:
    before, since = events[:-new], events[-new:]
    differs = winning(facts_of(*events)) - winning(facts_of(*before))
    said = {event.stamp for event in since} & (differs | set(retractions_by(before, since).values()))
    assert {movement.cause for movement in moved(before, since, day)[2]} <= said


@settings(max_examples=400)
@given(told, between, data_dates)
def test_a_cause_is_about_something_upstream(events: list[Event], new: int, day: date) -> None:
    before, since = events[:-new], events[-new:]
    # All that was ever waited for, in circles or not.
    ways: nx.DiGraph[MilestoneKey] = nx.DiGraph()
    for known in (facts_of(*before), facts_of(*events)):
        ways.add_nodes_from(known.existing_milestones())
        for name, said in known.dependencies.items():
            if said.is_in_force:
                ways.add_edge(MilestoneKey(name.programme, *name[3:]), MilestoneKey(*name[:3]))
    struck = {by: claim for claim, by in retractions_by(before, since).items()}
    stamped = {event.stamp: event for event in events}
    for movement in moved(before, since, day)[2]:
        event = stamped[struck.get(movement.cause, movement.cause)]
        upstream = nx.ancestors(ways, movement.milestone) | {movement.milestone}
        milestone = getattr(event.data, "milestone", None)
        assert any(
            name[:2] == (event.programme, event.project) and milestone in (None, name.milestone) for name in upstream
        )


@settings(max_examples=100)
@given(told, data_dates, data_dates)
def test_another_day_alone_moves_nothing(events: list[Event], day: date, next_day: date) -> None:
    known = facts_of(*events)
    drawn_then, drawn_now = compute_schedule(known, day), compute_schedule(known, next_day)
    same_day = compute_schedule(known, next_day, drawn_then)
    assert diff_schedules((known, drawn_now), (known, same_day), {}) == ([], [])


@settings(max_examples=200)
@given(told, between, data_dates)
def test_what_moved_does_not_depend_on_how_it_was_calculated(events: list[Event], new: int, day: date) -> None:
    before, since = events[:-new], events[-new:]
    assert sorted(forecast_changes_by(before, since, day)) == sorted(moved(before, since, day)[2])
