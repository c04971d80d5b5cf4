"""Why a forecast is what it is: the chain of drivers behind it, and the claims that stand behind each link.

Pure, like the picture that it explains. A chain begins with the milestone asked about and follows the drivers down to
one whose date comes from itself: from what was said of it, from the data date because nothing later is known, or from
nothing at all. A network has no cycles (what would close one is set aside), so every chain ends.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from models.domain.claims import Claim, DependencyKey, Facts, Milestone, MilestoneKey, Project, ProjectKey
from models.domain.events import Classifier
from models.domain.schedule import Driver, Picture, Standing, State
from models.domain.timestamps import Stamp


class SetBy(StrEnum):
    """What a forecast comes from."""

    ACTUAL = "actual"
    ESTIMATED = "estimated"
    PLANNED = "planned"
    #: Nothing later than the data date is known: what nobody reported as done is never forecast in the past.
    DATA_DATE = "data-date"
    DRIVER = "driver"
    #: There is no forecast.
    NOTHING = "nothing"


class Role(StrEnum):
    """What an event is to a link of the chain."""

    BASELINE = "baseline"
    PLANNED = "planned"
    ESTIMATED = "estimated"
    ACTUAL = "actual"
    #: Declares what the milestone waits for.
    DEPENDENCY = "dependency"
    #: Of the milestone.
    CANCELLATION = "cancellation"
    #: Of its project.
    WITHDRAWAL = "withdrawal"


class Evidence(NamedTuple):
    """A claim that counts, and as what."""

    stamp: Stamp
    role: Role


class Why(StrEnum):
    """Why a milestone is not waited for although a dependency says so."""

    CANCELLED = "cancelled"
    NO_FORECAST = "no-forecast"
    #: The dependency would close a cycle, and is set aside.
    CYCLE = "cycle"


class LeftOut(NamedTuple):
    """A predecessor that has no say."""

    gate: Driver
    why: Why


class Link(NamedTuple):
    """One milestone of the chain."""

    standing: Standing
    #: Of estimated and planned what was said last, and which of the two that is.
    own_date: date | None
    own_classifier: Classifier | None
    set_by: SetBy
    #: How long after its driver it comes, at least.
    lag_days: int | None
    #: In the order in which it was said.
    evidence: Sequence[Evidence]
    left_out: Sequence[LeftOut]


def explain(facts: Facts, shown: Picture, key: MilestoneKey) -> list[Link]:
    """Return the chain from a milestone of a picture down to the one whose date is its own.

    The facts are those that the picture was drawn of.
    """
    chain = []
    asked: MilestoneKey | None = key
    while asked is not None:
        link = _link(facts, shown, asked)
        chain.append(link)
        driver = link.standing.driver
        asked = None if driver is None else MilestoneKey(key.programme, *driver)
    return chain


def _link(facts: Facts, shown: Picture, key: MilestoneKey) -> Link:
    standing = shown.standings[shown.network.places[key]]
    claims = facts.milestones.get(key, Milestone())
    own = claims.own
    gate = _gate(shown, standing, own)
    declared = None if gate is None else facts.dependencies[DependencyKey(*key, *gate)].declared
    return Link(
        standing,
        None if own is None else own.date,
        None if own is None else Classifier.ESTIMATED if own is claims.estimated else Classifier.PLANNED,
        _set_by(standing, claims, shown.day),
        declared.value if declared is not None and standing.driver is not None else None,
        sorted(_evidence(facts, key, None if declared is None else declared.stamp)),
        # What has an actual date waits for nothing any more.
        [] if standing.actual is not None else sorted(_left_out(shown, key)),
    )


def _set_by(standing: Standing, claims: Milestone, day: date) -> SetBy:
    own = claims.own
    if standing.actual is not None:
        return SetBy.ACTUAL
    if standing.forecast is None:
        return SetBy.NOTHING
    if standing.driver is not None:
        return SetBy.DRIVER
    if own is None or own.date < day:
        return SetBy.DATA_DATE
    return SetBy.ESTIMATED if own is claims.estimated else SetBy.PLANNED


def _gate(shown: Picture, standing: Standing, own: Claim | None) -> Driver | None:
    """Return the predecessor without which the forecast would be another: of several, what comes last."""
    if standing.driver is not None or own is not None or standing.actual is not None or standing.forecast is None:
        return standing.driver
    # Without a date of its own there is a forecast only because something is waited for, early as that may be.
    network = shown.network
    waited_for = [
        (gate.forecast.toordinal() + lag_days, -place)
        for place, lag_days in network.before[network.places[standing.key]]
        if _why_left_out(gate := shown.standings[place]) is None and gate.forecast is not None
    ]
    _, place = max(waited_for)
    return Driver(*network.milestones[-place][1:])


def _evidence(facts: Facts, key: MilestoneKey, dependency: Stamp | None) -> Iterator[Evidence]:
    claims = facts.milestones.get(key, Milestone())
    project = facts.projects.get(ProjectKey(key.programme, key.project), Project())
    for role, claim in (
        (Role.BASELINE, claims.baseline),
        (Role.PLANNED, claims.planned),
        (Role.ESTIMATED, claims.estimated),
        (Role.ACTUAL, claims.actual),
    ):
        if claim is not None:
            yield Evidence(claim.stamp, role)
    if dependency is not None:
        yield Evidence(dependency, Role.DEPENDENCY)
    if claims.cancelled is not None and claims.is_cancelled:
        yield Evidence(claims.cancelled, Role.CANCELLATION)
    if project.withdrawn is not None and project.is_withdrawn:
        yield Evidence(project.withdrawn, Role.WITHDRAWAL)


def _left_out(shown: Picture, key: MilestoneKey) -> Iterator[LeftOut]:
    network = shown.network
    for place, _ in network.before[network.places[key]]:
        if (why := _why_left_out(shown.standings[place])) is not None:
            yield LeftOut(Driver(*network.milestones[place][1:]), why)
    for dependency in network.set_aside:
        if dependency[:3] == key:
            yield LeftOut(Driver(dependency.after_project, dependency.after_milestone), Why.CYCLE)


def _why_left_out(gate: Standing) -> Why | None:
    if gate.state is State.CANCELLED:
        return Why.CANCELLED
    return Why.NO_FORECAST if gate.forecast is None else None
