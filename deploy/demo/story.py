"""The book a story is written in: short sentences in, events out."""
# Who is in the sample programme and what they plan. All of it is illustrative; days count from the story's own.
# The story of the sample programme: what was known this morning, and what happens today.
#
# It follows a public report of the year 2019 on a Russian-Chinese cluster of medical-equipment makers in the Ulyanovsk
# special economic zone. The report gives one day, 21 November, and of some others the month or the season.
#
# The dates: the report's year moves as a whole to the latest year whose 21 November is not in the future, so that what
# it tells keeps its days, its order and its distances. What is planned is counted from the day the story is told for,
# so that there is always something achieved, planned, slipping and overdue. Every date that the report does not give to
# the day says of itself that it is illustrative. Whoever the report does not name goes by a number or a letter.

from datetime import date, timedelta
from typing import Final, NamedTuple

from models.domain.cloudevents import encode_structured
from models.domain.events import (
    Classifier,
    DependencyDeclared,
    Event,
    EventData,
    EventRetracted,
    MilestoneRef,
    MilestoneReported,
    Money,
    ProgrammeRegistered,
    ProjectRegistered,
)
from models.domain.timestamps import Instant

#: What every date says of itself that was not reported.
ILLUSTRATIVE_REMARK: Final = "illustrative"

_SECONDS_PER_MINUTE: Final = 60


class StoryBuilder:
    """Collects what was said up to the story's day, none of it later than the day's first moment.

    What an event is called follows from the day and from what it says, so that the same day gives the same events.
    """

    def __init__(self, programme: str, day: date) -> None:
        self.programme = programme
        self.day = day
        self.events: list[Event] = []

    def relative_day(self, days: int) -> date:
        """Return the day so many days after the story's; a negative number is in the past."""
        return self.day + timedelta(days=days)

    def add_event(self, source: str, project: str, data: EventData, name: str, claimed_on: date) -> Event:
        """Write down an event, said at nine in the morning or, on the story's own day, at its first moment."""
        hour = "09" if claimed_on < self.day else "00"
        return self._append_event(source, project, data, name, Instant(f"{min(claimed_on, self.day)}T{hour}:00:00"))

    def build_later_event(self, source: str, project: str, data: EventData, name: str, seconds: int) -> Event:
        """Return an event that is said on the story's day, without writing it down: it is still to come."""
        if not 0 < seconds < _SECONDS_PER_MINUTE:
            raise ValueError(f"the story's later events are said within its first minute, not after {seconds} s")
        return self._build_event(source, project, data, name, Instant(f"{self.day}T00:00:{seconds:02d}"))

    def add_report(  # noqa: PLR0913 - a sentence with all its parts
        self,
        source: str,
        project: str,
        milestone: str,
        classifier: Classifier,
        day: date,
        claimed_on: date,
        *,
        remark: str | None = ILLUSTRATIVE_REMARK,
        party: str | None = None,
        amount: Money | None = None,
    ) -> Event:
        """Write down a date of a milestone."""
        data = MilestoneReported(
            milestone=milestone, classifier=classifier, date=day, remark=remark, party=party, amount=amount
        )
        return self.add_event(source, project, data, f"{milestone}/{classifier}", claimed_on)

    def add_dependency(
        self, source: str, successor: tuple[str, str], predecessor: tuple[str, str], lag_days: int, claimed_on: date
    ) -> Event:
        """Write down that a milestone comes at least so many days after another."""
        project, milestone = successor
        data = DependencyDeclared(milestone=milestone, after=MilestoneRef(*predecessor), lag_days=lag_days)
        return self.add_event(source, project, data, f"{milestone}/after/{'/'.join(predecessor)}", claimed_on)

    def _append_event(self, source: str, project: str, data: EventData, name: str, time: Instant) -> Event:
        event = self._build_event(source, project, data, name, time)
        self.events.append(event)
        return event

    def _build_event(self, source: str, project: str, data: EventData, name: str, time: Instant) -> Event:
        name = "/".join(part for part in (str(self.day), project, name) if part)
        return Event(source=source, id=name, programme=self.programme, project=project, time=time, data=data)


PROGRAMME: Final = "ulyanovsk-medical-cluster"
SEZ_PARK, NTM_PARK = "sez-industrial-park", "ntm-industrial-park"
PARTICIPANT_KIND: Final = "participant"

ZONE_SOURCE: Final = "//sez.ulyanovsk.example"
PERMIT_OFFICE_SOURCE: Final = "//permit-office.ulyanovsk.example"
REGION_SOURCE: Final = "//investment-agency.ulyanovsk.example"
NTM_SOURCE: Final = "//erp.ntm-group.example"
BAOJI_SOURCE: Final = "//erp.baoji-holding.example"

# The SEZ park's opening, in days from the story's: as planned, and as estimated when it slips.
SEZ_OPENING, SEZ_SLIPPED_OPENING = 45, 87
NTM_OPENING: Final = 420
ANONYMOUS_PARTICIPANTS: Final = 16
PLANNING_LEAD_DAYS: Final = 60


class Tenant(NamedTuple):
    """A participant that launches production in a park; days are counted from the story's."""

    project: str
    park: str
    #: Negative when it has leased its site already.
    lease_start: int
    #: From the park's opening to the launch, at least.
    lag_days: int
    #: What its plan leaves on top.
    buffer_days: int


TENANTS: Final = (
    Tenant("baoji-holding", SEZ_PARK, -40, 90, 7),
    Tenant("tomographic-scanners", SEZ_PARK, 14, 120, 10),
    Tenant("participant-01", SEZ_PARK, -30, 60, 0),
    Tenant("participant-02", SEZ_PARK, -28, 60, 5),
    Tenant("participant-03", SEZ_PARK, -12, 75, 14),
    Tenant("participant-04", SEZ_PARK, 7, 90, 3),
    Tenant("participant-05", SEZ_PARK, 21, 100, 20),
    Tenant("participant-06", NTM_PARK, 300, 90, 10),
    Tenant("participant-07", NTM_PARK, 320, 90, 30),
    Tenant("participant-08", NTM_PARK, 340, 120, 15),
)


class MilestonePlan(NamedTuple):
    """A milestone and its dates, in days from the story's."""

    source: str
    project: str
    milestone: str
    planned: int
    estimated: int | None = None
    actual: int | None = None


MILESTONE_PLANS: Final = (
    # The two gates
    MilestonePlan(ZONE_SOURCE, SEZ_PARK, "design-completed", -205, actual=-200),
    MilestonePlan(ZONE_SOURCE, SEZ_PARK, "construction-started", -160, actual=-150),
    MilestonePlan(ZONE_SOURCE, SEZ_PARK, "park-commissioned", SEZ_OPENING, SEZ_OPENING),
    MilestonePlan(NTM_SOURCE, NTM_PARK, "design-completed", 20, 34),
    MilestonePlan(NTM_SOURCE, NTM_PARK, "construction-started", 60),
    MilestonePlan(NTM_SOURCE, NTM_PARK, "park-commissioned", NTM_OPENING),
    # The makers with a memorandum
    MilestonePlan(REGION_SOURCE, "device-maker-a", "agreement-signed", 30),
    MilestonePlan(REGION_SOURCE, "device-maker-b", "agreement-signed", 45),
    MilestonePlan(REGION_SOURCE, "device-maker-c", "agreement-signed", 40, 75),
    # Permits
    MilestonePlan(PERMIT_OFFICE_SOURCE, "baoji-holding", "permit-approved", -20, actual=-18),
    MilestonePlan(PERMIT_OFFICE_SOURCE, "participant-01", "permit-approved", -20, actual=-21),
    MilestonePlan(PERMIT_OFFICE_SOURCE, "participant-04", "permit-approved", 20),
    MilestonePlan(PERMIT_OFFICE_SOURCE, "participant-09", "permit-approved", -9),
    # Those who need neither park
    MilestonePlan(ZONE_SOURCE, "participant-09", "production-launched", 120),
    MilestonePlan(ZONE_SOURCE, "participant-10", "equipment-installed", -35, actual=-30),
    MilestonePlan(ZONE_SOURCE, "participant-10", "production-launched", 15),
    MilestonePlan(ZONE_SOURCE, "participant-11", "production-launched", -90, actual=-80),
    MilestonePlan(ZONE_SOURCE, "participant-12", "production-launched", -200, actual=-203),
    MilestonePlan(ZONE_SOURCE, "participant-13", "equipment-installed", 25, 33),
    MilestonePlan(ZONE_SOURCE, "participant-13", "production-launched", 90),
    MilestonePlan(ZONE_SOURCE, "participant-14", "construction-started", -50, actual=-50),
    MilestonePlan(ZONE_SOURCE, "participant-14", "production-launched", 200),
    MilestonePlan(ZONE_SOURCE, "participant-15", "equipment-installed", -5),
    MilestonePlan(ZONE_SOURCE, "participant-15", "production-launched", 50),
    MilestonePlan(ZONE_SOURCE, "participant-16", "production-launched", -300, actual=-290),
)

#: What waits for what within a project, and for how many days.
PROJECT_DEPENDENCIES: Final = (
    (ZONE_SOURCE, SEZ_PARK, "park-commissioned", "construction-started", 180),
    (NTM_SOURCE, NTM_PARK, "construction-started", "design-completed", 30),
    (NTM_SOURCE, NTM_PARK, "park-commissioned", "construction-started", 330),
    (ZONE_SOURCE, "participant-10", "production-launched", "equipment-installed", 30),
    (ZONE_SOURCE, "participant-13", "production-launched", "equipment-installed", 30),
    (ZONE_SOURCE, "participant-15", "production-launched", "equipment-installed", 30),
)

_NTM_GROUP: Final = "NTM Group"
_BOTH_PARTIES: Final = "NTM Group (Yu Zhihai, chairman of the board) and Ulyanovsk region (Sergey Morozov, its head)"
_PLANNED, _ESTIMATED, _ACTUAL = Classifier.PLANNED, Classifier.ESTIMATED, Classifier.ACTUAL


class Story(NamedTuple):
    """What is published, in this order."""

    day: date
    #: Everything known in the morning.
    opening: tuple[Event, ...]
    #: The SEZ park's estimate slips.
    slip_event: Event
    #: A production launch is reported that did not happen.
    mistaken_event: Event
    #: Its source takes it back.
    retraction_event: Event
    #: An event cut short on its way.
    malformed_value: bytes
    #: One that is left for whoever watches to publish.
    example_event: Event

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that is an event."""
        return (*self.opening, self.slip_event, self.mistaken_event, self.retraction_event)


def build_story(today: date) -> Story:
    """Return the story for a day; the same day gives the same events, by name and content."""
    # The one day that the report gives, in the latest year in which it has come.
    signed = date(today.year if (today.month, today.day) >= (11, 21) else today.year - 1, 11, 21)
    book = StoryBuilder(PROGRAMME, today)
    _add_programme(book, signed)
    _add_reported_milestones(book, signed)
    _add_participants(book, signed)
    for work in MILESTONE_PLANS:
        _add_milestone_plan(book, work)
    for source, project, waiting, gate, lag in PROJECT_DEPENDENCIES:
        book.add_dependency(source, (project, waiting), (project, gate), lag, book.relative_day(-PLANNING_LEAD_DAYS))
    for tenant in TENANTS:
        _add_tenant(book, tenant, signed)
    slip = MilestoneReported(
        milestone="park-commissioned",
        classifier=_ESTIMATED,
        date=book.relative_day(SEZ_SLIPPED_OPENING),
        reason="heating-network-late",
        remark=ILLUSTRATIVE_REMARK,
    )
    launched = MilestoneReported(
        milestone="production-launched", classifier=_ACTUAL, date=book.relative_day(-1), remark=ILLUSTRATIVE_REMARK
    )
    mistake = book.build_later_event(ZONE_SOURCE, "participant-02", launched, "production-launched/ACT", 2)
    retraction = EventRetracted(retracts=mistake.id, reason="did_not_occur", remark="reported for another participant")
    estimate = book.build_later_event(NTM_SOURCE, NTM_PARK, slip, "cut-short", 4)
    installed = MilestoneReported(
        milestone="equipment-installed",
        classifier=_PLANNED,
        date=book.relative_day(SEZ_OPENING + 60),
        remark=ILLUSTRATIVE_REMARK,
    )
    return Story(
        today,
        tuple(book.events),
        slip_event=book.build_later_event(ZONE_SOURCE, SEZ_PARK, slip, "park-commissioned/EST/slip", 1),
        mistaken_event=mistake,
        retraction_event=book.build_later_event(
            ZONE_SOURCE, "participant-02", retraction, "production-launched/ACT/retracted", 3
        ),
        malformed_value=encode_structured(estimate)[1][:-24],
        example_event=book.build_later_event("//my-desk.example", "tomographic-scanners", installed, "example", 5),
    )


def _add_programme(builder: StoryBuilder, signing_day: date) -> None:
    announced = signing_day - timedelta(days=150)
    programme = ProgrammeRegistered(
        name="Russian-Chinese cluster of medical-equipment makers, Ulyanovsk",
        investment=Money(1.5e9, "USD"),
        jobs=3800,
    )
    builder.add_event(REGION_SOURCE, "", programme, "registered", signing_day)
    for project, kind, name in (
        ("cluster", "cluster", "The cluster as a whole"),
        ("ntm-group", "investor", _NTM_GROUP),
        (SEZ_PARK, "park", "Industrial park of the special economic zone"),
        (NTM_PARK, "park", "Industrial park of NTM Group"),
        ("device-maker-a", "candidate", "Leading medical-equipment maker A (not named in the report)"),
        ("device-maker-b", "candidate", "Leading medical-equipment maker B (not named in the report)"),
        ("device-maker-c", "candidate", "Leading medical-equipment maker C (not named in the report)"),
    ):
        builder.add_event(REGION_SOURCE, project, ProjectRegistered(name=name, kind=kind), "registered", announced)


def _add_reported_milestones(builder: StoryBuilder, signing_day: date) -> None:
    """Write down what the report says has happened; of these days it gives only the last."""
    summer, july, permitted = (
        date(signing_day.year, 6, 26),
        date(signing_day.year, 7, 15),
        date(signing_day.year, 10, 10),
    )
    builder.add_report(REGION_SOURCE, "cluster", "agreement-signed", _ACTUAL, summer, summer, party=_BOTH_PARTIES)
    builder.add_report(
        BAOJI_SOURCE, "baoji-holding", "agreement-signed", _ACTUAL, july, july, party="Baoji Holding Company"
    )
    for letter in "abc":
        builder.add_report(REGION_SOURCE, f"device-maker-{letter}", "memorandum-signed", _ACTUAL, july, july)
    stage = Money(1e8, "USD")
    party = "Government of the PRC"
    builder.add_report(
        NTM_SOURCE, "ntm-group", "investment-permitted", _ACTUAL, permitted, permitted, party=party, amount=stage
    )
    scanners = "tomographic-scanners"
    builder.add_report(ZONE_SOURCE, scanners, "agreement-signed", _ACTUAL, signing_day, signing_day, remark=None)
    builder.add_report(ZONE_SOURCE, scanners, "participant-admitted", _ACTUAL, signing_day, signing_day, remark=None)


def _add_participants(builder: StoryBuilder, signing_day: date) -> None:
    """Write down the eighteen: two that the report names or describes, and the ones that only have a number."""
    parks = {tenant.project: tenant.park for tenant in TENANTS}
    admitted = {"baoji-holding": date(signing_day.year, 7, 30)}
    names = {
        "baoji-holding": "LLC Baoji Holding Company",
        "tomographic-scanners": "Maker of tomographic scanners, the eighteenth participant",
    }
    for number in range(1, ANONYMOUS_PARTICIPANTS + 1):
        project = f"participant-{number:02d}"
        names[project] = f"Participant {number} (not named in the report)"
        admitted[project] = signing_day - timedelta(days=60 + 25 * number)
    for project, name in names.items():
        known = ProjectRegistered(name=name, kind=PARTICIPANT_KIND, site=parks.get(project))
        day = admitted.get(project, signing_day)
        builder.add_event(ZONE_SOURCE, project, known, "registered", day)
        if project in admitted:
            builder.add_report(ZONE_SOURCE, project, "participant-admitted", _ACTUAL, day, day)


def _add_milestone_plan(builder: StoryBuilder, plan: MilestonePlan) -> None:
    what = plan.source, plan.project, plan.milestone
    said = min(plan.planned, plan.actual or 0, 0) - PLANNING_LEAD_DAYS
    builder.add_report(*what, _PLANNED, builder.relative_day(plan.planned), builder.relative_day(said))
    if plan.estimated is not None:
        builder.add_report(*what, _ESTIMATED, builder.relative_day(plan.estimated), builder.relative_day(-6))
    if plan.actual is not None:
        builder.add_report(*what, _ACTUAL, builder.relative_day(plan.actual), builder.relative_day(plan.actual))


def _add_tenant(builder: StoryBuilder, tenant: Tenant, signing_day: date) -> None:
    project = tenant.project
    source = BAOJI_SOURCE if project == "baoji-holding" else NTM_SOURCE if tenant.park == NTM_PARK else ZONE_SOURCE
    # Nobody plans for the eighteenth participant before it is one.
    said = signing_day if project == "tomographic-scanners" else builder.relative_day(-PLANNING_LEAD_DAYS)
    if tenant.lease_start < 0:
        leased = builder.relative_day(tenant.lease_start)
        builder.add_report(source, project, "site-leased", _ACTUAL, leased, leased)
    else:
        builder.add_report(source, project, "site-leased", _PLANNED, builder.relative_day(tenant.lease_start), said)
    opens = SEZ_OPENING if tenant.park == SEZ_PARK else NTM_OPENING
    launch = builder.relative_day(opens + tenant.lag_days + tenant.buffer_days)
    builder.add_report(source, project, "production-launched", _PLANNED, launch, said)
    builder.add_dependency(
        source, (project, "production-launched"), (tenant.park, "park-commissioned"), tenant.lag_days, said
    )
