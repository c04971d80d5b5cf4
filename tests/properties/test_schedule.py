"""Laws of the picture of a day, over networks of any shape; what dates follow from it is told by networkx."""

import random
from dataclasses import replace
from datetime import date, timedelta

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.claims import Facts, MilestoneClaims, MilestoneKey
from models.domain.events import Event
from models.domain.schedule import MilestoneRef, Schedule, State, compute_schedule
from tests.helpers.networks import (
    any_facts,
    data_dates,
    dependency_graph,
    event_lists,
    facts_of,
    is_cancelled,
    longest_path_lags,
)

START = MilestoneKey("", "", "")
NOTHING = MilestoneClaims()


def forecasts(shown: Schedule) -> dict[MilestoneKey, date | None]:
    return {standing.key: standing.forecast for standing in shown.statuses}


def is_open(known: Facts, name: MilestoneKey) -> bool:
    return known.milestones.get(name, NOTHING).actual is None and not is_cancelled(known, name)


def expected_forecasts(known: Facts, graph: "nx.DiGraph[MilestoneKey]", day: date) -> dict[MilestoneKey, date | None]:
    """Give the forecasts as the longest ways from a common start, to which every date is so many days."""
    ways: nx.DiGraph[MilestoneKey] = nx.DiGraph()
    ways.add_nodes_from((START, *graph))
    for name in graph:
        if is_cancelled(known, name):
            continue
        claims = known.milestones.get(name, NOTHING)
        if claims.actual is not None:
            ways.add_edge(START, name, lag=claims.actual.date.toordinal())
            continue
        if claims.own_claim is not None:
            ways.add_edge(START, name, lag=claims.own_claim.date.toordinal())
        gates = [gate for gate in graph.predecessors(name) if not is_cancelled(known, gate)]
        ways.add_edges_from((gate, name, graph.edges[gate, name]) for gate in gates)
    # Whatever has a date, and is not done, has none before the day.
    for name in nx.descendants(ways, START):
        claims = known.milestones.get(name, NOTHING)
        if claims.actual is None:
            own = claims.own_claim.date if claims.own_claim else day
            ways.add_edge(START, name, lag=max(own, day).toordinal())
    reached = longest_path_lags(ways, START)
    return {name: date.fromordinal(reached[name]) if name in reached else None for name in graph}


@settings(max_examples=300)
@given(any_facts, data_dates)
def test_forecasts_are_the_longest_ways(known: Facts, day: date) -> None:
    assert forecasts(compute_schedule(known, day)) == expected_forecasts(known, dependency_graph(known)[0], day)


@settings(max_examples=200)
@given(any_facts, data_dates)
def test_a_driver_is_the_first_of_those_that_set_a_date_later_than_ones_own(known: Facts, day: date) -> None:
    graph, _ = dependency_graph(known)
    shown = compute_schedule(known, day)
    dates = forecasts(shown)
    for standing in shown.statuses:
        own = known.milestones.get(standing.key, NOTHING).own_claim
        driving = [
            gate
            for gate in graph.predecessors(standing.key)
            if standing.actual is None
            and not is_cancelled(known, gate)
            and (forecast := dates[gate]) is not None
            and forecast + timedelta(days=graph.edges[gate, standing.key]["lag"]) == standing.forecast
            and standing.forecast > max(day, own.date if own else day)
        ]
        assert standing.driver == (MilestoneRef(*min(driving)[1:]) if driving else None)


@settings(max_examples=200)
@given(any_facts, data_dates)
def test_float_is_what_the_tightest_way_to_a_planned_date_leaves(known: Facts, day: date) -> None:
    graph = dependency_graph(known)[0]
    still_open = graph.subgraph([name for name in graph if is_open(known, name)])
    for standing in compute_schedule(known, day).statuses:
        left = []
        if standing.forecast is not None and standing.key in still_open:
            for name, days_later in longest_path_lags(still_open, standing.key).items():
                if (claim := known.milestones.get(name, NOTHING).planned) is not None:
                    left.append((claim.date - standing.forecast).days - days_later)
        assert standing.float_days == min(left, default=None)


@settings(max_examples=200)
@given(any_facts, data_dates)
def test_no_float_is_negative_exactly_when_nothing_open_passes_its_planned_date(known: Facts, day: date) -> None:
    standings = compute_schedule(known, day).statuses
    late = [
        standing
        for standing in standings
        if standing.is_open and standing.planned and standing.forecast and standing.planned < standing.forecast
    ]
    assert any(standing.float_days is not None and standing.float_days < 0 for standing in standings) == bool(late)


@settings(max_examples=200)
@given(any_facts, data_dates)
def test_dependents_are_the_open_ones_that_follow_with_open_ones_alone_between(known: Facts, day: date) -> None:
    graph = dependency_graph(known)[0]
    still_open = {name for name in graph if is_open(known, name)}
    for standing in compute_schedule(known, day).statuses:
        counting = graph.subgraph(still_open | {standing.key})
        following = set() if is_cancelled(known, standing.key) else nx.descendants(counting, standing.key)
        assert standing.dependents == len(following)


@settings(max_examples=200)
@given(any_facts, data_dates)
def test_what_nobody_reported_as_done_is_never_forecast_in_the_past(known: Facts, day: date) -> None:
    for standing in compute_schedule(known, day).statuses:
        if standing.actual is not None and standing.state is not State.CANCELLED:
            assert standing.forecast == standing.actual
        else:
            assert standing.forecast is None or standing.forecast >= day


@settings(max_examples=200)
@given(any_facts, data_dates)
def test_what_is_cancelled_has_its_claims_and_nothing_that_is_calculated(known: Facts, day: date) -> None:
    standings = compute_schedule(known, day).statuses
    cancelled = [standing for standing in standings if standing.state is State.CANCELLED]
    for standing in cancelled:
        calculated = (standing.forecast, standing.slip_days, standing.float_days, standing.driver)
        assert calculated == (None, None, None, None)
        claims = known.milestones.get(standing.key, NOTHING)
        said = (claims.baseline, claims.planned, claims.estimated, claims.actual)
        assert standing[3:7] == tuple(claim.date if claim else None for claim in said)
    drivers = {(standing.programme, *standing.driver) for standing in standings if standing.driver}
    assert drivers.isdisjoint(standing.key for standing in cancelled)


@settings(max_examples=200)
@given(any_facts, data_dates)
def test_the_state_is_the_first_that_applies(known: Facts, day: date) -> None:
    for standing in compute_schedule(known, day).statuses:
        claims = known.milestones.get(standing.key, NOTHING)
        applies = {
            State.CANCELLED: is_cancelled(known, standing.key),
            State.ACHIEVED: claims.actual is not None,
            State.UNKNOWN: standing.forecast is None,
            State.OVERDUE: claims.own_claim is not None and claims.own_claim.date < day,
            State.BLOCKED: standing.driver is not None,
            State.SLIPPING: standing.slip_days is not None and standing.slip_days > 0,
            State.PLANNED: True,
        }
        assert standing.state == next(state for state in State if applies[state])


@settings(max_examples=100)
@given(event_lists(), data_dates, st.randoms(use_true_random=False))
def test_a_schedule_does_not_depend_on_the_order_of_the_events(
    events: list[Event], day: date, chance: random.Random
) -> None:
    one, other = (compute_schedule(facts_of(*order), day) for order in (events, chance.sample(events, len(events))))
    assert (one.statuses, one.cyclic) == (other.statuses, other.cyclic)


@settings(max_examples=200)
@given(any_facts, data_dates, st.data())
def test_a_date_that_moves_later_makes_no_forecast_earlier(known: Facts, day: date, data: st.DataObject) -> None:
    names = sorted(name for name, claims in known.milestones.items() if claims.own_claim is not None)
    if not names:
        return
    later = dict(known.milestones)
    for name in data.draw(st.sets(st.sampled_from(names), min_size=1), label="moved"):
        claims, days_later = later[name], timedelta(days=data.draw(st.integers(1, 800), label="days later"))
        field = "planned" if claims.own_claim is claims.planned else "estimated"
        claim = getattr(claims, field)
        later[name] = replace(claims, **{field: claim._replace(date=claim.date + days_later)})
    before, after = (forecasts(compute_schedule(each, day)) for each in (known, replace(known, milestones=later)))
    assert before.keys() == after.keys()
    for name, was in before.items():
        becomes = after[name]
        assert (was is None) == (becomes is None)
        assert was is None or becomes is None or was <= becomes


@settings(max_examples=300)
@given(event_lists(min_size=1, max_size=35), data_dates, st.integers(1, 4))
def test_a_forecast_changes_only_when_something_upstream_did(events: list[Event], day: date, new: int) -> None:
    then, now = facts_of(*events[:-new]), facts_of(*events)
    graph_then, graph_now = dependency_graph(then)[0], dependency_graph(now)[0]
    touched = {
        name
        for name in graph_now
        if then.milestones.get(name) != now.milestones.get(name)
        or is_cancelled(then, name) != is_cancelled(now, name)
        or name not in graph_then
        or links_to(graph_then, name) != links_to(graph_now, name)
    }
    may_move = touched.union(*(nx.descendants(graph_now, name) for name in touched))
    was, becomes = forecasts(compute_schedule(then, day)), forecasts(compute_schedule(now, day))
    assert {name for name in becomes if becomes[name] != was.get(name)} <= may_move


def links_to(graph: "nx.DiGraph[MilestoneKey]", name: MilestoneKey) -> dict[MilestoneKey, int]:
    return {gate: graph.edges[gate, name]["lag"] for gate in graph.predecessors(name)}


@settings(max_examples=300)
@given(any_facts, data_dates, data_dates, st.data())
def test_a_schedule_calculated_after_another_is_the_one_calculated_from_nothing(
    known: Facts, day: date, next_day: date, data: st.DataObject
) -> None:
    names = sorted(known.milestones)
    if not names:
        return
    changed, drawn = known, compute_schedule(known, day)
    for on in (day, next_day):
        milestones = dict(changed.milestones)
        for name in data.draw(st.sets(st.sampled_from(names), min_size=1), label="changed"):
            other = milestones[data.draw(st.sampled_from(names), label="as")]
            # Achieved, cancelled, dated as another is, or no longer.
            field = data.draw(st.sampled_from(["actual", "actual", "cancelled", "estimated"]), label="what")
            milestones[name] = replace(milestones[name], **{field: getattr(other, field)})
        # The very dictionary of dependencies, as whoever reads what changed keeps it.
        changed = replace(changed, milestones=milestones)
        drawn = compute_schedule(changed, on, drawn)
        assert drawn.statuses == compute_schedule(changed, on).statuses
