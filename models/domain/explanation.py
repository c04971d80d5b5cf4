"""Why a forecast is what it is: the chain of drivers behind it, and the claims that are the evidence for each link.

A chain begins with the milestone in question and follows the drivers down to a milestone whose date does not come from
another: it comes from its own claims, from the data date because nothing later is known, or there is none. A network
has no cycles (a dependency that would close one is set aside), so every chain ends.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from models.domain.claims import (
    NO_MILESTONE_CLAIMS,
    NO_PROJECT_CLAIMS,
    Claim,
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProjectKey,
)
from models.domain.events import Classifier
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, State
from models.domain.timestamps import Stamp


class ForecastBasis(StrEnum):
    """What determines a forecast."""

    ACTUAL = "actual"
    ESTIMATED = "estimated"
    PLANNED = "planned"
    #: No later date is known: a milestone without an actual date is never forecast in the past.
    DATA_DATE = "data-date"
    DRIVER = "driver"
    #: There is no forecast.
    NOTHING = "nothing"


class EvidenceRole(StrEnum):
    """The role of an event in a link of the chain."""

    BASELINE = "baseline"
    PLANNED = "planned"
    ESTIMATED = "estimated"
    ACTUAL = "actual"
    #: Declares the dependency on the predecessor that decides.
    DEPENDENCY = "dependency"
    #: Of the milestone.
    CANCELLATION = "cancellation"
    #: Of its project.
    WITHDRAWAL = "withdrawal"


class Evidence(NamedTuple):
    """A claim that counts, and its role."""

    stamp: Stamp
    role: EvidenceRole


class IgnoredBecause(StrEnum):
    """Why a dependency does not count."""

    CANCELLED = "cancelled"
    NO_FORECAST = "no-forecast"
    #: The dependency would close a cycle.
    CYCLE = "cycle"


class IgnoredPredecessor(NamedTuple):
    """A predecessor that is not waited for."""

    gate: MilestoneRef
    because: IgnoredBecause


class ChainLink(NamedTuple):
    """One milestone of the chain."""

    status: MilestoneStatus
    #: The newer of estimated and planned, and which of the two it is.
    own_date: date | None
    own_classifier: Classifier | None
    set_by: ForecastBasis
    #: The lag after the driver.
    lag_days: int | None
    #: In the order of the stamps.
    evidence: Sequence[Evidence]
    ignored: Sequence[IgnoredPredecessor]


def explain_forecast(facts: Facts, schedule: Schedule, key: MilestoneKey) -> list[ChainLink]:
    """Return the chain from a milestone down to the end of its drivers; the schedule has to be that of the facts."""
    chain = []
    current: MilestoneKey | None = key
    while current is not None:
        link = _chain_link(facts, schedule, current)
        chain.append(link)
        driver = link.status.driver
        current = None if driver is None else MilestoneKey(key.programme, *driver)
    return chain


def _chain_link(facts: Facts, schedule: Schedule, key: MilestoneKey) -> ChainLink:
    status = schedule.statuses[schedule.network.index_of[key]]
    claims = facts.milestones.get(key, NO_MILESTONE_CLAIMS)
    own = claims.own_claim
    gate = _deciding_gate(schedule, status, own)
    declared = None if gate is None else facts.dependencies[DependencyKey(*key, *gate)].declared
    return ChainLink(
        status,
        None if own is None else own.date,
        None if own is None else Classifier.ESTIMATED if own is claims.estimated else Classifier.PLANNED,
        _forecast_basis(status, claims, schedule.data_date),
        declared.value if declared is not None and status.driver is not None else None,
        sorted(_collect_evidence(facts, key, None if declared is None else declared.stamp)),
        # An achieved milestone waits for nothing.
        [] if status.actual is not None else sorted(_ignored_predecessors(schedule, key)),
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
    """Return the predecessor that decides the forecast: the driver, or else the last one of a milestone without dates.

    Without a date of its own there is a forecast only because of predecessors, even if all of them have passed.
    """
    if status.driver is not None or own_claim is not None or status.actual is not None or status.forecast is None:
        return status.driver
    network = schedule.network
    candidates = [
        (gate.forecast.toordinal() + lag_days, -index)
        for index, lag_days in network.predecessors[network.index_of[status.key]]
        if _ignored_because(gate := schedule.statuses[index]) is None and gate.forecast is not None
    ]
    return schedule.statuses[-max(candidates)[1]].ref


def _collect_evidence(facts: Facts, key: MilestoneKey, dependency: Stamp | None) -> Iterator[Evidence]:
    claims = facts.milestones.get(key, NO_MILESTONE_CLAIMS)
    project = facts.projects.get(ProjectKey(key.programme, key.project), NO_PROJECT_CLAIMS)
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
    for index, _ in network.predecessors[network.index_of[key]]:
        if (because := _ignored_because(schedule.statuses[index])) is not None:
            yield IgnoredPredecessor(schedule.statuses[index].ref, because)
    for dependency in network.cyclic:
        if dependency.successor == key:
            gate = MilestoneRef(dependency.after_project, dependency.after_milestone)
            yield IgnoredPredecessor(gate, IgnoredBecause.CYCLE)


def _ignored_because(gate: MilestoneStatus) -> IgnoredBecause | None:
    if gate.state is State.CANCELLED:
        return IgnoredBecause.CANCELLED
    return IgnoredBecause.NO_FORECAST if gate.forecast is None else None
