"""Networks of milestones for tests: declared by hand, generated at random, and evaluated independently with networkx.

By hand and by chance alike a claim has a number, which is its event's id, and is made in the minute of that number, so
that a higher number is a newer claim. Milestones are written `project/milestone`, or `programme/project/milestone`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from itertools import permutations

import networkx as nx
from hypothesis import strategies as st

from models.domain.claims import (
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProjectClaims,
    ProjectKey,
    exclude_retracted,
    fold,
)
from models.domain.events import (
    Classifier,
    DependencyDeclared,
    DependencyWithdrawn,
    Event,
    EventData,
    EventRetracted,
    MilestoneCancelled,
    MilestoneReported,
    Predecessor,
    ProjectRegistered,
    ProjectWithdrawn,
)
from models.domain.forecast_changes import ForecastChange, diff_schedules
from models.domain.schedule import MilestoneStatus, compute_schedule
from models.domain.timestamps import Instant, Stamp

TODAY = date(2026, 3, 10)
SOURCE = "office"

#: Milestone, forecast then and now (days from today), and the number of the claim behind it.
BriefChange = tuple[str, int | None, int | None, int]


def instant_of(number: int) -> Instant:
    """Give the minute of this number of the year."""
    day, minute = divmod(number, 24 * 60)
    return Instant(f"{date(2026, 1, 1) + timedelta(days=day)}T{minute // 60:02}:{minute % 60:02}:00")


def stamp_of(number: int) -> Stamp:
    """Give the stamp of the claim with this number."""
    return Stamp(f"{instant_of(number)}\t{SOURCE}\te-{number}")


def milestone_key(name: str) -> MilestoneKey:
    """Read a milestone's name."""
    programme, project, milestone = ["north", *name.split("/")][-3:]
    return MilestoneKey(programme, project, milestone)


def dependency_key(name: str, gate: str) -> DependencyKey:
    """Name the dependency of one milestone on another."""
    return DependencyKey(*milestone_key(name), *milestone_key(gate)[1:])


def plan_date(number: int, name: str, days: int) -> Event:
    """Plan a milestone for so many days from today."""
    return _date_report(number, name, Classifier.PLANNED, days)


def estimate_date(number: int, name: str, days: int) -> Event:
    """Estimate a milestone so many days from today."""
    return _date_report(number, name, Classifier.ESTIMATED, days)


def report_actual(number: int, name: str, days: int) -> Event:
    """Report a milestone done so many days from today."""
    return _date_report(number, name, Classifier.ACTUAL, days)


def cancel_milestone(number: int, name: str) -> Event:
    """Cancel a milestone."""
    return _event(number, milestone_key(name)[:2], MilestoneCancelled(milestone_key(name).milestone))


def withdraw_project(number: int, project: str) -> Event:
    """Withdraw a project of the north."""
    return _event(number, ("north", project), ProjectWithdrawn())


def register_project(number: int, project: str) -> Event:
    """Register a project of the north."""
    return _event(number, ("north", project), ProjectRegistered())


def declare_dependency(number: int, name: str, gate: str, lag_days: int = 0) -> Event:
    """Declare that a milestone comes at least so many days after a gate."""
    return _event(
        number,
        milestone_key(name)[:2],
        DependencyDeclared(milestone_key(name).milestone, _predecessor_ref(gate), lag_days),
    )


def withdraw_dependency(number: int, name: str, gate: str) -> Event:
    """Take back that a milestone waits for a gate."""
    return _event(
        number, milestone_key(name)[:2], DependencyWithdrawn(milestone_key(name).milestone, _predecessor_ref(gate))
    )


def retract_claim(number: int, retracted_number: int) -> Event:
    """Take the claim with another number back."""
    return _event(number, ("north", "office"), EventRetracted(f"e-{retracted_number}", "incorrect_data"))


def facts_of(*events: Event) -> Facts:
    """Give the events."""
    return fold(exclude_retracted(events))


def statuses_of(*events: Event, data_date: date = TODAY) -> dict[str, MilestoneStatus]:
    """Give how everything in the north stands by `project/milestone`."""
    return {"/".join(standing[1:3]): standing for standing in compute_schedule(facts_of(*events), data_date).statuses}


def days_from_today(day: date | None) -> int | None:
    """Give by how many days something lies after today."""
    return None if day is None else (day - TODAY).days


def retractions_by(before: Sequence[Event], new: Sequence[Event]) -> dict[Stamp, Stamp]:
    """Give the claims that counted and that new events retract, each with the retraction."""
    counted = {event.id: event.stamp for event in exclude_retracted(before)}
    retractions = [(event.stamp, event.data.retracts) for event in new if isinstance(event.data, EventRetracted)]
    return {counted[name]: by for by, name in retractions if name in counted}


def forecast_changes_by(before: Sequence[Event], new: Sequence[Event], data_date: date = TODAY) -> list[ForecastChange]:
    """Give what new events move."""
    then, now = facts_of(*before), facts_of(*before, *new)
    explained, unexplained = diff_schedules(
        (then, compute_schedule(then, data_date)), (now, compute_schedule(now, data_date)), retractions_by(before, new)
    )
    assert unexplained == []
    return explained


def brief_changes(before: Sequence[Event], new: Sequence[Event], data_date: date = TODAY) -> list[BriefChange]:
    """Give what new events move, in short."""
    return [
        (
            "/".join(each.milestone[1:]),
            days_from_today(each.previous),
            days_from_today(each.current),
            int(each.cause.rpartition("-")[2]),
        )
        for each in forecast_changes_by(before, new, data_date)
    ]


def _date_report(number: int, name: str, classifier: Classifier, days: int) -> Event:
    day = TODAY + timedelta(days=days)
    return _event(number, milestone_key(name)[:2], MilestoneReported(milestone_key(name).milestone, classifier, day))


def _predecessor_ref(gate: str) -> Predecessor:
    return Predecessor(*milestone_key(gate)[1:])


def _event(number: int, subject: tuple[str, str], data: EventData) -> Event:
    programme, project = subject
    return Event(
        source=SOURCE, id=f"e-{number}", programme=programme, project=project, time=instant_of(number), data=data
    )


# Few names, so that claims meet and cycles close; and another programme, where the same names mean something else.
_NORTH_MILESTONES = ("a/x", "a/y", "b/x", "b/y", "c/x", "c/y")
_SOUTH_MILESTONES = ("south/a/x", "south/a/y", "south/b/x")
_MILESTONE_PAIRS = (
    *permutations(_NORTH_MILESTONES, 2),
    *permutations(_SOUTH_MILESTONES, 2),
    *((name, name) for name in _NORTH_MILESTONES[:4]),
)
# Near each other, so that several of them decide and some are equal; and as far apart as the contract lets them be.
_DAY_OFFSETS = (1, 2, 3, 4, 5, 7, 10, 30, 400, 0, -1, -2, -3, -400, (date(2100, 12, 31) - TODAY).days)
_LAG_DAYS = (0, 0, 0, 1, 2, 3, 30, 365, 3650, -1, -2, -3, -30, -365, -3650)

#: Data dates.
data_dates = st.sampled_from([TODAY + timedelta(days=ahead) for ahead in (0, 1, -2, 3, 500, -5000)])

# Each kind of claim as often as its weight says; of a number, a place among the links and one among days and lags.
_EVENT_WEIGHTS: Mapping[Callable[[int, int, int], Event], int] = {
    lambda number, place, size: plan_date(number, _MILESTONE_PAIRS[place][0], _DAY_OFFSETS[size]): 5,
    lambda number, place, size: estimate_date(number, _MILESTONE_PAIRS[place][0], _DAY_OFFSETS[size]): 4,
    lambda number, place, size: report_actual(number, _MILESTONE_PAIRS[place][0], _DAY_OFFSETS[size]): 3,
    lambda number, place, size: declare_dependency(number, *_MILESTONE_PAIRS[place], _LAG_DAYS[size]): 18,
    lambda number, place, _: withdraw_dependency(number, *_MILESTONE_PAIRS[place]): 3,
    lambda number, place, _: cancel_milestone(number, _MILESTONE_PAIRS[place][0]): 2,
    lambda number, place, _: withdraw_project(number, _MILESTONE_PAIRS[place][0][0]): 2,
    lambda number, place, _: register_project(number, _MILESTONE_PAIRS[place][0][0]): 2,
    # Of the set or not, a retraction or not, arrived or to come: chance decides.
    lambda number, place, _: retract_claim(number, place): 3,
}
_EVENT_MAKERS = [kind for kind, weight in _EVENT_WEIGHTS.items() for _ in range(weight)]
_CLAIM_NUMBERS = 50


def _events_from_bytes(claims: list[bytes]) -> list[Event]:
    """Read four choices a claim, each a byte: its number, kind, place and size; of the same number, the first."""
    events: dict[int, Event] = {}
    for number, kind, place, size in claims:
        make_event = _EVENT_MAKERS[kind % len(_EVENT_MAKERS)]
        event = make_event(number % _CLAIM_NUMBERS, place % len(_MILESTONE_PAIRS), size % len(_DAY_OFFSETS))
        events.setdefault(number % _CLAIM_NUMBERS, event)
    return list(events.values())


def event_lists(min_size: int = 0, max_size: int = 35) -> st.SearchStrategy[list[Event]]:
    """Give events in the order of their arrival, which has nothing to do with that of their stamps."""

    def lists(at_least: int) -> st.SearchStrategy[list[Event]]:
        # Bytes, because one draw a claim takes a third of the time that one for each choice would.
        return st.lists(st.binary(min_size=4, max_size=4), min_size=at_least, max_size=max_size).map(_events_from_bytes)

    # Short ones for the corners, longer ones so that much meets.
    return lists(min_size) | lists((min_size + max_size) // 2)


#: Claims of every kind.
any_facts = event_lists().map(lambda events: facts_of(*events))


def is_cancelled(facts: Facts, key: MilestoneKey) -> bool:
    """Return whether a milestone or its project no longer applies."""
    project = facts.projects.get(ProjectKey(key.programme, key.project), ProjectClaims())
    return facts.milestones.get(key, MilestoneClaims()).is_cancelled or project.is_withdrawn


def dependency_graph(facts: Facts) -> "tuple[nx.DiGraph[MilestoneKey], list[DependencyKey]]":
    """Take the dependencies that hold in the order of their stamps; give the graph, and those that close a cycle.

    Edges lead from a gate to what waits for it, and carry the lag.
    """
    graph: nx.DiGraph[MilestoneKey] = nx.DiGraph()
    graph.add_nodes_from(facts.existing_milestones())
    set_aside = []
    holding = [
        (dependency.declared, name)
        for name, dependency in facts.dependencies.items()
        if dependency.declared and dependency.is_in_force
    ]
    for (_, lag_days), name in sorted(holding):
        waiting, gate = MilestoneKey(*name[:3]), MilestoneKey(name.programme, *name[3:])
        if nx.has_path(graph, waiting, gate):
            set_aside.append(name)
        else:
            graph.add_edge(gate, waiting, lag=lag_days)
    return graph, set_aside


def longest_path_lags(graph: "nx.DiGraph[MilestoneKey]", start: MilestoneKey) -> Mapping[MilestoneKey, int]:
    """Give, for all that can be reached from a start, the lags on the longest way there."""
    lengths = nx.single_source_bellman_ford_path_length(graph, start, weight=lambda _, __, edge: -edge["lag"])
    return {place: -int(length) for place, length in lengths.items()}
