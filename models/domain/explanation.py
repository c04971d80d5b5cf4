"""Why a forecast is what it is: the chain of drivers behind it, and the claims that are the evidence for each link.

A chain begins with the milestone in question and follows the drivers down to a milestone whose date does not come from
another: it comes from its own claims, from the data date because nothing later is known, or there is none. A network
has no cycles (a dependency that would close one is set aside), so every chain ends.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from models.domain.claims import Claim, DependencyKey, Facts, MilestoneClaims, MilestoneKey
from models.domain.events import Classifier
from models.domain.row_order import milestone_sort_key
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
    NOTHING = "nothing"  # there is no forecast: no date is known, or the milestone is cancelled


class EvidenceRole(StrEnum):
    """The role of an event in a link of the chain."""

    BASELINE = "baseline"
    PLANNED = "planned"
    ESTIMATED = "estimated"
    ACTUAL = "actual"
    DEPENDENCY = "dependency"  # on the predecessor that decides
    CANCELLATION = "cancellation"  # of the milestone
    WITHDRAWAL = "withdrawal"  # of its project


class Evidence(NamedTuple):
    """A claim that counts, and its role."""

    stamp: Stamp
    role: EvidenceRole


class IgnoredBecause(StrEnum):
    """Why a dependency does not count."""

    CANCELLED = "cancelled"
    NO_FORECAST = "no-forecast"
    CYCLE = "cycle"  # the dependency would close one


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
    lag_days: int | None  # after the driver
    evidence: Sequence[Evidence]  # in the order of the stamps
    ignored: Sequence[IgnoredPredecessor]


def explain_forecast(facts: Facts, schedule: Schedule, key: MilestoneKey) -> list[ChainLink]:
    """Return the chain from a milestone down to the end of its drivers; the schedule has to be that of the facts."""
    chain = [_chain_link(facts, schedule, key)]
    while (driver := chain[-1].status.driver) is not None:
        chain.append(_chain_link(facts, schedule, MilestoneKey(key.programme, *driver)))
    return chain


def _chain_link(facts: Facts, schedule: Schedule, key: MilestoneKey) -> ChainLink:
    status = schedule.statuses[schedule.network.index_of[key]]
    claims = facts.milestone(key)
    own = claims.own_claim
    gate = _deciding_gate(schedule, status, own)
    declared = None if gate is None else facts.dependencies[DependencyKey(*key, *gate)].declared
    return ChainLink(
        status,
        None if own is None else own.date,
        None if own is None else Classifier.ESTIMATED if own is claims.estimated else Classifier.PLANNED,
        _forecast_basis(status, claims, schedule.data_date),
        declared.value if declared is not None and status.driver is not None else None,
        _collect_evidence(facts, key, declared and declared.stamp),
        # An achieved or cancelled milestone waits for nothing.
        list(_ignored_predecessors(schedule, key)) if status.is_open else [],
    )


def _forecast_basis(status: MilestoneStatus, claims: MilestoneClaims, data_date: date) -> ForecastBasis:
    own = claims.own_claim
    if status.forecast is None:
        return ForecastBasis.NOTHING
    if status.actual is not None:
        return ForecastBasis.ACTUAL
    if status.driver is not None:
        return ForecastBasis.DRIVER
    if own is None or own.date < data_date:
        return ForecastBasis.DATA_DATE
    return ForecastBasis.ESTIMATED if own is claims.estimated else ForecastBasis.PLANNED


def _deciding_gate(schedule: Schedule, status: MilestoneStatus, own_claim: Claim | None) -> MilestoneRef | None:
    """Return the predecessor that decides the forecast: the driver, or the last one of a milestone without dates."""
    if status.driver is not None or own_claim is not None or status.actual is not None or status.forecast is None:
        return status.driver
    # Without a date of its own there is a forecast only because of predecessors, even if all of them have passed.
    network = schedule.network
    candidates = [
        (gate.forecast.toordinal() + lag_days, -index)
        for index, lag_days in network.predecessors[network.index_of[status.key]]
        if _ignored_because(gate := schedule.statuses[index]) is None and gate.forecast is not None
    ]
    return schedule.statuses[-max(candidates)[1]].ref


def _collect_evidence(facts: Facts, key: MilestoneKey, dependency: Stamp | None) -> list[Evidence]:
    claims, project = facts.milestone(key), facts.project_of(key)
    stamps = {
        EvidenceRole.BASELINE: claims.baseline and claims.baseline.stamp,
        EvidenceRole.PLANNED: claims.planned and claims.planned.stamp,
        EvidenceRole.ESTIMATED: claims.estimated and claims.estimated.stamp,
        EvidenceRole.ACTUAL: claims.actual and claims.actual.stamp,
        EvidenceRole.DEPENDENCY: dependency,
        EvidenceRole.CANCELLATION: claims.cancelled if claims.is_cancelled else None,
        EvidenceRole.WITHDRAWAL: project.withdrawn if project.is_withdrawn else None,
    }
    return sorted(Evidence(stamp, role) for role, stamp in stamps.items() if stamp is not None)


def _ignored_predecessors(schedule: Schedule, key: MilestoneKey) -> Iterator[IgnoredPredecessor]:
    network, statuses = schedule.network, schedule.statuses
    cyclic = {network.index_of[each.predecessor] for each in network.cyclic if each.successor == key}
    indexes = cyclic.union(index for index, _ in network.predecessors[network.index_of[key]])
    for index in sorted(indexes, key=lambda index: milestone_sort_key(statuses[index])):
        because = IgnoredBecause.CYCLE if index in cyclic else _ignored_because(statuses[index])
        if because is not None:
            yield IgnoredPredecessor(statuses[index].ref, because)


def _ignored_because(gate: MilestoneStatus) -> IgnoredBecause | None:
    if gate.state is State.CANCELLED:
        return IgnoredBecause.CANCELLED
    return IgnoredBecause.NO_FORECAST if gate.forecast is None else None
