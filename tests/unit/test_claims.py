"""Claims to the winning claims, by hand."""

from collections.abc import Iterable
from datetime import date
from itertools import permutations

from models.domain.claims import (
    Claim,
    DependencyClaims,
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProgrammeClaims,
    ProjectClaims,
    ProjectKey,
    Register,
    SiteKey,
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
    Money,
    Predecessor,
    ProgrammeRegistered,
    ProjectRegistered,
    ProjectWithdrawn,
)
from models.domain.timestamps import Instant, Stamp

GATE = MilestoneKey("north", "wharf", "permit-approved")
WHARF = ProjectKey("north", "wharf")
JUNE, JULY, AUGUST = date(2026, 6, 1), date(2026, 7, 1), date(2026, 8, 1)
PLANNED, ESTIMATED, ACTUAL = Classifier.PLANNED, Classifier.ESTIMATED, Classifier.ACTUAL


def event_of(  # noqa: PLR0913 - each of them can decide
    data: EventData,
    day: int = 1,
    source: str = "office",
    name: str = "",
    programme: str = "north",
    project: str = "wharf",
) -> Event:
    """Give what was said at noon of a day of January 2026."""
    return Event(
        source=source,
        id=name or f"e-{day}",
        programme=programme,
        project="" if isinstance(data, ProgrammeRegistered) else project,
        time=Instant(f"2026-01-{day:02}T12:00:00"),
        data=data,
    )


def stamp(day: int, source: str = "office", name: str = "") -> Stamp:
    return Stamp(f"2026-01-{day:02}T12:00:00\t{source}\t{name or f'e-{day}'}")


def report(classifier: Classifier, day: date, amount: Money | None = None) -> MilestoneReported:
    return MilestoneReported("permit-approved", classifier, day, amount=amount)


def folded(events: Iterable[Event]) -> Facts:
    """Fold events in every order; the result is one."""
    [first, *others] = [fold(exclude_retracted(order)) for order in permutations(events)]
    assert all(other == first for other in others)
    return first


def gate(*events: Event) -> MilestoneClaims:
    return folded(events).milestones[GATE]


CANCELLATION = MilestoneCancelled("permit-approved")


def test_nothing_said_is_nothing_known() -> None:
    assert fold([]) == Facts()


def test_the_first_plan_is_the_baseline_and_the_last_is_the_plan() -> None:
    milestone = gate(
        event_of(report(PLANNED, JULY), 2), event_of(report(PLANNED, JUNE), 1), event_of(report(PLANNED, AUGUST), 3)
    )
    assert milestone.baseline == Claim(stamp(1), JUNE)
    assert milestone.planned == Claim(stamp(3), AUGUST)
    assert milestone.own_claim == milestone.planned
    assert (milestone.estimated, milestone.actual, milestone.cancelled) == (None, None, None)


def test_a_single_plan_is_baseline_and_plan() -> None:
    milestone = gate(event_of(report(PLANNED, JUNE), 1))
    assert milestone.baseline == milestone.planned == Claim(stamp(1), JUNE)


def test_estimates_and_actuals_are_no_baseline() -> None:
    milestone = gate(event_of(report(ESTIMATED, JUNE), 1), event_of(report(ACTUAL, JULY), 2))
    assert milestone.baseline is None
    assert milestone.planned is None
    assert milestone.estimated == milestone.own_claim == Claim(stamp(1), JUNE)
    assert milestone.actual == Claim(stamp(2), JULY)


def test_at_one_instant_the_source_decides_then_the_id() -> None:
    events = [
        event_of(report(ESTIMATED, JUNE), 1, "office", "b"),
        event_of(report(ESTIMATED, JULY), 1, "office", "a"),
        event_of(report(ESTIMATED, AUGUST), 1, "Office", "z"),
    ]
    assert gate(*events).estimated == Claim(stamp(1, "office", "b"), JUNE)


def test_own_date_is_what_was_said_last_of_estimate_and_plan() -> None:
    plan, estimate = event_of(report(PLANNED, JUNE), 1), event_of(report(ESTIMATED, JULY), 2)
    assert gate(plan, estimate).own_claim == Claim(stamp(2), JULY)
    assert gate(plan, estimate, event_of(report(PLANNED, AUGUST), 3)).own_claim == Claim(stamp(3), AUGUST)
    assert gate(event_of(report(ACTUAL, JUNE), 1)).own_claim is None


def test_a_cancellation_newer_than_every_report_cancels_and_a_newer_report_revives() -> None:
    cancelled = gate(event_of(report(PLANNED, JUNE), 1), event_of(CANCELLATION, 2))
    assert (cancelled.is_cancelled, cancelled.cancelled, cancelled.last_claim_stamp) == (True, stamp(2), stamp(2))
    revived = gate(event_of(report(PLANNED, JUNE), 1), event_of(CANCELLATION, 2), event_of(report(ESTIMATED, JULY), 3))
    assert (revived.is_cancelled, revived.cancelled, revived.last_claim_stamp) == (False, stamp(2), stamp(3))
    assert gate(event_of(CANCELLATION, 2)).is_cancelled


def test_an_amount_is_the_actual_ones_before_the_estimated_before_the_planned() -> None:
    one, two, three = (Money(amount, "EUR") for amount in (1, 2, 3))
    plan = event_of(report(PLANNED, JUNE, one), 3)
    estimate = event_of(report(ESTIMATED, JUNE, two), 2)
    actual = event_of(report(ACTUAL, JUNE, three), 1)
    assert gate(plan).amount == one
    assert gate(plan, estimate).amount == two
    assert gate(plan, estimate, actual).amount == three
    silent = event_of(report(ACTUAL, JULY), 4)
    assert gate(plan, estimate, actual, silent).amount == two
    assert gate(event_of(report(PLANNED, JUNE))).amount is None


def test_the_baseline_keeps_no_amount() -> None:
    baseline = gate(event_of(report(PLANNED, JUNE, Money(1, "EUR")))).baseline
    assert baseline is not None
    assert baseline.amount is None


def test_each_field_of_a_registration_is_its_own_register() -> None:
    facts = folded(
        [
            event_of(ProjectRegistered(name="Wharf", jobs=5, kind="park"), 1),
            event_of(ProjectRegistered(name="New Wharf", site="basin"), 3),
            event_of(ProjectRegistered(jobs=7, investment=Money(5, "EUR")), 2),
        ]
    )
    assert facts.projects == {
        WHARF: ProjectClaims(
            registered=stamp(3),
            name=Register(stamp(3), "New Wharf"),
            kind=Register(stamp(1), "park"),
            site=Register(stamp(3), "basin"),
            investment=Register(stamp(2), Money(5, "EUR")),
            jobs=Register(stamp(2), 7),
        )
    }
    assert facts.sites == {SiteKey("north", "wharf", "basin")}


def test_zero_and_the_empty_name_are_values() -> None:
    facts = folded(
        [event_of(ProjectRegistered(name="Wharf", jobs=5), 1), event_of(ProjectRegistered(name="", jobs=0), 2)]
    )
    assert facts.projects[WHARF].name == Register(stamp(2), "")
    assert facts.projects[WHARF].jobs == Register(stamp(2), 0)


def test_what_is_announced_for_a_programme_is_kept_apart_from_its_projects() -> None:
    facts = folded(
        [event_of(ProgrammeRegistered(name="North", jobs=100), 1), event_of(ProgrammeRegistered(jobs=90), 2)]
    )
    assert facts == Facts(
        programmes={"north": ProgrammeClaims(stamp(2), Register(stamp(1), "North"), None, Register(stamp(2), 90))}
    )
    assert facts.existing_programmes() == {"north"}


def test_a_withdrawn_project_comes_back_with_a_newer_registration_and_with_nothing_else() -> None:
    withdrawal = event_of(ProjectWithdrawn(), 2)
    assert folded([withdrawal]).projects[WHARF].is_withdrawn
    assert folded([withdrawal, event_of(ProjectRegistered(), 1)]).projects[WHARF].is_withdrawn
    assert not folded([withdrawal, event_of(ProjectRegistered(), 3)]).projects[WHARF].is_withdrawn
    assert folded([withdrawal, event_of(report(PLANNED, JUNE), 3)]).projects[WHARF].is_withdrawn


def test_the_newest_declaration_sets_the_lag_and_a_newer_withdrawal_ends_the_dependency() -> None:
    after = Predecessor("basin", "site-leased")
    key = DependencyKey("north", "wharf", "permit-approved", "basin", "site-leased")
    declared = event_of(DependencyDeclared("permit-approved", after, 30), 1)
    again = event_of(DependencyDeclared("permit-approved", after), 3)
    withdrawn = event_of(DependencyWithdrawn("permit-approved", after), 2)
    assert folded([declared]).dependencies == {key: DependencyClaims(Register(stamp(1), 30))}
    ended = folded([declared, withdrawn]).dependencies[key]
    assert (ended.is_in_force, ended.withdrawn) == (False, stamp(2))
    renewed = folded([declared, withdrawn, again]).dependencies[key]
    assert (renewed.is_in_force, renewed.declared) == (True, Register(stamp(3), 0))
    assert not folded([withdrawn]).dependencies[key].is_in_force


def test_whatever_an_event_names_exists() -> None:
    facts = folded(
        [
            event_of(ProjectRegistered(site="basin"), 1),
            event_of(DependencyDeclared("site-leased", Predecessor("quay", "design-completed")), 2, project="pier"),
            event_of(EventRetracted("never", "did_not_occur"), 3, programme="south", project="dock"),
            event_of(CANCELLATION, 4, project="mole"),
        ]
    )
    assert facts.existing_programmes() == {"north", "south"}
    assert facts.existing_projects() == {
        *(ProjectKey("north", project) for project in ("wharf", "basin", "pier", "quay", "mole")),
        ProjectKey("south", "dock"),
    }
    assert facts.existing_milestones() == {
        MilestoneKey("north", "pier", "site-leased"),
        MilestoneKey("north", "quay", "design-completed"),
        MilestoneKey("north", "mole", "permit-approved"),
    }


def test_a_site_that_was_named_once_goes_on_existing() -> None:
    facts = folded([event_of(ProjectRegistered(site="basin"), 1), event_of(ProjectRegistered(site="quay"), 2)])
    assert facts.projects[WHARF].site == Register(stamp(2), "quay")
    assert facts.existing_projects() == {WHARF, ProjectKey("north", "basin"), ProjectKey("north", "quay")}


RETRACTION = EventRetracted("e-2", "incorrect_data")


def test_what_its_own_source_took_back_was_never_said_whichever_came_first() -> None:
    plan, replan = event_of(report(PLANNED, JUNE), 1), event_of(report(PLANNED, JULY), 2)
    for day in (1, 3):
        milestone = gate(plan, replan, event_of(RETRACTION, day, name="r"))
        assert milestone.planned == Claim(stamp(1), JUNE)


def test_another_source_takes_nothing_back() -> None:
    plan, replan = event_of(report(PLANNED, JUNE), 1), event_of(report(PLANNED, JULY), 2)
    assert gate(plan, replan, event_of(RETRACTION, 3, source="Office")).planned == Claim(stamp(2), JULY)


def test_a_retraction_counts_under_any_subject_and_names_its_own() -> None:
    plan = event_of(report(PLANNED, JULY), 2)
    facts = folded([plan, event_of(RETRACTION, 3, programme="south", project="dock")])
    assert facts == Facts(projects={ProjectKey("south", "dock"): ProjectClaims()})


def test_a_retraction_cannot_be_retracted_not_even_by_itself() -> None:
    plan, retraction = event_of(report(PLANNED, JULY), 2), event_of(RETRACTION, 3)
    last_word = event_of(EventRetracted("e-3", "incorrect_data"), 4)
    assert folded([plan, retraction, last_word]).milestones == {}
    itself = event_of(EventRetracted("e-5", "incorrect_data"), 5)
    assert list(exclude_retracted([itself])) == [itself]


def test_without_the_retracted_first_plan_the_second_is_the_baseline() -> None:
    events = [event_of(report(PLANNED, day), number) for number, day in enumerate((JUNE, JULY, AUGUST), start=2)]
    milestone = gate(*events, event_of(RETRACTION, 9))
    assert (milestone.baseline, milestone.planned) == (Claim(stamp(3), JULY), Claim(stamp(4), AUGUST))
