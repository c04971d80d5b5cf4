"""The claims of a programme as steps: what was said at each instant, and what was taken back then.

A claim that was taken back before it was made, or at the same instant, never counts. A retraction counts from its own
stamp on, whatever its own subject. Contract, section 2, "History".
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from models.domain import events
from models.domain.events import Classifier, Event, EventData, EventRetracted
from models.domain.timestamps import Instant, Stamp, instant_of
from models.domain.topological_order import Edge


class Kind(IntEnum):
    """What a register is about; its value, and the newest stamp of those that set it, count."""

    PLAN = 0  # node: the day, of `PLN` reports; the oldest is the baseline
    OWN = 1  # node: the day, of `PLN` and `EST` reports
    ACTUAL = 2  # node: the day
    STATUS = 3  # node: whether it is cancelled, by its reports and cancellations
    NAMED = 4  # node: named by a dependency
    LINK = 5  # edge: the lag, None for a withdrawal
    PROJECT = 6  # project: whether it is withdrawn


#: Attribute access on an enumeration is slow.
PLAN, OWN, ACTUAL, STATUS, NAMED, LINK, PROJECT = Kind
_PLANNED, _ESTIMATED = Classifier.PLANNED, Classifier.ESTIMATED

#: Project and milestone.
Name = tuple[str, str]
#: The kind, and a node, an edge or a project.
RegisterKey = tuple[Kind, Any]
#: What a claim sets.
Setting = tuple[RegisterKey, Any]
#: The stamp of a claim and its value.
Entry = tuple[Stamp, Any]


class Removal(NamedTuple):
    """A claim that is taken back."""

    retraction: Stamp
    claim: Stamp
    settings: list[Setting]


@dataclass(slots=True)
class Step:
    """What happened at an instant."""

    instant: Instant
    #: The largest stamp of all events of the instant, those that set nothing included.
    last_stamp: Stamp
    additions: list[tuple[Stamp, list[Setting]]] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)


class ClaimSteps(NamedTuple):
    """The steps of a programme in order, and its milestones as nodes: numbers in the order of their names."""

    names: list[Name]
    edges: list[Edge]
    steps: list[Step]


class Registers:
    """The claims that count, by register, each in the order of the stamps."""

    def __init__(self) -> None:
        self._entries: defaultdict[RegisterKey, list[Entry]] = defaultdict(list)

    def newest(self, key: RegisterKey) -> Entry | None:
        """Return the newest claim of a register."""
        entries = self._entries.get(key)
        return entries[-1] if entries else None

    def oldest(self, key: RegisterKey) -> Entry | None:
        """Return the oldest claim of a register."""
        entries = self._entries.get(key)
        return entries[0] if entries else None

    def add(self, key: RegisterKey, entry: Entry) -> None:
        """Add a claim that is newer than all others."""
        self._entries[key].append(entry)

    def remove(self, key: RegisterKey, stamp: Stamp) -> None:
        """Remove a claim."""
        entries = self._entries[key]
        del entries[bisect_left(entries, stamp, key=_stamp_of)]


def _stamp_of(entry: Entry) -> Stamp:
    return entry[0]


def build_steps(
    all_events: Iterable[Event],
    programme: str,
    milestones: Collection[Name] | None = None,
    other_stamps: Iterable[Stamp] = (),
) -> ClaimSteps:
    """Return the steps of a programme from its events and their retractions, in any order and repeated or not.

    With `milestones`, only what these and all that they ever waited for need. Events of the programme about others may
    then be left out: `other_stamps` are their stamps.
    """
    unique = {(event.source, event.id): event for event in all_events}
    retractions: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in unique.values():
        if isinstance(event.data, EventRetracted):
            retractions[event.source, event.data.retracts].append(event)
    own = {key: event for key, event in unique.items() if event.programme == programme}
    nodes = _Nodes(own.values(), milestones)
    steps: dict[Instant, Step] = {}
    for key, event in own.items():
        instant, stamp = event.instant, event.stamp
        step, settings = _step_at(steps, instant, stamp), nodes.settings_of(event)
        if (taken_back := retractions.get(key)) is not None:
            _take_back(steps, event, settings, taken_back)
        elif settings:
            step.additions.append((stamp, settings))
    for stamp in other_stamps:
        if (known := steps.get(instant_of(stamp))) is not None:
            known.last_stamp = max(known.last_stamp, stamp)
    for step in steps.values():
        step.additions.sort(key=_stamp_of)
    return ClaimSteps(nodes.names, nodes.edges, [steps[instant] for instant in sorted(steps)])


def _step_at(steps: dict[Instant, Step], instant: Instant, stamp: Stamp) -> Step:
    """Return the step of an instant, at which an event has a stamp."""
    if (step := steps.get(instant)) is None:
        step = steps[instant] = Step(instant, stamp)
    elif stamp > step.last_stamp:
        step.last_stamp = stamp
    return step


def _take_back(steps: dict[Instant, Step], event: Event, settings: list[Setting], retractions: Sequence[Event]) -> None:
    """Add what an event sets, and its removal by the first of its retractions."""
    for retraction in retractions:
        _step_at(steps, retraction.instant, retraction.stamp)
    first = min(retraction.instant for retraction in retractions)
    # A retraction cannot be retracted, and sets nothing.
    if settings and first > event.instant:
        stamp = max(retraction.stamp for retraction in retractions if retraction.instant == first)
        steps[event.instant].additions.append((event.stamp, settings))
        steps[first].removals.append(Removal(stamp, event.stamp, settings))


def upstream_of(milestones: Iterable[Name], links: Iterable[tuple[Name, Name]]) -> set[Name]:
    """Return milestones and all that they wait for; a link is the name of what waits and of what it waits for."""
    before: defaultdict[Name, list[Name]] = defaultdict(list)
    for successor, predecessor in links:
        before[successor].append(predecessor)
    found = set(milestones)
    pending = list(found)
    while pending:
        new = [name for name in before.get(pending.pop(), ()) if name not in found]
        found.update(new)
        pending += new
    return found


def link_of(event: Event) -> tuple[Name, Name] | None:
    """Return what waits for what by an event about a dependency."""
    data = event.data
    if not isinstance(data, (events.DependencyDeclared, events.DependencyWithdrawn)):
        return None
    return (event.project, data.milestone), (data.after.project, data.after.milestone)


class _Nodes:
    """The milestones that count, as numbers."""

    def __init__(self, own: Collection[Event], milestones: Collection[Name] | None) -> None:
        links = {link for event in own if (link := link_of(event)) is not None}
        names = {
            (event.project, event.data.milestone)
            for event in own
            if isinstance(event.data, (events.MilestoneReported, events.MilestoneCancelled))
        }
        names.update(name for link in links for name in link)
        if milestones is not None:
            names = upstream_of(names.intersection(milestones), links)
        self.names = sorted(names)
        self._node_of = {name: node for node, name in enumerate(self.names)}
        self._projects = {project for project, _ in self.names}
        self.edges = sorted(
            (self._node_of[successor], self._node_of[predecessor])
            for successor, predecessor in links
            if successor in self._node_of
        )

    def settings_of(self, event: Event) -> list[Setting]:
        """Return what an event sets, of the milestones that count."""
        return _SETTINGS[type(event.data)](self, event, event.data)

    def report(self, event: Event, data: events.MilestoneReported) -> list[Setting]:
        if (node := self._node_of.get((event.project, data.milestone))) is None:
            return []
        day, classifier = data.date.toordinal(), data.classifier
        settings: list[Setting] = [((STATUS, node), False)]
        if classifier is _PLANNED:
            settings += (((PLAN, node), day), ((OWN, node), day))
        else:
            settings.append(((OWN if classifier is _ESTIMATED else ACTUAL, node), day))
        return settings

    def cancellation(self, event: Event, data: events.MilestoneCancelled) -> list[Setting]:
        node = self._node_of.get((event.project, data.milestone))
        return [] if node is None else [((STATUS, node), True)]

    def dependency(self, event: Event, data: events.DependencyDeclared | events.DependencyWithdrawn) -> list[Setting]:
        successor = self._node_of.get((event.project, data.milestone))
        predecessor = self._node_of.get((data.after.project, data.after.milestone))
        if predecessor is None:
            return []
        settings: list[Setting] = [((NAMED, node), None) for node in {successor, predecessor} if node is not None]
        if successor is not None:
            lag_days = (data.lag_days or 0) if isinstance(data, events.DependencyDeclared) else None
            settings.append(((LINK, (successor, predecessor)), lag_days))
        return settings

    def project(self, event: Event, data: events.ProjectRegistered | events.ProjectWithdrawn) -> list[Setting]:
        if event.project not in self._projects:
            return []
        return [((PROJECT, event.project), isinstance(data, events.ProjectWithdrawn))]

    def nothing(self, _event: Event, _data: EventData) -> list[Setting]:
        return []


_SETTINGS: Final[dict[type[EventData], Callable[[_Nodes, Event, Any], list[Setting]]]] = {
    events.ProgrammeRegistered: _Nodes.nothing,
    events.ProjectRegistered: _Nodes.project,
    events.ProjectWithdrawn: _Nodes.project,
    events.MilestoneReported: _Nodes.report,
    events.MilestoneCancelled: _Nodes.cancellation,
    events.DependencyDeclared: _Nodes.dependency,
    events.DependencyWithdrawn: _Nodes.dependency,
    EventRetracted: _Nodes.nothing,
}
