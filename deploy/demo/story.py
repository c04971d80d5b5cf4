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
    Data,
    DependencyDeclared,
    Event,
    EventRetracted,
    MilestoneRef,
    MilestoneReported,
    Money,
    ProgrammeRegistered,
    ProjectRegistered,
)
from models.domain.timestamps import Instant

#: What every date says of itself that was not reported.
ILLUSTRATIVE: Final = "illustrative"

_EVENTS_A_MINUTE: Final = 60


class Book:
    """Collects what was said up to the story's day, none of it later than the day's first moment.

    What an event is called follows from the day and from what it says, so that the same day gives the same events.
    """

    def __init__(self, programme: str, day: date) -> None:
        self.programme = programme
        self.day = day
        self.events: list[Event] = []

    def at(self, days: int) -> date:
        """Return the day so many days after the story's; a negative number is in the past."""
        return self.day + timedelta(days=days)

    def say(self, source: str, project: str, data: Data, called: str, said: date) -> Event:
        """Write down an event, said at nine in the morning or, on the story's own day, at its first moment."""
        hour = "09" if said < self.day else "00"
        return self._write(source, project, data, called, Instant(f"{min(said, self.day)}T{hour}:00:00"))

    def say_later(self, source: str, project: str, data: Data, called: str, seconds: int) -> Event:
        """Return an event that is said on the story's day, without writing it down: it is still to come."""
        if not 0 < seconds < _EVENTS_A_MINUTE:
            raise ValueError(f"the story's later events are said within its first minute, not after {seconds} s")
        return self._event(source, project, data, called, Instant(f"{self.day}T00:00:{seconds:02d}"))

    def report(  # noqa: PLR0913 - a sentence with all its parts
        self,
        source: str,
        project: str,
        milestone: str,
        classifier: Classifier,
        on: date,
        said: date,
        *,
        remark: str | None = ILLUSTRATIVE,
        party: str | None = None,
        amount: Money | None = None,
    ) -> Event:
        """Write down a date of a milestone."""
        data = MilestoneReported(
            milestone=milestone, classifier=classifier, date=on, remark=remark, party=party, amount=amount
        )
        return self.say(source, project, data, f"{milestone}/{classifier}", said)

    def depend(self, source: str, waiting: tuple[str, str], gate: tuple[str, str], lag_days: int, said: date) -> Event:
        """Write down that a milestone comes at least so many days after another."""
        project, milestone = waiting
        data = DependencyDeclared(milestone=milestone, after=MilestoneRef(*gate), lag_days=lag_days)
        return self.say(source, project, data, f"{milestone}/after/{'/'.join(gate)}", said)

    def _write(self, source: str, project: str, data: Data, called: str, time: Instant) -> Event:
        event = self._event(source, project, data, called, time)
        self.events.append(event)
        return event

    def _event(self, source: str, project: str, data: Data, called: str, time: Instant) -> Event:
        name = "/".join(part for part in (str(self.day), project, called) if part)
        return Event(source=source, id=name, programme=self.programme, project=project, time=time, data=data)


PROGRAMME: Final = "ulyanovsk-medical-cluster"
SEZ_PARK, NTM_PARK = "sez-industrial-park", "ntm-industrial-park"
PARTICIPANT: Final = "participant"

ZONE: Final = "//sez.ulyanovsk.example"
PERMITS: Final = "//permit-office.ulyanovsk.example"
REGION: Final = "//investment-agency.ulyanovsk.example"
NTM: Final = "//erp.ntm-group.example"
BAOJI: Final = "//erp.baoji-holding.example"

# The SEZ park's opening, in days from the story's: as planned, and as estimated when it slips.
SEZ_OPENS, SEZ_SLIPS_TO = 45, 87
NTM_OPENS: Final = 420
ANONYMOUS: Final = 16
SAID_BEFORE: Final = 60


class Tenant(NamedTuple):
    """A participant that launches production in a park; days are counted from the story's."""

    project: str
    park: str
    #: Negative when it has leased its site already.
    leased: int
    #: From the park's opening to the launch, at least.
    lag: int
    #: What its plan leaves on top.
    spare: int


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


class Work(NamedTuple):
    """A milestone and its dates, in days from the story's."""

    source: str
    project: str
    milestone: str
    planned: int
    estimated: int | None = None
    actual: int | None = None


WORKS: Final = (
    # The two gates
    Work(ZONE, SEZ_PARK, "design-completed", -205, actual=-200),
    Work(ZONE, SEZ_PARK, "construction-started", -160, actual=-150),
    Work(ZONE, SEZ_PARK, "park-commissioned", SEZ_OPENS, SEZ_OPENS),
    Work(NTM, NTM_PARK, "design-completed", 20, 34),
    Work(NTM, NTM_PARK, "construction-started", 60),
    Work(NTM, NTM_PARK, "park-commissioned", NTM_OPENS),
    # The makers with a memorandum
    Work(REGION, "device-maker-a", "agreement-signed", 30),
    Work(REGION, "device-maker-b", "agreement-signed", 45),
    Work(REGION, "device-maker-c", "agreement-signed", 40, 75),
    # Permits
    Work(PERMITS, "baoji-holding", "permit-approved", -20, actual=-18),
    Work(PERMITS, "participant-01", "permit-approved", -20, actual=-21),
    Work(PERMITS, "participant-04", "permit-approved", 20),
    Work(PERMITS, "participant-09", "permit-approved", -9),
    # Those who need neither park
    Work(ZONE, "participant-09", "production-launched", 120),
    Work(ZONE, "participant-10", "equipment-installed", -35, actual=-30),
    Work(ZONE, "participant-10", "production-launched", 15),
    Work(ZONE, "participant-11", "production-launched", -90, actual=-80),
    Work(ZONE, "participant-12", "production-launched", -200, actual=-203),
    Work(ZONE, "participant-13", "equipment-installed", 25, 33),
    Work(ZONE, "participant-13", "production-launched", 90),
    Work(ZONE, "participant-14", "construction-started", -50, actual=-50),
    Work(ZONE, "participant-14", "production-launched", 200),
    Work(ZONE, "participant-15", "equipment-installed", -5),
    Work(ZONE, "participant-15", "production-launched", 50),
    Work(ZONE, "participant-16", "production-launched", -300, actual=-290),
)

#: What waits for what within a project, and for how many days.
CHAINS: Final = (
    (ZONE, SEZ_PARK, "park-commissioned", "construction-started", 180),
    (NTM, NTM_PARK, "construction-started", "design-completed", 30),
    (NTM, NTM_PARK, "park-commissioned", "construction-started", 330),
    (ZONE, "participant-10", "production-launched", "equipment-installed", 30),
    (ZONE, "participant-13", "production-launched", "equipment-installed", 30),
    (ZONE, "participant-15", "production-launched", "equipment-installed", 30),
)

_NTM_GROUP: Final = "NTM Group"
_BOTH: Final = "NTM Group (Yu Zhihai, chairman of the board) and Ulyanovsk region (Sergey Morozov, its head)"
_PLANNED, _ESTIMATED, _ACTUAL = Classifier.PLANNED, Classifier.ESTIMATED, Classifier.ACTUAL


class Story(NamedTuple):
    """What is published, in this order."""

    day: date
    #: Everything known in the morning.
    opening: tuple[Event, ...]
    #: The SEZ park's estimate slips.
    slip: Event
    #: A production launch is reported that did not happen.
    mistake: Event
    #: Its source takes it back.
    correction: Event
    #: An event cut short on its way.
    malformed: bytes
    #: One that is left for whoever watches to publish.
    example: Event

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that is an event."""
        return (*self.opening, self.slip, self.mistake, self.correction)


def story(today: date) -> Story:
    """Return the story for a day; the same day gives the same events, by name and content."""
    # The one day that the report gives, in the latest year in which it has come.
    signed = date(today.year if (today.month, today.day) >= (11, 21) else today.year - 1, 11, 21)
    book = Book(PROGRAMME, today)
    _tell_of_the_programme(book, signed)
    _tell_of_the_report(book, signed)
    _tell_of_participants(book, signed)
    for work in WORKS:
        _tell_of_work(book, work)
    for source, project, waiting, gate, lag in CHAINS:
        book.depend(source, (project, waiting), (project, gate), lag, book.at(-SAID_BEFORE))
    for tenant in TENANTS:
        _tell_of_tenant(book, tenant, signed)
    slip = MilestoneReported(
        milestone="park-commissioned",
        classifier=_ESTIMATED,
        date=book.at(SEZ_SLIPS_TO),
        reason="heating-network-late",
        remark=ILLUSTRATIVE,
    )
    launched = MilestoneReported(
        milestone="production-launched", classifier=_ACTUAL, date=book.at(-1), remark=ILLUSTRATIVE
    )
    mistake = book.say_later(ZONE, "participant-02", launched, "production-launched/ACT", 2)
    retraction = EventRetracted(retracts=mistake.id, reason="did_not_occur", remark="reported for another participant")
    estimate = book.say_later(NTM, NTM_PARK, slip, "cut-short", 4)
    installed = MilestoneReported(
        milestone="equipment-installed", classifier=_PLANNED, date=book.at(SEZ_OPENS + 60), remark=ILLUSTRATIVE
    )
    return Story(
        today,
        tuple(book.events),
        slip=book.say_later(ZONE, SEZ_PARK, slip, "park-commissioned/EST/slip", 1),
        mistake=mistake,
        correction=book.say_later(ZONE, "participant-02", retraction, "production-launched/ACT/retracted", 3),
        malformed=encode_structured(estimate)[1][:-24],
        example=book.say_later("//my-desk.example", "tomographic-scanners", installed, "example", 5),
    )


def _tell_of_the_programme(book: Book, signed: date) -> None:
    announced = signed - timedelta(days=150)
    programme = ProgrammeRegistered(
        name="Russian-Chinese cluster of medical-equipment makers, Ulyanovsk",
        investment=Money(1.5e9, "USD"),
        jobs=3800,
    )
    book.say(REGION, "", programme, "registered", signed)
    for project, kind, name in (
        ("cluster", "cluster", "The cluster as a whole"),
        ("ntm-group", "investor", _NTM_GROUP),
        (SEZ_PARK, "park", "Industrial park of the special economic zone"),
        (NTM_PARK, "park", "Industrial park of NTM Group"),
        ("device-maker-a", "candidate", "Leading medical-equipment maker A (not named in the report)"),
        ("device-maker-b", "candidate", "Leading medical-equipment maker B (not named in the report)"),
        ("device-maker-c", "candidate", "Leading medical-equipment maker C (not named in the report)"),
    ):
        book.say(REGION, project, ProjectRegistered(name=name, kind=kind), "registered", announced)


def _tell_of_the_report(book: Book, signed: date) -> None:
    """Write down what the report says has happened; of these days it gives only the last."""
    summer, july, permitted = date(signed.year, 6, 26), date(signed.year, 7, 15), date(signed.year, 10, 10)
    book.report(REGION, "cluster", "agreement-signed", _ACTUAL, summer, summer, party=_BOTH)
    book.report(BAOJI, "baoji-holding", "agreement-signed", _ACTUAL, july, july, party="Baoji Holding Company")
    for letter in "abc":
        book.report(REGION, f"device-maker-{letter}", "memorandum-signed", _ACTUAL, july, july)
    stage = Money(1e8, "USD")
    party = "Government of the PRC"
    book.report(NTM, "ntm-group", "investment-permitted", _ACTUAL, permitted, permitted, party=party, amount=stage)
    scanners = "tomographic-scanners"
    book.report(ZONE, scanners, "agreement-signed", _ACTUAL, signed, signed, remark=None)
    book.report(ZONE, scanners, "participant-admitted", _ACTUAL, signed, signed, remark=None)


def _tell_of_participants(book: Book, signed: date) -> None:
    """Write down the eighteen: two that the report names or describes, and the ones that only have a number."""
    parks = {tenant.project: tenant.park for tenant in TENANTS}
    admitted = {"baoji-holding": date(signed.year, 7, 30)}
    names = {
        "baoji-holding": "LLC Baoji Holding Company",
        "tomographic-scanners": "Maker of tomographic scanners, the eighteenth participant",
    }
    for number in range(1, ANONYMOUS + 1):
        project = f"participant-{number:02d}"
        names[project] = f"Participant {number} (not named in the report)"
        admitted[project] = signed - timedelta(days=60 + 25 * number)
    for project, name in names.items():
        known = ProjectRegistered(name=name, kind=PARTICIPANT, site=parks.get(project))
        day = admitted.get(project, signed)
        book.say(ZONE, project, known, "registered", day)
        if project in admitted:
            book.report(ZONE, project, "participant-admitted", _ACTUAL, day, day)


def _tell_of_work(book: Book, work: Work) -> None:
    what = work.source, work.project, work.milestone
    said = min(work.planned, work.actual or 0, 0) - SAID_BEFORE
    book.report(*what, _PLANNED, book.at(work.planned), book.at(said))
    if work.estimated is not None:
        book.report(*what, _ESTIMATED, book.at(work.estimated), book.at(-6))
    if work.actual is not None:
        book.report(*what, _ACTUAL, book.at(work.actual), book.at(work.actual))


def _tell_of_tenant(book: Book, tenant: Tenant, signed: date) -> None:
    project = tenant.project
    source = BAOJI if project == "baoji-holding" else NTM if tenant.park == NTM_PARK else ZONE
    # Nobody plans for the eighteenth participant before it is one.
    said = signed if project == "tomographic-scanners" else book.at(-SAID_BEFORE)
    if tenant.leased < 0:
        leased = book.at(tenant.leased)
        book.report(source, project, "site-leased", _ACTUAL, leased, leased)
    else:
        book.report(source, project, "site-leased", _PLANNED, book.at(tenant.leased), said)
    opens = SEZ_OPENS if tenant.park == SEZ_PARK else NTM_OPENS
    launch = book.at(opens + tenant.lag + tenant.spare)
    book.report(source, project, "production-launched", _PLANNED, launch, said)
    book.depend(source, (project, "production-launched"), (tenant.park, "park-commissioned"), tenant.lag, said)
