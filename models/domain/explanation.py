"""Why a forecast is what it is: the chain of drivers behind it, and the claims that stand behind each link.

Pure, like the picture that it explains. A chain begins with the milestone asked about and follows the drivers down to
one whose date comes from itself: from what was said of it, from the data date because nothing later is known, or from
nothing at all. A network has no cycles (what would close one is set aside), so every chain ends.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from models.domain.claims import Claim, DependencyKey, Facts, MilestoneClaims, MilestoneKey, ProjectClaims, ProjectKey
from models.domain.events import Classifier
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State
from models.domain.timestamps import Stamp


class ForecastBasis(StrEnum):
    """What a forecast comes from."""

    ACTUAL = "actual"
    ESTIMATED = "estimated"
    PLANNED = "planned"
    #: Nothing later than the data date is known: what nobody reported as done is never forecast in the past.
    DATA_DATE = "data-date"
    DRIVER = "driver"
    #: There is no forecast.
    NOTHING = "nothing"


class EvidenceRole(StrEnum):
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
    role: EvidenceRole


class IgnoredBecause(StrEnum):
    """Why a milestone is not waited for although a dependency says so."""

    CANCELLED = "cancelled"
    NO_FORECAST = "no-forecast"
    #: The dependency would close a cycle, and is set aside.
    CYCLE = "cycle"


class IgnoredPredecessor(NamedTuple):
    """A predecessor that has no say."""

    gate: MilestoneRef
    because: IgnoredBecause


class ChainLink(NamedTuple):
    """One milestone of the chain."""

    status: MilestoneStatus
    #: Of estimated and planned what was said last, and which of the two that is.
    own_date: date | None
    own_classifier: Classifier | None
    set_by: ForecastBasis
    #: How long after its driver it comes, at least.
    lag_days: int | None
    #: In the order in which it was said.
    evidence: Sequence[Evidence]
    ignored: Sequence[IgnoredPredecessor]


def explain_forecast(facts: Facts, schedule: Schedule, key: MilestoneKey) -> list[ChainLink]:
    """Return the chain from a milestone of a picture down to the one whose date is its own.

    The facts are those that the picture was drawn of.
    """
    chain = []
    asked: MilestoneKey | None = key
    while asked is not None:
        link = _chain_link(facts, schedule, asked)
        chain.append(link)
        driver = link.status.driver
        asked = None if driver is None else MilestoneKey(key.programme, *driver)
    return chain


def _chain_link(facts: Facts, schedule: Schedule, key: MilestoneKey) -> ChainLink:
    standing = schedule.statuses[schedule.network.index_of[key]]
    claims = facts.milestones.get(key, MilestoneClaims())
    own = claims.own_claim
    gate = _deciding_gate(schedule, standing, own)
    declared = None if gate is None else facts.dependencies[DependencyKey(*key, *gate)].declared
    return ChainLink(
        standing,
        None if own is None else own.date,
        None if own is None else Classifier.ESTIMATED if own is claims.estimated else Classifier.PLANNED,
        _forecast_basis(standing, claims, schedule.data_date),
        declared.value if declared is not None and standing.driver is not None else None,
        sorted(_collect_evidence(facts, key, None if declared is None else declared.stamp)),
        # What has an actual date waits for nothing any more.
        [] if standing.actual is not None else sorted(_ignored_predecessors(schedule, key)),
    )


def _forecast_basis(status: MilestoneStatus, claims: MilestoneClaims, data_date: date) -> ForecastBasis:
    own = claims.own_claim
    if status.actual is not None:
        return ForecastBasis.ACTUAL
    if status.forecast is None:
        return ForecastBasis.NOTHING
    if status.driver is not None:
        return ForecastBasis.DRIVER
    if own is None or own.date < data_date:
        return ForecastBasis.DATA_DATE
    return ForecastBasis.ESTIMATED if own is claims.estimated else ForecastBasis.PLANNED


def _deciding_gate(schedule: Schedule, status: MilestoneStatus, own_claim: Claim | None) -> MilestoneRef | None:
    """Return the predecessor without which the forecast would be another: of several, what comes last."""
    if status.driver is not None or own_claim is not None or status.actual is not None or status.forecast is None:
        return status.driver
    # Without a date of its own there is a forecast only because something is waited for, early as that may be.
    network = schedule.network
    waited_for = [
        (gate.forecast.toordinal() + lag_days, -place)
        for place, lag_days in network.predecessors[network.index_of[status.key]]
        if _ignored_because(gate := schedule.statuses[place]) is None and gate.forecast is not None
    ]
    _, place = max(waited_for)
    return MilestoneRef(*network.milestones[-place][1:])


def _collect_evidence(facts: Facts, key: MilestoneKey, dependency: Stamp | None) -> Iterator[Evidence]:
    claims = facts.milestones.get(key, MilestoneClaims())
    project = facts.projects.get(ProjectKey(key.programme, key.project), ProjectClaims())
    for role, claim in (
        (EvidenceRole.BASELINE, claims.baseline),
        (EvidenceRole.PLANNED, claims.planned),
        (EvidenceRole.ESTIMATED, claims.estimated),
        (EvidenceRole.ACTUAL, claims.actual),
    ):
        if claim is not None:
            yield Evidence(claim.stamp, role)
    if dependency is not None:
        yield Evidence(dependency, EvidenceRole.DEPENDENCY)
    if claims.cancelled is not None and claims.is_cancelled:
        yield Evidence(claims.cancelled, EvidenceRole.CANCELLATION)
    if project.withdrawn is not None and project.is_withdrawn:
        yield Evidence(project.withdrawn, EvidenceRole.WITHDRAWAL)


def _ignored_predecessors(schedule: Schedule, key: MilestoneKey) -> Iterator[IgnoredPredecessor]:
    network = schedule.network
    for place, _ in network.predecessors[network.index_of[key]]:
        if (why := _ignored_because(schedule.statuses[place])) is not None:
            yield IgnoredPredecessor(MilestoneRef(*network.milestones[place][1:]), why)
    for dependency in network.cyclic:
        if dependency[:3] == key:
            yield IgnoredPredecessor(
                MilestoneRef(dependency.after_project, dependency.after_milestone), IgnoredBecause.CYCLE
            )


def _ignored_because(gate: MilestoneStatus) -> IgnoredBecause | None:
    if gate.state is State.CANCELLED:
        return IgnoredBecause.CANCELLED
    return IgnoredBecause.NO_FORECAST if gate.forecast is None else None
