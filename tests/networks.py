"""Networks of milestones for tests: said by hand, said by chance, and read independently with networkx.

By hand and by chance alike a claim has a number, which is its event's id, and is made in the minute of that number, so
that a higher number is a newer claim. Milestones are written `project/milestone`, or `programme/project/milestone`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from itertools import permutations

import networkx as nx
from hypothesis import strategies as st

from models.domain.claims import DependencyKey, Facts, Milestone, MilestoneKey, Project, ProjectKey, fold, unretracted
from models.domain.events import (
    Classifier,
    Data,
    DependencyDeclared,
    DependencyWithdrawn,
    Event,
    EventRetracted,
    MilestoneCancelled,
    MilestoneRef,
    MilestoneReported,
    ProjectRegistered,
    ProjectWithdrawn,
)
from models.domain.forecast_changes import Movement, movements
from models.domain.schedule import Standing, picture
from models.domain.timestamps import Instant, Stamp

TODAY = date(2026, 3, 10)
SOURCE = "office"

#: Milestone, forecast then and now (days from today), and the number of the claim behind it.
Moved = tuple[str, int | None, int | None, int]


def moment(number: int) -> Instant:
    """Give the minute of this number of the year."""
    day, minute = divmod(number, 24 * 60)
    return Instant(f"{date(2026, 1, 1) + timedelta(days=day)}T{minute // 60:02}:{minute % 60:02}:00")


def stamp(number: int) -> Stamp:
    """Give the stamp of the claim with this number."""
    return Stamp(f"{moment(number)}\t{SOURCE}\te-{number}")


def key(name: str) -> MilestoneKey:
    """Read a milestone's name."""
    programme, project, milestone = ["north", *name.split("/")][-3:]
    return MilestoneKey(programme, project, milestone)


def dependency(name: str, gate: str) -> DependencyKey:
    """Name the dependency of one milestone on another."""
    return DependencyKey(*key(name), *key(gate)[1:])


def planned(number: int, name: str, days: int) -> Event:
    """Plan a milestone for so many days from today."""
    return _reported(number, name, Classifier.PLANNED, days)


def estimated(number: int, name: str, days: int) -> Event:
    """Estimate a milestone so many days from today."""
    return _reported(number, name, Classifier.ESTIMATED, days)


def achieved(number: int, name: str, days: int) -> Event:
    """Report a milestone done so many days from today."""
    return _reported(number, name, Classifier.ACTUAL, days)


def cancelled(number: int, name: str) -> Event:
    """Cancel a milestone."""
    return _said(number, key(name)[:2], MilestoneCancelled(key(name).milestone))


def withdrawn(number: int, project: str) -> Event:
    """Withdraw a project of the north."""
    return _said(number, ("north", project), ProjectWithdrawn())


def registered(number: int, project: str) -> Event:
    """Register a project of the north."""
    return _said(number, ("north", project), ProjectRegistered())


def waits(number: int, name: str, gate: str, lag_days: int = 0) -> Event:
    """Declare that a milestone comes at least so many days after a gate."""
    return _said(number, key(name)[:2], DependencyDeclared(key(name).milestone, _after(gate), lag_days))


def waits_no_more(number: int, name: str, gate: str) -> Event:
    """Take back that a milestone waits for a gate."""
    return _said(number, key(name)[:2], DependencyWithdrawn(key(name).milestone, _after(gate)))


def retracted(number: int, claim: int) -> Event:
    """Take the claim with another number back."""
    return _said(number, ("north", "office"), EventRetracted(f"e-{claim}", "incorrect_data"))


def facts_of(*events: Event) -> Facts:
    """Give what was said."""
    return fold(unretracted(events))


def standings(*events: Event, on: date = TODAY) -> dict[str, Standing]:
    """Give how everything in the north stands by `project/milestone`."""
    return {"/".join(standing[1:3]): standing for standing in picture(facts_of(*events), on).standings}


def ahead(day: date | None) -> int | None:
    """Give by how many days something lies after today."""
    return None if day is None else (day - TODAY).days


def taken_back(before: Sequence[Event], new: Sequence[Event]) -> dict[Stamp, Stamp]:
    """Give the claims that counted and that new events retract, each with the retraction."""
    counted = {event.id: event.stamp for event in unretracted(before)}
    retractions = [(event.stamp, event.data.retracts) for event in new if isinstance(event.data, EventRetracted)]
    return {counted[name]: by for by, name in retractions if name in counted}


def movements_by(before: Sequence[Event], new: Sequence[Event], on: date = TODAY) -> list[Movement]:
    """Give what new events move."""
    then, now = facts_of(*before), facts_of(*before, *new)
    explained, unexplained = movements((then, picture(then, on)), (now, picture(now, on)), taken_back(before, new))
    assert unexplained == []
    return explained


def moved(before: Sequence[Event], new: Sequence[Event], on: date = TODAY) -> list[Moved]:
    """Give what new events move, in short."""
    return [
        ("/".join(each.milestone[1:]), ahead(each.was), ahead(each.becomes), int(each.cause.rpartition("-")[2]))
        for each in movements_by(before, new, on)
    ]


def _reported(number: int, name: str, classifier: Classifier, days: int) -> Event:
    day = TODAY + timedelta(days=days)
    return _said(number, key(name)[:2], MilestoneReported(key(name).milestone, classifier, day))


def _after(gate: str) -> MilestoneRef:
    return MilestoneRef(*key(gate)[1:])


def _said(number: int, subject: tuple[str, str], data: Data) -> Event:
    programme, project = subject
    return Event(source=SOURCE, id=f"e-{number}", programme=programme, project=project, time=moment(number), data=data)


# Few names, so that claims meet and cycles close; and another programme, where the same names mean something else.
_NORTH = ("a/x", "a/y", "b/x", "b/y", "c/x", "c/y")
_SOUTH = ("south/a/x", "south/a/y", "south/b/x")
_LINKS = (*permutations(_NORTH, 2), *permutations(_SOUTH, 2), *((name, name) for name in _NORTH[:4]))
# Near each other, so that several of them decide and some are equal; and as far apart as the contract lets them be.
_DAYS = (1, 2, 3, 4, 5, 7, 10, 30, 400, 0, -1, -2, -3, -400, (date(2100, 12, 31) - TODAY).days)
_LAGS = (0, 0, 0, 1, 2, 3, 30, 365, 3650, -1, -2, -3, -30, -365, -3650)

#: Data dates.
days = st.sampled_from([TODAY + timedelta(days=ahead) for ahead in (0, 1, -2, 3, 500, -5000)])

# Each kind of claim as often as its weight says; of a number, a place among the links and one among days and lags.
_KINDS: Mapping[Callable[[int, int, int], Event], int] = {
    lambda number, place, size: planned(number, _LINKS[place][0], _DAYS[size]): 5,
    lambda number, place, size: estimated(number, _LINKS[place][0], _DAYS[size]): 4,
    lambda number, place, size: achieved(number, _LINKS[place][0], _DAYS[size]): 3,
    lambda number, place, size: waits(number, *_LINKS[place], _LAGS[size]): 18,
    lambda number, place, _: waits_no_more(number, *_LINKS[place]): 3,
    lambda number, place, _: cancelled(number, _LINKS[place][0]): 2,
    lambda number, place, _: withdrawn(number, _LINKS[place][0][0]): 2,
    lambda number, place, _: registered(number, _LINKS[place][0][0]): 2,
    # Of the set or not, a retraction or not, arrived or to come: chance decides.
    lambda number, place, _: retracted(number, place): 3,
}
_SAYINGS = [kind for kind, weight in _KINDS.items() for _ in range(weight)]
_NUMBERS = 50


def _read(choices: list[bytes]) -> list[Event]:
    """Read four choices a claim, each a byte: its number, kind, place and size; of the same number, the first."""
    events: dict[int, Event] = {}
    for number, kind, place, size in choices:
        say = _SAYINGS[kind % len(_SAYINGS)]
        said = say(number % _NUMBERS, place % len(_LINKS), size % len(_DAYS))
        events.setdefault(number % _NUMBERS, said)
    return list(events.values())


def histories(min_size: int = 0, max_size: int = 35) -> st.SearchStrategy[list[Event]]:
    """Give events in the order of their arrival, which has nothing to do with that of their stamps."""

    def lists(at_least: int) -> st.SearchStrategy[list[Event]]:
        # Bytes, because one draw a claim takes a third of the time that one for each choice would.
        return st.lists(st.binary(min_size=4, max_size=4), min_size=at_least, max_size=max_size).map(_read)

    # Short ones for the corners, longer ones so that much meets.
    return lists(min_size) | lists((min_size + max_size) // 2)


#: What was said, claims of every kind.
facts = histories().map(lambda events: facts_of(*events))


def is_cancelled(known: Facts, name: MilestoneKey) -> bool:
    """Tell whether a milestone or its project no longer applies."""
    project = known.projects.get(ProjectKey(name.programme, name.project), Project())
    return known.milestones.get(name, Milestone()).is_cancelled or project.is_withdrawn


def graph_of(known: Facts) -> "tuple[nx.DiGraph[MilestoneKey], list[DependencyKey]]":
    """Take the dependencies that hold in the order of their stamps; give the graph, and those that close a cycle.

    Edges lead from a gate to what waits for it, and carry the lag.
    """
    graph: nx.DiGraph[MilestoneKey] = nx.DiGraph()
    graph.add_nodes_from(known.existing_milestones())
    set_aside = []
    holding = [(said.declared, name) for name, said in known.dependencies.items() if said.declared and said.holds]
    for (_, lag_days), name in sorted(holding):
        waiting, gate = MilestoneKey(*name[:3]), MilestoneKey(name.programme, *name[3:])
        if nx.has_path(graph, waiting, gate):
            set_aside.append(name)
        else:
            graph.add_edge(gate, waiting, lag=lag_days)
    return graph, set_aside


def longest_ways(graph: "nx.DiGraph[MilestoneKey]", start: MilestoneKey) -> Mapping[MilestoneKey, int]:
    """Give, for all that can be reached from a start, the lags on the longest way there."""
    lengths = nx.single_source_bellman_ford_path_length(graph, start, weight=lambda _, __, edge: -edge["lag"])
    return {place: -int(length) for place, length in lengths.items()}
