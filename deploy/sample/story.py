"""The story of the sample programme: what was known this morning, and what happens today.

It follows a public report of the year 2019 on a Russian-Chinese cluster of medical-equipment makers in the Ulyanovsk
special economic zone. The report gives one day, 21 November, and of some others the month or the season.

The dates: the report's year moves as a whole to the latest year whose 21 November is not in the future, so that what
it tells keeps its days, its order and its distances. What is planned is counted from the day the story is told for,
so that there is always something achieved, planned, slipping and overdue. Every date that the report does not give to
the day says of itself that it is illustrative. Whoever the report does not name goes by a number or a letter.
"""

from datetime import date, timedelta
from typing import Final, NamedTuple

from deploy.sample.book import ILLUSTRATIVE, Book
from deploy.sample.plans import (
    ANONYMOUS,
    BAOJI,
    CHAINS,
    NTM,
    NTM_OPENS,
    NTM_PARK,
    PARTICIPANT,
    PROGRAMME,
    REGION,
    SAID_BEFORE,
    SEZ_OPENS,
    SEZ_PARK,
    SEZ_SLIPS_TO,
    TENANTS,
    WORKS,
    ZONE,
    Tenant,
    Work,
)
from models.envelope import encode_structured
from models.events import (
    Classifier,
    Event,
    EventRetracted,
    MilestoneReported,
    Money,
    ProgrammeRegistered,
    ProjectRegistered,
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
