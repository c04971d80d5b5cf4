"""Two pictures of the same day to what moved between them, and the event behind each movement.

An event moves a forecast when the pictures with and without it differ; that only the day changed moves nothing here,
because both pictures are drawn for the same day. Several events may lie between two pictures. The one behind a
movement is then the newest that was said about what decides the forecast: an actual date, which waits for nothing; its
driver (how it moved itself, how long after it), the milestone's own dates, the driver that was, and whatever else it
waits for, in this order.
"""
# What is told to others when a forecast moves: CloudEvents of the contract, section 8.
#
# Pure: a history row says it all, down to the bytes, so that a change published twice is twice the same event.

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from models.domain.claims import Dependency, DependencyKey, Facts, Milestone, MilestoneKey, Project, ProjectKey
from models.domain.cloudevents import STRUCTURED, Headers
from models.domain.schedule import Driver, Picture, Standing, State
from models.domain.timestamps import Stamp, instant_at

_NOTHING: Final = Milestone()
_UNHEARD_OF: Final = Project()


class Movement(NamedTuple):
    """A forecast that an event moved, or a milestone that it achieved, or both."""

    milestone: MilestoneKey
    was: date | None
    becomes: date | None
    slip_days: int | None
    state: State
    driver: Driver | None
    #: Only where the milestone was achieved: how many open ones waited for it.
    dependents: int | None
    #: The stamp of the event behind it.
    cause: Stamp


class Noted(NamedTuple):
    """A movement as it is kept: a row of `history`."""

    programme: str
    number: int
    project: str
    milestone: str
    revision: int
    noted_ms: int
    was: date | None
    becomes: date | None
    slip_days: int | None
    state: str
    driver_project: str | None
    driver_milestone: str | None
    #: Only where the milestone was achieved: how many open ones waited for it.
    dependents: int | None
    cause_source: str
    cause_id: str
    correlationid: str | None

    @property
    def driver(self) -> str | None:
        """The predecessor that set the forecast, as it is shown everywhere."""
        return None if self.driver_project is None else f"{self.driver_project}/{self.driver_milestone}"


class Movements(NamedTuple):
    """What moved between two pictures."""

    explained: list[Movement]
    #: What moved although nothing was said that moves it: rows were changed past the events.
    unexplained: list[MilestoneKey]


def movements(
    before: tuple[Facts, Picture], after: tuple[Facts, Picture], taken_back: Mapping[Stamp, Stamp]
) -> Movements:
    """Return what moved, every gate before those that wait for it.

    `taken_back` gives, for the stamp of every claim that a retraction took back between the two, the retraction's.
    """
    then, now = before[1], after[1]
    search = _Causes(before[0], then, after[0], now, taken_back)
    moved = Movements([], [])
    for key, was, becomes in _moved(then, now):
        cause = search.cause(key)
        if cause is None:
            moved.unexplained.append(key)
            continue
        becomes_achieved = becomes is not None and _achieved(becomes) and not (was is not None and _achieved(was))
        moved.explained.append(
            Movement(
                key,
                was.forecast if was else None,
                becomes.forecast if becomes else None,
                becomes.slip_days if becomes else None,
                becomes.state if becomes else State.UNKNOWN,
                becomes.driver if becomes else None,
                becomes.dependents if becomes and becomes_achieved else None,
                cause,
            )
        )
    return moved


def _achieved(standing: Standing) -> bool:
    return standing.state is State.ACHIEVED


def _moved(then: Picture, now: Picture) -> Iterator[tuple[MilestoneKey, Standing | None, Standing | None]]:
    """Return how each milestone stood and stands whose forecast differs or that was achieved, gates first."""
    places = then.network.places
    same = now.network is then.network
    for place in now.network.order:
        becomes = now.standings[place]
        at = place if same else places.get(becomes[:3])
        was = None if at is None else then.standings[at]
        if was is becomes:
            continue
        was_forecast, was_achieved = (was.forecast, _achieved(was)) if was else (None, False)
        if was_forecast != becomes.forecast or (_achieved(becomes) and not was_achieved):
            yield becomes.key, was, becomes
    if not same:
        for was in then.standings:
            if was.forecast is not None and was[:3] not in now.network.places:
                yield was.key, was, None


class _Causes:
    """Looks for the event behind each movement; gates have to be asked about before those that wait for them."""

    def __init__(
        self, before: Facts, then: Picture, after: Facts, now: Picture, taken_back: Mapping[Stamp, Stamp]
    ) -> None:
        self._before, self._then, self._after, self._now = before, then, after, now
        self._taken_back = taken_back
        self._found: dict[MilestoneKey, Stamp] = {}
        self._circles: dict[MilestoneKey, Stamp | None] = {}

    def cause(self, key: MilestoneKey) -> Stamp | None:
        """Return the stamp of the event behind the movement of a milestone; None: nothing was said that moves it."""
        for said in self._candidates(key):
            if said is not None:
                self._found[key] = said
                return said
        return None

    def _candidates(self, key: MilestoneKey) -> Iterator[Stamp | None]:
        was, becomes = (facts.milestones.get(key, _NOTHING) for facts in (self._before, self._after))
        if was.actual is not None or becomes.actual is not None:
            # What is done waits for nothing.
            yield self._about_dates(was, becomes)
            yield self._about_standing(key)
        now, then = _driver(self._now, key), _driver(self._then, key)
        if now is not None:
            yield self._about_gate(key, now)
        yield self._about_dates(was, becomes)
        if then is not None:
            yield self._about_gate(key, then)
        gates = _gates(self._now, key) | _gates(self._then, key)
        yield max(filter(None, (self._about_gate(key, gate) for gate in gates)), default=None)

    def _about_dates(self, was: Milestone, becomes: Milestone) -> Stamp | None:
        """Return what changed the claim that decides a milestone's own date."""
        known, deciding = _dates(was), _dates(becomes)[:1]
        # The own date that an actual one kept from deciding is no news.
        return self._said(known[:1], [stamp for stamp in deciding if stamp not in known])

    def _about_gate(self, key: MilestoneKey, gate: MilestoneKey) -> Stamp | None:
        """Return the newest of what moved a gate and what changed whether and how long after it a milestone comes."""
        linked_then, linked_now = (gate in _gates(picture, key) for picture in (self._then, self._now))
        about = [self._about_standing(gate)]
        if linked_now and not _cancelled(self._now, gate):
            about.append(self._found.get(gate))
        dependency = DependencyKey(*key, gate.project, gate.milestone)
        was, becomes = (facts.dependencies.get(dependency) for facts in (self._before, self._after))
        if _holds(was) != _holds(becomes):
            about.append(self._said(_stamps(was), _stamps(becomes)))
        elif linked_then != linked_now:
            about.append(self._about_circle(key))
        return max(filter(None, about), default=None)

    def _about_standing(self, key: MilestoneKey) -> Stamp | None:
        """Return what made a milestone count no longer, or again."""
        if _cancelled(self._then, key) == _cancelled(self._now, key):
            return None
        both, project = (self._before, self._after), ProjectKey(key.programme, key.project)
        claims = [facts.milestones.get(key, _NOTHING) for facts in both]
        projects = [facts.projects.get(project, _UNHEARD_OF) for facts in both]
        about = []
        if claims[0].is_cancelled != claims[1].is_cancelled:
            about.append(self._said(*((of.cancelled, of.reported) for of in claims)))
        if projects[0].is_withdrawn != projects[1].is_withdrawn:
            about.append(self._said(*((of.registered, of.withdrawn) for of in projects)))
        return max(filter(None, about), default=None)

    def _about_circle(self, key: MilestoneKey) -> Stamp | None:
        """Return the newest of what was said of the dependencies that lead from a milestone back to it.

        A dependency is set aside, or counts again, because of others on the same circles alone.
        """
        if key not in self._circles:
            both = [self._before.dependencies, self._after.dependencies]
            ends = {name: _ends(name) for known in both for name, said in known.items() if said.holds}
            circle = _reached(key, ends.values()) & _reached(key, [(gate, waiting) for waiting, gate in ends.values()])
            said = [
                self._said(*(_stamps(known.get(name)) for known in both))
                for name, (waiting, gate) in ends.items()
                if waiting in circle and gate in circle
            ]
            self._circles.update(dict.fromkeys(circle, max(filter(None, said), default=None)))
        return self._circles[key]

    def _said(self, was: Iterable[Stamp | None], becomes: Iterable[Stamp | None]) -> Stamp | None:
        """Return the event that made one set of winning claims the other: the newest new one, or a retraction."""
        before, after = set(filter(None, was)), set(filter(None, becomes))
        gone = [stamp for stamp in before - after if stamp in self._taken_back]
        newest, struck = max(after - before, default=None), max(gone, default=None)
        # A claim that is older than the one taken back has only come to the fore again.
        if struck is not None and (newest is None or newest < struck):
            return self._taken_back[struck]
        return newest


def _ends(dependency: DependencyKey) -> tuple[MilestoneKey, MilestoneKey]:
    """Return what waits, and its gate."""
    waiting = MilestoneKey(dependency.programme, dependency.project, dependency.milestone)
    return waiting, MilestoneKey(dependency.programme, dependency.after_project, dependency.after_milestone)


def _reached(start: MilestoneKey, links: Iterable[tuple[MilestoneKey, MilestoneKey]]) -> set[MilestoneKey]:
    """Return what links lead to from a start, itself included."""
    leading: defaultdict[MilestoneKey, list[MilestoneKey]] = defaultdict(list)
    for one, other in links:
        leading[one].append(other)
    reached, open_ = {start}, [start]
    while open_:
        further = set(leading[open_.pop()]) - reached
        reached |= further
        open_ += further
    return reached


def _place(picture: Picture, key: MilestoneKey) -> int | None:
    return picture.network.places.get(key)


def _driver(picture: Picture, key: MilestoneKey) -> MilestoneKey | None:
    place = _place(picture, key)
    driver = None if place is None else picture.standings[place].driver
    return None if driver is None else MilestoneKey(key.programme, *driver)


def _gates(picture: Picture, key: MilestoneKey) -> set[MilestoneKey]:
    place = _place(picture, key)
    return set() if place is None else {picture.network.milestones[gate] for gate, _ in picture.network.before[place]}


def _cancelled(picture: Picture, key: MilestoneKey) -> bool:
    place = _place(picture, key)
    return place is not None and picture.standings[place].state is State.CANCELLED


def _dates(milestone: Milestone) -> list[Stamp]:
    """Return the stamps of the actual and the own date; the first of them decides."""
    return [claim.stamp for claim in (milestone.actual, milestone.own) if claim is not None]


def _stamps(dependency: Dependency | None) -> list[Stamp | None]:
    if dependency is None:
        return []
    return [dependency.declared.stamp if dependency.declared else None, dependency.withdrawn]


def _holds(dependency: Dependency | None) -> int | None:
    """Return the lag of a dependency that holds."""
    return dependency.declared.value if dependency is not None and dependency.declared and dependency.holds else None


FORECAST_CHANGED: Final = "milepost.forecast.changed.v1"
MILESTONE_ACHIEVED: Final = "milepost.milestone.achieved.v1"
GATE_OPENED: Final = "milepost.gate.opened.v1"
#: Who says so.
SOURCE: Final = "/milepost"
HEADERS: Final[Headers] = (("content-type", STRUCTURED.encode()),)


def changes(noted: Noted) -> Iterator[bytes]:
    """Return the events that a history row stands for, in structured mode."""
    if noted.was != noted.becomes:
        told = {"from": noted.was, "to": noted.becomes, "slip_days": noted.slip_days}
        yield _event(FORECAST_CHANGED, noted, {**told, "driver": noted.driver, "state": noted.state})
    if noted.dependents is not None:
        yield _event(MILESTONE_ACHIEVED, noted, {"date": noted.becomes, "slip_days": noted.slip_days})
        if noted.dependents:
            yield _event(GATE_OPENED, noted, {"date": noted.becomes, "dependents": noted.dependents})


def _event(event_type: str, noted: Noted, data: dict[str, date | str | int | None]) -> bytes:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": _name(event_type, noted),
        "source": SOURCE,
        "type": event_type,
        "subject": f"{noted.programme}/{noted.project}",
        "time": f"{instant_at(noted.noted_ms)}Z",
        "partitionkey": noted.programme,
        "causationid": noted.cause_id,
        # An id names an event of its source alone.
        "causationsource": noted.cause_source,
        "datacontenttype": "application/json",
        "data": {"milestone": noted.milestone, **data},
    }
    if noted.correlationid is not None:
        event["correlationid"] = noted.correlationid
    return msgspec.json.encode(event)


def _name(event_type: str, noted: Noted) -> str:
    """Return an id that follows from what changed and why alone: not from when, where or how often it was noted."""
    moved = (noted.programme, noted.project, noted.milestone, noted.was, noted.becomes)
    content = (event_type, *moved, noted.cause_source, noted.cause_id)
    return blake2b(msgspec.json.encode(content), digest_size=16).hexdigest()
