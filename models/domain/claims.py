"""The fold of events into winning claims: contract, section 2.

Every register keeps the claim with the newest stamp (the baseline: the oldest), so order and repetition of deliveries
do not matter. `models.database.claims` has the same rule in SQL; a property test compares the two. The module is long
so that the claims and everything that the fold does to them stand together.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from sys import intern
from typing import Any, Final, Generic, NamedTuple, TypeVar

from models.domain import events
from models.domain.events import Classifier, Event, EventData, EventRetracted, Money
from models.domain.timestamps import Stamp, make_stamp

T = TypeVar("T")

#: Older than any stamp: stamps are compared as texts.
_BEFORE_ALL_STAMPS: Final = Stamp("")
# Attribute access on an enumeration is slow.
_PLANNED_CLASSIFIER, _ESTIMATED_CLASSIFIER = Classifier.PLANNED, Classifier.ESTIMATED
_new_tuple: Final = tuple.__new__


class Claim(NamedTuple):
    """A date, and the stamp of the event that claims it."""

    stamp: Stamp
    date: date
    amount: Money | None = None


class Register(NamedTuple, Generic[T]):
    """A value, and the stamp of the event that set it."""

    stamp: Stamp
    value: T


class ProjectKey(NamedTuple):
    """Identifies a project."""

    programme: str
    project: str


class SiteKey(NamedTuple):
    """A site, and the project that names it."""

    programme: str
    project: str
    site: str


class MilestoneKey(NamedTuple):
    """Identifies a milestone."""

    # Intern the parts of stored keys: tens of thousands of keys share a few texts, and a calculation that looks the
    # keys up then touches only those.
    programme: str
    project: str
    milestone: str


class DependencyKey(NamedTuple):
    """Identifies a dependency: which milestone waits for which."""

    programme: str
    project: str
    milestone: str
    after_project: str
    after_milestone: str

    @property
    def successor(self) -> MilestoneKey:
        """The milestone that waits."""
        return MilestoneKey(self.programme, self.project, self.milestone)

    @property
    def predecessor(self) -> MilestoneKey:
        """The milestone that it waits for."""
        return MilestoneKey(self.programme, self.after_project, self.after_milestone)


@dataclass(slots=True)
class MilestoneClaims:
    """The winning claims about one milestone."""

    baseline: Claim | None = None
    planned: Claim | None = None
    estimated: Claim | None = None
    actual: Claim | None = None
    cancelled: Stamp | None = None
    name: Register[str] | None = None

    @property
    def last_report_stamp(self) -> Stamp | None:
        """The newest report of any classifier."""
        return max([claim.stamp for claim in (self.planned, self.estimated, self.actual) if claim], default=None)

    @property
    def last_claim_stamp(self) -> Stamp | None:
        """The newest claim of any kind."""
        # Hot: calculated for every milestone whose status changed, and faster than `max`.
        last = self.cancelled or _BEFORE_ALL_STAMPS
        if (planned := self.planned) is not None and planned.stamp > last:
            last = planned.stamp
        if (estimated := self.estimated) is not None and estimated.stamp > last:
            last = estimated.stamp
        if (actual := self.actual) is not None and actual.stamp > last:
            last = actual.stamp
        return last or None

    @property
    def is_cancelled(self) -> bool:
        """Whether the newest cancellation is newer than every report."""
        return (self.cancelled or _BEFORE_ALL_STAMPS) > (self.last_report_stamp or _BEFORE_ALL_STAMPS)

    @property
    def own_claim(self) -> Claim | None:
        """The newer of estimated and planned."""
        # Hot: calculated for every milestone in every schedule, and twice as fast as a general comparison.
        estimated, planned = self.estimated, self.planned
        if estimated is None or planned is None:
            return estimated or planned
        return estimated if estimated.stamp > planned.stamp else planned

    @property
    def amount(self) -> Money | None:
        """The amount of the actual claim, else of the estimated, else of the planned."""
        if (actual := self.actual) is not None and actual.amount is not None:
            return actual.amount
        if (estimated := self.estimated) is not None and estimated.amount is not None:
            return estimated.amount
        return self.planned.amount if self.planned is not None else None


@dataclass(slots=True)
class ProgrammeClaims:
    """The winning claims about one programme."""

    registered: Stamp | None = None
    name: Register[str] | None = None
    investment: Register[Money] | None = None
    jobs: Register[int] | None = None


@dataclass(slots=True)
class ProjectClaims(ProgrammeClaims):
    """The winning claims about one project."""

    withdrawn: Stamp | None = None
    kind: Register[str] | None = None
    site: Register[str] | None = None

    @property
    def is_withdrawn(self) -> bool:
        """Whether the newest withdrawal is newer than every registration."""
        return (self.withdrawn or _BEFORE_ALL_STAMPS) > (self.registered or _BEFORE_ALL_STAMPS)


@dataclass(slots=True)
class DependencyClaims:
    """The winning claims about one dependency."""

    declared: Register[int] | None = None
    withdrawn: Stamp | None = None

    @property
    def is_in_force(self) -> bool:
        """Whether the newest declaration is newer than the newest withdrawal."""
        return self.declared is not None and (self.withdrawn is None or self.declared.stamp > self.withdrawn)

    @property
    def lag_days(self) -> int | None:
        """The least number of days between predecessor and successor; None when not in force."""
        return self.declared.value if self.declared is not None and self.is_in_force else None


#: For milestones and projects that only other events name; never changed.
NO_MILESTONE_CLAIMS: Final = MilestoneClaims()
NO_PROJECT_CLAIMS: Final = ProjectClaims()


@dataclass(slots=True)
class Facts:
    """The winning claims of a set of events."""

    programmes: dict[str, ProgrammeClaims] = field(default_factory=dict)
    projects: dict[ProjectKey, ProjectClaims] = field(default_factory=dict)
    milestones: dict[MilestoneKey, MilestoneClaims] = field(default_factory=dict)
    dependencies: dict[DependencyKey, DependencyClaims] = field(default_factory=dict)
    #: Every site that was ever named: being named is enough to exist.
    sites: set[SiteKey] = field(default_factory=set)

    def milestone(self, key: MilestoneKey) -> MilestoneClaims:
        """Return the claims about a milestone, not to be changed."""
        return self.milestones.get(key, NO_MILESTONE_CLAIMS)

    def project_of(self, key: MilestoneKey) -> ProjectClaims:
        """Return the claims about the project of a milestone, not to be changed."""
        return self.projects.get(ProjectKey(key.programme, key.project), NO_PROJECT_CLAIMS)

    def existing_milestones(self) -> set[MilestoneKey]:
        """Return every milestone that an event names, as its own or as a predecessor."""
        return {*self.milestones, *(end for key in self.dependencies for end in (key.successor, key.predecessor))}

    def existing_projects(self) -> set[ProjectKey]:
        """Return every project that an event names, as subject, site or predecessor."""
        sites = (ProjectKey(key.programme, key.site) for key in self.sites)
        return {*self.projects, *sites, *(ProjectKey(*key[:2]) for key in self.existing_milestones())}

    def existing_programmes(self) -> set[str]:
        """Return every programme that an event names."""
        return set(self.programmes) | {key.programme for key in self.existing_projects()}

    def split_by_programme(self, programmes: Iterable[str]) -> dict[str, "Facts"]:
        """Return the facts of each of the programmes, which have to be all that there are."""
        split = {name: Facts() for name in programmes}
        for name, programme_claims in self.programmes.items():
            split[name].programmes[name] = programme_claims
        for project, project_claims in self.projects.items():
            split[project.programme].projects[project] = project_claims
        for site in self.sites:
            split[site.programme].sites.add(site)
        for milestone, milestone_claims in self.milestones.items():
            split[milestone.programme].milestones[milestone] = milestone_claims
        for dependency, dependency_claims in self.dependencies.items():
            split[dependency.programme].dependencies[dependency] = dependency_claims
        return split

    def merged_with(self, changed: "Facts", removed_projects: Collection[tuple[str, str]] = ()) -> "Facts":
        """Return these facts without those of the removed projects, updated with the changed ones.

        The claims about programmes come from the changed facts alone. A dictionary without changes is the same object
        in the result, by which `Network.is_reusable_for` recognises it.
        """
        return Facts(
            changed.programmes,
            _merge(self.projects, changed.projects, removed_projects),
            _merge(self.milestones, changed.milestones, removed_projects),
            _merge(self.dependencies, changed.dependencies, removed_projects),
            {site for site in self.sites if site[:2] not in removed_projects} | changed.sites,
        )


KeyT = TypeVar("KeyT", ProjectKey, MilestoneKey, DependencyKey)


def _merge(current: dict[KeyT, T], changed: dict[KeyT, T], without: Collection[tuple[str, str]]) -> dict[KeyT, T]:
    removed = [key for key in current if key[:2] in without] if without else []
    if not changed and not removed:
        return current
    merged = current.copy()
    for key in removed:
        del merged[key]
    merged.update(changed)
    return merged


def exclude_retracted(accepted: Iterable[Event]) -> Iterator[Event]:
    """Yield the events that their own source does not retract, in any order; retractions cannot be retracted."""
    accepted = list(accepted)
    retracted = {(event.source, event.data.retracts) for event in accepted if isinstance(event.data, EventRetracted)}
    for event in accepted:
        if isinstance(event.data, EventRetracted) or (event.source, event.id) not in retracted:
            yield event


def fold(unretracted: Iterable[Event]) -> Facts:
    """Return the winning claims of unretracted events."""
    facts = Facts()
    for event in unretracted:
        data = event.data
        _APPLY[type(data)](facts, event, data)
    return facts


def _newer_register(current: Register[T] | None, register: Register[T]) -> Register[T]:
    return current if current is not None and current.stamp > register.stamp else register


def _apply_report(facts: Facts, event: Event, data: events.MilestoneReported) -> None:
    # Hot: nearly every event is a report, so this does without functions and the constructors of named tuples.
    key = event.programme, event.project, data.milestone
    instant = event.time if event.recorded_time is None else event.recorded_time
    stamp = make_stamp(instant, event.source, event.id)
    if (milestone := facts.milestones.get(key)) is None:  # type: ignore[call-overload]  # as equal as its tuple is
        milestone = facts.milestones[MilestoneKey(*map(intern, key))] = MilestoneClaims()
    claim, classifier = _new_tuple(Claim, (stamp, data.date, data.amount)), data.classifier
    if classifier is _PLANNED_CLASSIFIER:
        if (planned := milestone.planned) is None or stamp > planned.stamp:
            milestone.planned = claim
        if (baseline := milestone.baseline) is None or stamp < baseline.stamp:
            # The contract takes amounts only from the newest claims, so the baseline has none.
            milestone.baseline = claim if data.amount is None else Claim(stamp, data.date)
    elif classifier is _ESTIMATED_CLASSIFIER:
        if (estimated := milestone.estimated) is None or stamp > estimated.stamp:
            milestone.estimated = claim
    elif (actual := milestone.actual) is None or stamp > actual.stamp:
        milestone.actual = claim
    if data.name is not None:
        milestone.name = _newer_register(milestone.name, Register(stamp, data.name))


def _apply_cancellation(facts: Facts, event: Event, data: events.MilestoneCancelled) -> None:
    key = MilestoneKey(intern(event.programme), intern(event.project), intern(data.milestone))
    milestone = facts.milestones.setdefault(key, MilestoneClaims())
    milestone.cancelled = max(milestone.cancelled or event.stamp, event.stamp)


def _apply_dependency(facts: Facts, event: Event, data: events.DependencyDeclared | events.DependencyWithdrawn) -> None:
    names = event.programme, event.project, data.milestone, data.after.project, data.after.milestone
    dependency = facts.dependencies.setdefault(DependencyKey(*map(intern, names)), DependencyClaims())
    if isinstance(data, events.DependencyDeclared):
        dependency.declared = _newer_register(dependency.declared, Register(event.stamp, data.lag_days or 0))
    else:
        dependency.withdrawn = max(dependency.withdrawn or event.stamp, event.stamp)


def _apply_registration(
    facts: Facts, event: Event, data: events.ProjectRegistered | events.ProgrammeRegistered
) -> None:
    claims: ProgrammeClaims
    if isinstance(data, events.ProjectRegistered):
        claims = _project_claims(facts, event)
        if data.site is not None:
            facts.sites.add(SiteKey(event.programme, event.project, data.site))
    else:
        claims = facts.programmes.setdefault(event.programme, ProgrammeClaims())
    stamp = event.stamp
    claims.registered = max(claims.registered or stamp, stamp)
    for name in data.__struct_fields__:
        if (value := getattr(data, name)) is not None:
            setattr(claims, name, _newer_register(getattr(claims, name), Register(stamp, value)))


def _apply_project_withdrawal(facts: Facts, event: Event, _data: events.ProjectWithdrawn) -> None:
    project = _project_claims(facts, event)
    project.withdrawn = max(project.withdrawn or event.stamp, event.stamp)


def _apply_retraction(facts: Facts, event: Event, _data: EventRetracted) -> None:
    # A retraction claims nothing about its subject, but names it, so the project exists.
    _project_claims(facts, event)


def _project_claims(facts: Facts, event: Event) -> ProjectClaims:
    return facts.projects.setdefault(ProjectKey(event.programme, event.project), ProjectClaims())


#: What an event of each type does to the facts.
_APPLY: Final[dict[type[EventData], Callable[[Facts, Event, Any], None]]] = {
    events.ProgrammeRegistered: _apply_registration,
    events.ProjectRegistered: _apply_registration,
    events.ProjectWithdrawn: _apply_project_withdrawal,
    events.MilestoneReported: _apply_report,
    events.MilestoneCancelled: _apply_cancellation,
    events.DependencyDeclared: _apply_dependency,
    events.DependencyWithdrawn: _apply_dependency,
    EventRetracted: _apply_retraction,
}
