"""The sample programme tells the report's story, every day of the year, and nothing that cannot be."""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from deploy.demo.__main__ import main
from deploy.demo.story import NTM_PARK, PROGRAMME, SEZ_PARK, TENANTS, Story, build_story
from models.domain.claims import MilestoneKey, ProjectKey, exclude_retracted, fold
from models.domain.cloudevents import decode, encode_structured
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.events import (
    Classifier,
    DependencyDeclared,
    Event,
    EventRetracted,
    MilestoneReported,
    Money,
    ProgrammeRegistered,
    ProjectRegistered,
    Rejection,
    RejectionReason,
    check_acceptable,
)
from models.domain.impact import HeldUp, Impact, measure_impacts
from models.domain.schedule import MilestoneRef, State, compute_schedule
from models.domain.timestamps import day_of, parse_instant

FROZEN = date(2026, 11, 23)
FROZEN_COPY = Path(__file__).parents[1] / "data" / "sample.jsonl"
#: What the report gives to the day.
REPORTED = {("tomographic-scanners", "agreement-signed"), ("tomographic-scanners", "participant-admitted")}

#: The day itself, the days around it, both ends of a year, a leap day, and one in each season.
DAYS = [
    FROZEN,
    date(2026, 11, 20),
    date(2026, 11, 21),
    date(2026, 11, 22),
    date(2026, 12, 31),
    date(2027, 1, 1),
    date(2027, 7, 14),
    date(2028, 2, 29),
]


@pytest.fixture(params=DAYS, ids=str)
def demo_story(request: pytest.FixtureRequest) -> Story:
    return build_story(request.param)


def reports(events: tuple[Event, ...]) -> list[tuple[Event, MilestoneReported]]:
    return [(event, event.data) for event in events if isinstance(event.data, MilestoneReported)]


def test_eighteen_participants_and_two_parks_stand_in_one_programme(demo_story: Story) -> None:
    projects = fold(demo_story.opening).projects
    assert {key.programme for key in projects} == {PROGRAMME} == {"ulyanovsk-medical-cluster"}
    kinds = Counter(project.kind.value if project.kind else "" for project in projects.values())
    assert kinds["participant"] == 18
    assert kinds["park"] == 2
    assert kinds[""] == 0, "everyone that an event names is registered"
    last = max(
        (data.date, event.project)
        for event, data in reports(demo_story.opening)
        if data.milestone == "participant-admitted"
    )
    assert last[1] == "tomographic-scanners", "the eighteenth is the last"


def test_what_is_announced_is_what_the_report_says(demo_story: Story) -> None:
    facts = fold(demo_story.opening)
    programme = facts.programmes[PROGRAMME]
    assert programme.investment is not None
    assert programme.investment.value == Money(1.5e9, "USD")
    assert programme.jobs is not None
    assert programme.jobs.value == 3800
    permitted = facts.milestones[MilestoneKey(PROGRAMME, "ntm-group", "investment-permitted")]
    assert permitted.actual is not None
    assert permitted.amount == Money(1e8, "USD")
    signed = {
        (event.project, data.milestone, (data.date.month, data.date.day)[: 1 if data.date.month == 7 else 2])
        for event, data in reports(demo_story.opening)
        if data.classifier is Classifier.ACTUAL and data.milestone in {"agreement-signed", "memorandum-signed"}
    }
    assert signed >= {
        ("tomographic-scanners", "agreement-signed", (11, 21)),
        ("baoji-holding", "agreement-signed", (7,)),
        ("device-maker-a", "memorandum-signed", (7,)),
        ("device-maker-b", "memorandum-signed", (7,)),
        ("device-maker-c", "memorandum-signed", (7,)),
    }


def test_the_participants_money_and_jobs_add_up_to_what_is_announced_and_say_that_they_are_illustrative() -> None:
    facts = fold(build_story(FROZEN).opening)
    participants = [
        project for project in facts.projects.values() if project.kind and project.kind.value == "participant"
    ]
    amounts = [project.investment.value for project in participants if project.investment]
    jobs = [project.jobs.value for project in participants if project.jobs]

    assert (len(amounts), len(jobs)) == (18, 18)
    assert {money.currency for money in amounts} == {"USD"}
    # In millions: the seven of the SEZ park, the three of the other park, the eight who need neither.
    by_hand = [90 + 60 + 25 + 30 + 40 + 35 + 30, 180 + 150 + 120, 110 + 95 + 80 + 120 + 75 + 100 + 70 + 90]
    assert (by_hand, sum(by_hand)) == ([310, 450, 740], 1500)
    assert sum(money.amount for money in amounts) == 1500 * 1e6
    jobs_by_hand = [
        320 + 240 + 110 + 130 + 160 + 150 + 130,
        420 + 360 + 280,
        230 + 190 + 170 + 240 + 150 + 200 + 140 + 180,
    ]
    assert (jobs_by_hand, sum(jobs_by_hand)) == ([1240, 1060, 1500], 3800)
    assert sum(jobs) == 3800
    announced = facts.programmes[PROGRAMME]
    assert announced.investment is not None
    assert announced.investment.value == Money(1500 * 1e6, "USD")
    assert announced.jobs is not None
    assert announced.jobs.value == 3800
    assert all(project.name and "illustrative" in project.name.value for project in participants)


def test_the_slip_of_the_gate_holds_up_seven_launches_310_million_and_1240_jobs(demo_story: Story) -> None:
    gate = MilestoneKey(PROGRAMME, SEZ_PARK, "park-commissioned")
    before, after = fold(demo_story.opening), fold(exclude_retracted(demo_story.events))

    assert gate not in measure_impacts(compute_schedule(before, demo_story.day).statuses, before.projects)
    impacts = measure_impacts(compute_schedule(after, demo_story.day).statuses, after.projects)
    assert impacts[gate] == Impact(7, HeldUp(7, {"USD": Decimal(310_000_000)}, 1240))


def test_every_date_that_the_report_does_not_give_says_so(demo_story: Story) -> None:
    for event, data in (*reports(demo_story.events), *reports((demo_story.example_event,))):
        is_given = (event.project, data.milestone) in REPORTED and data.classifier is Classifier.ACTUAL
        assert data.remark == (None if is_given else "illustrative"), event.id


@pytest.mark.parametrize(
    ("today", "year"),
    [
        (date(2026, 11, 20), 2025),
        (date(2026, 11, 21), 2026),
        (FROZEN, 2026),
        (date(2027, 7, 31), 2026),
        (date(2027, 11, 21), 2027),
    ],
)
def test_the_report_moves_as_a_whole_to_the_latest_year_in_which_all_of_it_has_come(today: date, year: int) -> None:
    dates = {(event.project, data.milestone): data.date for event, data in reports(build_story(today).opening)}
    assert dates["tomographic-scanners", "agreement-signed"] == date(year, 11, 21)
    assert dates["baoji-holding", "agreement-signed"].strftime("%Y-%m") == f"{year}-07"


def test_every_event_is_accepted_at_the_first_moment_of_its_day(demo_story: Story) -> None:
    midnight_ms = (demo_story.day - date(1970, 1, 1)).days * 86_400_000
    for event in (*demo_story.events, demo_story.example_event):
        headers, value = encode_structured(event)
        decoded = decode(headers, value)
        assert decoded == event
        assert check_acceptable(event, midnight_ms, {}) is event
        assert not decoded.oddities
    for event in demo_story.opening:
        assert event.instant <= parse_instant(f"{demo_story.day}T00:00:00Z"), "nothing is claimed in the future"
    for event, data in reports(demo_story.events):
        if data.classifier is Classifier.ACTUAL:
            assert data.date <= day_of(event.instant), event.id


def test_names_are_unique_and_follow_from_the_day_alone(demo_story: Story) -> None:
    names = [(event.source, event.id) for event in (*demo_story.events, demo_story.example_event)]
    assert len(names) == len(set(names))
    assert build_story(demo_story.day) == demo_story
    tomorrow = {(event.source, event.id) for event in build_story(demo_story.day + timedelta(days=1)).events}
    assert tomorrow.isdisjoint(names), "another day's story is no conflicting duplicate of this one"


def test_at_least_three_sources_speak_and_parties_are_named(demo_story: Story) -> None:
    assert {
        "//permit-office.ulyanovsk.example",
        "//sez.ulyanovsk.example",
        "//erp.ntm-group.example",
    } <= {event.source for event in demo_story.opening}
    parties = " ".join(data.party or "" for _, data in reports(demo_story.opening))
    for name in ("NTM Group", "Yu Zhihai", "Sergey Morozov", "Baoji Holding Company"):
        assert name in parties


def test_every_tenant_of_a_park_waits_for_it(demo_story: Story) -> None:
    facts = fold(demo_story.opening)
    waiting: dict[str, set[str]] = {SEZ_PARK: set(), NTM_PARK: set()}
    for event in demo_story.opening:
        if isinstance(event.data, DependencyDeclared) and event.data.after.milestone == "park-commissioned":
            assert event.data.milestone == "production-launched"
            assert event.data.lag_days
            waiting[event.data.after.project].add(event.project)
    sited = {park: {key.project for key in facts.sites if key.site == park} for park in waiting}
    assert waiting == sited
    assert len(waiting[SEZ_PARK]) == 7
    assert len(waiting[NTM_PARK]) == 3
    for park, tenants in waiting.items():
        gate = facts.milestones[MilestoneKey(PROGRAMME, park, "park-commissioned")]
        assert gate.planned is not None
        assert gate.actual is None
        for project in tenants:
            assert facts.milestones[MilestoneKey(PROGRAMME, project, "site-leased")].last_report_stamp
            launch = facts.milestones[MilestoneKey(PROGRAMME, project, "production-launched")]
            assert launch.planned is not None
            assert launch.planned.date > gate.planned.date
    kinds = {key.project: project.kind.value for key, project in facts.projects.items() if project.kind}
    assert {kinds[project] for projects in waiting.values() for project in projects} == {"participant"}


def test_the_schedule_of_the_day_shows_every_kind_of_state(demo_story: Story) -> None:
    states = Counter(standing.state for standing in compute_schedule(fold(demo_story.opening), demo_story.day).statuses)
    for state in (State.ACHIEVED, State.PLANNED, State.SLIPPING, State.OVERDUE):
        assert states[state] >= 2, state
    assert not states[State.UNKNOWN]
    gate = next(
        standing
        for standing in compute_schedule(fold(demo_story.opening), demo_story.day).statuses
        if (standing.project, standing.milestone) == (SEZ_PARK, "park-commissioned")
    )
    assert gate.state is State.PLANNED


def test_today_the_gate_slips_past_what_every_tenant_has_to_spare_and_the_mistake_leaves_no_trace(
    demo_story: Story,
) -> None:
    before, after = fold(demo_story.opening), fold(exclude_retracted(demo_story.events))
    gate = MilestoneKey(PROGRAMME, SEZ_PARK, "park-commissioned")
    estimated = after.milestones[gate].estimated
    assert estimated is not None
    for event in demo_story.opening:
        if (
            isinstance(event.data, DependencyDeclared)
            and event.data.after.project == SEZ_PARK
            and event.project != SEZ_PARK
        ):
            launch = after.milestones[MilestoneKey(PROGRAMME, event.project, "production-launched")]
            assert launch.planned is not None
            pushed = estimated.date + timedelta(days=event.data.lag_days or 0)
            assert pushed > launch.planned.date
    blocked = [
        standing for standing in compute_schedule(after, demo_story.day).statuses if standing.state is State.BLOCKED
    ]
    held_up = {
        standing.project for standing in blocked if standing.driver == MilestoneRef(SEZ_PARK, "park-commissioned")
    }
    assert held_up == {tenant.project for tenant in TENANTS if tenant.park == SEZ_PARK}
    wrong = MilestoneKey(PROGRAMME, "participant-02", "production-launched")
    assert fold(demo_story.events).milestones[wrong].actual is not None
    assert after.milestones[wrong] == before.milestones[wrong]
    assert isinstance(demo_story.retraction_event.data, EventRetracted)
    assert (demo_story.retraction_event.source, demo_story.retraction_event.data.retracts) == (
        demo_story.mistaken_event.source,
        demo_story.mistaken_event.id,
    )
    del before.milestones[gate], after.milestones[gate]
    assert after.milestones == before.milestones


def test_the_event_cut_short_is_malformed(demo_story: Story) -> None:
    rejection = decode(STRUCTURED_HEADERS, demo_story.malformed_value)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is RejectionReason.MALFORMED


def test_the_frozen_copy_is_up_to_date(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main([str(FROZEN)]) == 0
    assert capfdbinary.readouterr().out == FROZEN_COPY.read_bytes(), (
        f"write it anew: python -m deploy.demo {FROZEN} > tests/data/sample.jsonl"
    )


def test_printing_the_sample_asks_for_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["soon"]) == 2
    assert "2026-11-23" in capsys.readouterr().err


def test_registrations_name_everything_once(demo_story: Story) -> None:
    registered = [
        ProjectKey(event.programme, event.project)
        for event in demo_story.opening
        if isinstance(event.data, ProjectRegistered | ProgrammeRegistered)
    ]
    assert len(registered) == len(set(registered))
