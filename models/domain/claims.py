"""Claims to the winning claims: the fold of the contract, section 2.

Every register keeps the claim with the newest stamp (the baseline: the oldest), so the order and the number of
deliveries do not matter. The same rule stands in SQL in `models.database.claims`; a property test compares both
against each other.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from sys import intern
from typing import Final, Generic, NamedTuple, TypeVar

from models.domain.events import (
    Classifier,
    DependencyDeclared,
    DependencyWithdrawn,
    Event,
    EventRetracted,
    MilestoneCancelled,
    MilestoneReported,
    Money,
    ProgrammeRegistered,
    ProjectRegistered,
    ProjectWithdrawn,
)
from models.domain.timestamps import Stamp

T = TypeVar("T")

#: Older than any stamp.
_BEFORE_ALL_STAMPS: Final = Stamp("")
# An enumeration takes its time to say what its members are.
_PLANNED_CLASSIFIER, _ESTIMATED_CLASSIFIER = Classifier.PLANNED, Classifier.ESTIMATED


class Claim(NamedTuple):
    """A date that someone claimed, and when."""

    stamp: Stamp
    date: date
    amount: Money | None = None


class Register(NamedTuple, Generic[T]):
    """A value and the claim that set it."""

    stamp: Stamp
    value: T


class ProjectKey(NamedTuple):
    """Which project."""

    programme: str
    project: str


class SiteKey(NamedTuple):
    """Which project named which site."""

    programme: str
    project: str
    site: str


class MilestoneKey(NamedTuple):
    """Which milestone.

    Whoever makes keys to be kept interns the names: tens of thousands of keys are made of a few, and a draw that looks
    them up then touches those few alone.
    """

    programme: str
    project: str
    milestone: str


class DependencyKey(NamedTuple):
    """Which milestone waits for which."""

    programme: str
    project: str
    milestone: str
    after_project: str
    after_milestone: str


@dataclass(slots=True)
class MilestoneClaims:
    """The winning claims about one milestone."""

    baseline: Claim | None = None
    planned: Claim | None = None
    estimated: Claim | None = None
    actual: Claim | None = None
    cancelled: Stamp | None = None

    @property
    def last_report_stamp(self) -> Stamp | None:
        """The newest report of any classifier."""
        stamps = [claim.stamp for claim in (self.planned, self.estimated, self.actual) if claim]
        return max(stamps) if stamps else None

    @property
    def last_claim_stamp(self) -> Stamp | None:
        """The newest claim of any kind."""
        # Asked of every milestone that stands otherwise, as `own` is of all: written out.
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
        return is_newer(self.cancelled, self.last_report_stamp)

    @property
    def own_claim(self) -> Claim | None:
        """Of estimated and planned, what was said last."""
        # Asked of every milestone in every picture: twice as fast as `newest`.
        estimated, planned = self.estimated, self.planned
        if estimated is None or planned is None:
            return estimated or planned
        return estimated if estimated.stamp > planned.stamp else planned

    @property
    def amount(self) -> Money | None:
        """The newest claim's amount: actual before estimated before planned."""
        # Written out, as above.
        if (actual := self.actual) is not None and actual.amount is not None:
            return actual.amount
        if (estimated := self.estimated) is not None and estimated.amount is not None:
            return estimated.amount
        return self.planned.amount if self.planned is not None else None


@dataclass(slots=True)
class ProjectClaims:
    """What is known of one project."""

    registered: Stamp | None = None
    withdrawn: Stamp | None = None
    name: Register[str] | None = None
    kind: Register[str] | None = None
    site: Register[str] | None = None
    investment: Register[Money] | None = None
    jobs: Register[int] | None = None

    @property
    def is_withdrawn(self) -> bool:
        """Whether the newest withdrawal is newer than every registration."""
        return is_newer(self.withdrawn, self.registered)


@dataclass(slots=True)
class ProgrammeClaims:
    """What is announced for one programme."""

    registered: Stamp | None = None
    name: Register[str] | None = None
    investment: Register[Money] | None = None
    jobs: Register[int] | None = None


@dataclass(slots=True)
class DependencyClaims:
    """What was said of one dependency."""

    declared: Register[int] | None = None
    withdrawn: Stamp | None = None

    @property
    def is_in_force(self) -> bool:
        """Whether the newest declaration is newer than the newest withdrawal."""
        return self.declared is not None and (self.withdrawn is None or self.declared.stamp > self.withdrawn)

    @property
    def lag_days(self) -> int | None:
        """By how many days one follows the other; None where it does not hold."""
        return self.declared.value if self.declared is not None and self.is_in_force else None


@dataclass(slots=True)
class Facts:
    """The winning claims of a set of events."""

    programmes: dict[str, ProgrammeClaims] = field(default_factory=dict)
    projects: dict[ProjectKey, ProjectClaims] = field(default_factory=dict)
    milestones: dict[MilestoneKey, MilestoneClaims] = field(default_factory=dict)
    dependencies: dict[DependencyKey, DependencyClaims] = field(default_factory=dict)
    #: Every site that was ever named, by whom: being named is enough to exist.
    sites: set[SiteKey] = field(default_factory=set)

    def existing_milestones(self) -> set[MilestoneKey]:
        """Return every milestone that an event names, as its own or as another's predecessor."""
        named = set(self.milestones)
        for key in self.dependencies:
            named.add(MilestoneKey(key.programme, key.project, key.milestone))
            named.add(MilestoneKey(key.programme, key.after_project, key.after_milestone))
        return named

    def existing_projects(self) -> set[ProjectKey]:
        """Return every project that an event names, as subject, site or predecessor."""
        named = set(self.projects)
        named.update(ProjectKey(key.programme, key.site) for key in self.sites)
        named.update(ProjectKey(key.programme, key.project) for key in self.existing_milestones())
        return named

    def existing_programmes(self) -> set[str]:
        """Return every programme that an event names."""
        return set(self.programmes) | {key.programme for key in self.existing_projects()}

    def split_by_programme(self, programmes: Iterable[str]) -> dict[str, "Facts"]:
        """Return the facts of each of some programmes; there must be none of others."""
        of = {name: Facts() for name in programmes}
        for name, programme in self.programmes.items():
            of[name].programmes[name] = programme
        for project, known in self.projects.items():
            of[project.programme].projects[project] = known
        for site in self.sites:
            of[site.programme].sites.add(site)
        for milestone, claims in self.milestones.items():
            of[milestone.programme].milestones[milestone] = claims
        for dependency, said in self.dependencies.items():
            of[dependency.programme].dependencies[dependency] = said
        return of

    def merged_with(self, changed: "Facts", removed_projects: Collection[tuple[str, str]] = ()) -> "Facts":
        """Return these facts with those of some projects left out, and then the changed ones in their place.

        What is announced for programmes is the changed facts' alone. A dictionary in which nothing changes is taken
        over as it is: by that `models.domain.network` sees that nothing did.
        """
        return Facts(
            changed.programmes,
            _merge(self.projects, changed.projects, removed_projects),
            _merge(self.milestones, changed.milestones, removed_projects),
            _merge(self.dependencies, changed.dependencies, removed_projects),
            {site for site in self.sites if site[:2] not in removed_projects} | changed.sites,
        )


KeyT = TypeVar("KeyT", ProjectKey, MilestoneKey, DependencyKey)


def _merge(
    current: dict[KeyT, T], changed: dict[KeyT, T], removed_projects: Collection[tuple[str, str]]
) -> dict[KeyT, T]:
    left_out = [key for key in current if key[:2] in removed_projects] if removed_projects else []
    if not changed and not left_out:
        return current
    kept = current.copy()
    for key in left_out:
        del kept[key]
    kept.update(changed)
    return kept


StampedT = TypeVar("StampedT", Claim, Stamp, Register[str], Register[int], Register[Money])


def newest(first: StampedT | None, second: StampedT | None) -> StampedT | None:
    """Return the one with the larger stamp; nothing is older than everything."""
    if first is None or second is None:
        return second if first is None else first
    return first if _stamp_of(first) > _stamp_of(second) else second


def _stamp_of(stamped: Claim | Stamp | Register[T]) -> str:
    return stamped if isinstance(stamped, str) else stamped[0]


def is_newer(stamp: Stamp | None, other: Stamp | None) -> bool:
    """Return whether something was said, and after the other."""
    return stamp is not None and (other is None or stamp > other)


def exclude_retracted(events: Iterable[Event]) -> Iterator[Event]:
    """Leave out what its own source took back, whichever was said first; a retraction cannot be taken back."""
    events = list(events)
    retracted = {(event.source, event.data.retracts) for event in events if isinstance(event.data, EventRetracted)}
    for event in events:
        if isinstance(event.data, EventRetracted) or (event.source, event.id) not in retracted:
            yield event


def fold(events: Iterable[Event]) -> Facts:
    """Return the winning claims of unretracted events."""
    facts = Facts()
    for event in events:
        # First, and written out, because nearly every event is one.
        if isinstance(report := event.data, MilestoneReported):
            _apply_report(facts.milestones, event, report)
        else:
            _apply_event(facts, event)
    return facts


def _apply_event(facts: Facts, event: Event) -> None:
    programme, project = event.programme, event.project
    match event.data:
        case MilestoneCancelled(milestone=slug):
            milestone = facts.milestones.setdefault(
                MilestoneKey(intern(programme), intern(project), intern(slug)), MilestoneClaims()
            )
            milestone.cancelled = newest(milestone.cancelled, event.stamp)
        case DependencyDeclared() | DependencyWithdrawn():
            _apply_dependency(facts, event, event.data)
        case ProjectRegistered():
            _apply_registration(
                facts.projects.setdefault(ProjectKey(programme, project), ProjectClaims()), event, event.data
            )
            if event.data.site is not None:
                facts.sites.add(SiteKey(programme, project, event.data.site))
        case ProjectWithdrawn():
            known = facts.projects.setdefault(ProjectKey(programme, project), ProjectClaims())
            known.withdrawn = newest(known.withdrawn, event.stamp)
        case ProgrammeRegistered():
            _apply_registration(facts.programmes.setdefault(programme, ProgrammeClaims()), event, event.data)
        case EventRetracted():
            # A retraction says nothing of its subject, yet it names it.
            facts.projects.setdefault(ProjectKey(programme, project), ProjectClaims())


def _apply_report(milestones: dict[MilestoneKey, MilestoneClaims], event: Event, report: MilestoneReported) -> None:
    # Written out, because this is done for nearly every event.
    key, stamp = MilestoneKey(intern(event.programme), intern(event.project), intern(report.milestone)), event.stamp
    if (milestone := milestones.get(key)) is None:
        milestone = milestones[key] = MilestoneClaims()
    claim, classifier = Claim(stamp, report.date, report.amount), report.classifier
    if classifier is _PLANNED_CLASSIFIER:
        if (planned := milestone.planned) is None or stamp > planned.stamp:
            milestone.planned = claim
        if (baseline := milestone.baseline) is None or stamp < baseline.stamp:
            # The baseline's amount is nobody's business: the contract reads it off the newest claims.
            milestone.baseline = Claim(stamp, report.date)
    elif classifier is _ESTIMATED_CLASSIFIER:
        if (estimated := milestone.estimated) is None or stamp > estimated.stamp:
            milestone.estimated = claim
    elif (actual := milestone.actual) is None or stamp > actual.stamp:
        milestone.actual = claim


def _apply_dependency(facts: Facts, event: Event, data: DependencyDeclared | DependencyWithdrawn) -> None:
    names = event.programme, event.project, data.milestone, data.after.project, data.after.milestone
    key = DependencyKey(*map(intern, names))
    dependency = facts.dependencies.setdefault(key, DependencyClaims())
    if isinstance(data, DependencyDeclared):
        dependency.declared = newest(dependency.declared, Register(event.stamp, data.lag_days or 0))
    else:
        dependency.withdrawn = newest(dependency.withdrawn, event.stamp)


def _apply_registration(
    claims: ProjectClaims | ProgrammeClaims, event: Event, data: ProjectRegistered | ProgrammeRegistered
) -> None:
    stamp = event.stamp
    claims.registered = newest(claims.registered, stamp)
    for name in data.__struct_fields__:
        value = getattr(data, name)
        if value is not None:
            setattr(claims, name, newest(getattr(claims, name), Register(stamp, value)))
