"""The milestones' alerts, played by promtool: each fires, and is silent a step before or beside it."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.promtool import (
    DAY_SECONDS,
    AlertExpectation,
    ExpectedAlert,
    InputSeries,
    RuleTest,
    expect_alert,
    input_series,
    run_promtool,
    skip_without,
)

Driver = tuple[str, str]


class Standing(NamedTuple):
    """A milestone of the programme `north` as its worker shows it; days are counted from the beginning."""

    project: str
    milestone: str
    state: str
    baseline: int | None = None
    planned: int | None = None
    estimated: int | None = None
    forecast: int | None = None
    float_days: int | None = None
    dependents: int = 0
    driver: Driver | None = None
    last: int | None = None
    #: Source and reason of a date that is late by itself.
    cause: tuple[str, str] | None = None
    #: How many milestones it moves, and the money by currency and the jobs that it holds up.
    moved: int = 0
    money: tuple[tuple[str, float], ...] = ()
    jobs: int = 0
    #: What people call it.
    name: str = ""

    def series(self, values: str = "{}x40", **labels: str) -> list[InputSeries]:
        """Give its series; the values are told with a place for each number."""
        named = {"programme": "north", "project": self.project, "milestone": self.milestone, **labels}

        def one(name: str, number: float, /, **more: str) -> InputSeries:
            return input_series(f"milepost_milestone_{name}", values.format(number), **named, **more)

        days = {
            f"{name}_timestamp_seconds": getattr(self, name)
            for name in ("baseline", "planned", "estimated", "forecast")
        } | {"float_seconds": self.float_days, "last_event_timestamp_seconds": self.last}
        driven = dict(zip(("driver_project", "driver_milestone"), self.driver or (), strict=False))
        return [
            *(one("state", int(state == self.state), state=state) for state in (self.state, "unknown")),
            *(one(name, number * DAY_SECONDS) for name, number in days.items() if number is not None),
            one("dependents", self.dependents),
            *([one("driver_info", 1, **driven)] if driven else []),
            *([one("moved", self.moved), one("held_up_jobs", self.jobs)] if self.dependents else []),
            *(one("held_up_investment", amount, currency=currency) for currency, amount in self.money),
            *([one("info", 1, name=self.name)] if self.name else []),
            *([one("slip_info", 1, source=self.cause[0], reason=self.cause[1])] if self.cause else []),
        ]


def shown_series(*standings: Standing, **how: Any) -> list[InputSeries]:  # noqa: ANN401 - handed on
    return [one for standing in standings for one in standing.series(**how)]


def labels(project: str, milestone: str, gate: Driver | None = None, driver: Driver | None = None) -> dict[str, str]:
    """Return the labels of a milestone's alert; without a gate it is its own."""
    named = dict(zip(("gate_project", "gate_milestone"), gate or (project, milestone), strict=True))
    named |= dict(zip(("driver_project", "driver_milestone"), driver, strict=True)) if driver else {}
    return {"programme": "north", "project": project, "milestone": milestone, **named}


PARK = ("park", "opened")
ZONE = ("//zone.example", "heating-network-late")
GATE = Standing(
    *PARK, "slipping", baseline=45, planned=45, estimated=87, forecast=87, dependents=3, cause=ZONE, moved=3
)
INSTALLED, LAUNCHED, BETA = (
    Standing("alpha", "installed", "blocked", 60, 60, None, 90, -30, dependents=1, driver=PARK),
    Standing("alpha", "launched", "blocked", 100, 100, None, 130, -30, driver=("alpha", "installed")),
    Standing("beta", "launched", "blocked", 105, 105, None, 147, -42, driver=PARK),
)


def slips(at: str, moved: str = "3 milestones") -> AlertExpectation:
    said = (
        f"park/opened of north: 42 days late: 15 Feb 1970 has become 29 Mar 1970; moves {moved};"
        " heating-network-late, said by //zone.example."
    )
    return expect_alert(at, "GateSlipping", said, **labels(*PARK))


#: What the texts say of how late the milestones behind the gate are.
LATENESS = {
    "installed": ": 30 days late: 2 Mar 1970 has become 1 Apr 1970",
    "launched": ": 30 days late: 11 Apr 1970 has become 11 May 1970",
    "beta": ": 42 days late: 16 Apr 1970 has become 28 May 1970",
}


def blocked(at: str, *standings: Standing, gate: Driver = PARK) -> AlertExpectation:
    firings = []
    for standing in standings:
        project, milestone, driver = standing.project, standing.milestone, standing.driver
        assert driver is not None
        said = (
            f"{project}/{milestone} of north waits for {'/'.join(driver)}, which leads to a later date than its own"
            f"{LATENESS[milestone if project == 'alpha' else project]}. It comes from {'/'.join(gate)}."
        )
        firings.append(ExpectedAlert(said, labels(project, milestone, gate, driver)))
    return AlertExpectation(at, "MilestoneBlocked", firings)


#: One more driver than the jumps reach.
CHAIN = [
    Standing(
        "plant",
        f"step-{step:02}",
        "blocked" if step else "slipping",
        baseline=10 + step,
        forecast=30 + step,
        dependents=17 - step,
        moved=17 - step,
        driver=("plant", f"step-{step - 1:02}") if step else None,
    )
    for step in range(18)
]


def permit(state: str = "planned", **days: Any) -> Standing:  # noqa: ANN401 - numbers, for fields by name
    return Standing("plant", "permit", state, **days)


def beside(milestone: str, state: str = "planned", **days: Any) -> Standing:  # noqa: ANN401 - as above
    """Give a milestone that is not to be spoken of."""
    return Standing("plant", milestone, state, **days)


PERMIT = labels("plant", "permit")
#: What people call the programme and one of its projects; a name may have lines and signs that turn the text around it.
CALLED = [
    input_series("milepost_programme_info", "1x800", programme="north", name="The North"),
    input_series(
        "milepost_project_info", "1x800", programme="north", project="plant", name="Plant\u202e\u2028of\tPlants"
    ),
    input_series("milepost_project_info", "1x800", programme="north", project="park", name=""),
]
#: A milestone that moves another one, with what stands behind that.
PERMIT_OF_PLANT = "Plant of Plants: Permit approved (plant/permit)"
MOVING = permit(name="Permit approved", dependents=2, moved=1, money=(("USD", 310e6),), jobs=1240)
MOVES = "; moves 1 milestone, USD 310 million and 1240 jobs"
MILESTONE_RULE_TESTS = [
    RuleTest(
        "a gate slips, and holds up two milestones and what waits for one of them",
        shown_series(GATE, INSTALLED, LAUNCHED, BETA),
        [
            AlertExpectation("1m", "GateSlipping"),
            slips("2m"),
            AlertExpectation("4m", "MilestoneBlocked"),
            blocked("5m", INSTALLED, LAUNCHED, BETA),
        ],
        expressions=[("sum(milestone:milepost_milestone_held_up:count)", "5m", {"{}": 3})],
    ),
    RuleTest(
        "a gate holds up money and jobs, in words that a person reads",
        shown_series(
            GATE._replace(moved=2, jobs=1240, money=(("USD", 310e6), ("EUR", 1.5e9), ("KZT", 9500))), INSTALLED, BETA
        ),
        [slips("5m", "2 milestones, EUR 1.5 billion, KZT 9500, USD 310 million and 1240 jobs")],
    ),
    RuleTest(
        "a gate holds up one job and no money",
        shown_series(GATE._replace(moved=1, jobs=1), BETA),
        [slips("5m", "1 milestone and 1 job")],
    ),
    RuleTest(
        "names that people gave stand first, the slugs behind",
        [
            *shown_series(
                GATE._replace(project="plant", name="The opening, at last"), BETA._replace(driver=("plant", "opened"))
            ),
            *CALLED,
        ],
        [
            expect_alert(
                "5m",
                "GateSlipping",
                "Plant of Plants: The opening, at last (plant/opened) of The North: 42 days late: 15 Feb 1970"
                " has become 29 Mar 1970; moves 3 milestones; heating-network-late, said by //zone.example.",
                **labels("plant", "opened"),
            ),
            expect_alert(
                "5m",
                "MilestoneBlocked",
                "beta/launched of The North waits for Plant of Plants: The opening, at last (plant/opened), which leads"
                " to a later date than its own: 42 days late: 16 Apr 1970 has become 28 May 1970."
                " It comes from Plant of Plants: The opening, at last (plant/opened).",
                **labels("beta", "launched", ("plant", "opened"), ("plant", "opened")),
            ),
        ],
    ),
    RuleTest(
        "what is late moves others: with the money and the jobs of these",
        [
            *shown_series(
                MOVING._replace(state="overdue", planned=-1, baseline=-1, forecast=0),
                MOVING._replace(project="slow", state="slipping", baseline=30, forecast=45),
                MOVING._replace(project="held", state="blocked", baseline=30, forecast=45, driver=PARK),
                MOVING._replace(project="tight", baseline=30, forecast=30, float_days=-4),
            ),
            *CALLED,
        ],
        [
            expect_alert(
                "5m",
                "MilestoneOverdue",
                f"{PERMIT_OF_PLANT} of The North: its date has passed without an actual date; 1 day late: 31 Dec 1969"
                f" has become 1 Jan 1970{MOVES}. Until there is one, or a new estimate, it is forecast for today, and"
                " pushes what waits for it day by day.",
                **PERMIT,
            ),
            expect_alert(
                "5m",
                "MilestoneSlipping",
                "slow: Permit approved (slow/permit) of The North: 15 days late: 31 Jan 1970 has become 15 Feb 1970"
                f"{MOVES}.",
                **labels("slow", "permit"),
            ),
            expect_alert(
                "5m",
                "MilestoneBlocked",
                "held: Permit approved (held/permit) of The North waits for park/opened, which leads to a later date"
                f" than its own: 15 days late: 31 Jan 1970 has become 15 Feb 1970{MOVES}. It comes from park/opened.",
                **labels("held", "permit", PARK, PARK),
            ),
            expect_alert(
                "5m",
                "MilestoneFloatNegative",
                "tight: Permit approved (tight/permit) of The North, or one that follows from it, comes 4 days after"
                f" its planned date{MOVES}.",
                **labels("tight", "permit"),
            ),
        ],
    ),
    RuleTest(
        "a gate slips, and who waits for it has time",
        shown_series(GATE, Standing("beta", "launched", "planned", 200, 200, None, 200)),
        [AlertExpectation("20m", "GateSlipping"), AlertExpectation("20m", "MilestoneBlocked")],
    ),
    RuleTest(
        "a gate that keeps its date leads to a later one than is planned behind it",
        shown_series(GATE._replace(state="planned", estimated=None, forecast=45), BETA),
        [AlertExpectation("20m", "GateSlipping"), blocked("20m", BETA)],
    ),
    RuleTest(
        "a gate was opened late, and its date still holds up who waited for it",
        shown_series(GATE._replace(state="achieved"), BETA),
        [AlertExpectation("20m", "GateSlipping"), blocked("20m", BETA)],
    ),
    RuleTest(
        "a chain of sixteen drivers leads to its gate, and one of seventeen to the next milestone",
        shown_series(*CHAIN),
        [
            AlertExpectation(
                "5m",
                "GateSlipping",
                [
                    ExpectedAlert(
                        f"plant/step-0{step} of north: 20 days late: {late}; moves {moved}.",
                        labels("plant", f"step-0{step}", ("plant", "step-00")),
                    )
                    for step, late, moved in (
                        (0, "11 Jan 1970 has become 31 Jan 1970", "17 milestones"),
                        (1, "12 Jan 1970 has become 1 Feb 1970", "16 milestones"),
                    )
                ],
            )
        ],
        expressions=[
            (
                f'max by (gate_milestone) (milestone:milepost_milestone_gate:info{{milestone="step-{step}"}})',
                "5m",
                {f'{{gate_milestone="step-{gate}"}}': 1},
            )
            for step, gate in (("00", "00"), ("01", "00"), ("07", "00"), ("16", "00"), ("17", "01"))
        ],
    ),
    RuleTest(
        "a worker restarts: what fires goes on, and ends when it has not come back after its time, the gate last",
        shown_series(GATE._replace(moved=1), BETA, values="{}x9 stale _x40"),
        [
            slips("9m", "1 milestone"),
            slips("20m", "1 milestone"),
            blocked("20m", BETA),
            AlertExpectation("26m", "MilestoneBlocked"),
            slips("26m", "1 milestone"),
            AlertExpectation("31m", "GateSlipping"),
        ],
    ),
    RuleTest(
        "two workers show the same programme for a moment, and do not agree",
        [
            *shown_series(GATE, INSTALLED, LAUNCHED, BETA),
            *shown_series(GATE, INSTALLED, LAUNCHED, BETA._replace(driver=("other", "opened")), instance="b:8090"),
        ],
        [],
        expressions=[
            ("count(milestone:milepost_milestone_driver:info)", "2m", {"{}": 3}),
            ("count(milestone:milepost_milestone_gate:info)", "2m", {"{}": 4}),
        ],
    ),
    RuleTest(
        "a date passes and nobody reports it done; the other one is",
        shown_series(
            permit("overdue", planned=-1, baseline=-1, forecast=0, cause=("//office", "")),
            beside("design", "achieved", planned=-1, baseline=-1, forecast=-1),
        ),
        [
            AlertExpectation("4m", "MilestoneOverdue"),
            expect_alert(
                "5m",
                "MilestoneOverdue",
                "plant/permit of north: its date has passed without an actual date; 1 day late: 31 Dec 1969 has become"
                " 1 Jan 1970; said by //office. Until there is one, or a new estimate, it is forecast for today, and"
                " pushes what waits for it day by day.",
                **PERMIT,
            ),
        ],
    ),
    RuleTest(
        "one slips by two weeks and a day, one by two weeks, and one was late in the end",
        shown_series(
            permit("slipping", baseline=30, forecast=45, cause=("//office", "strike")),
            beside("design", "slipping", baseline=30, forecast=44),
            beside("lease", "achieved", baseline=30, forecast=90),
        ),
        [
            AlertExpectation("4m", "MilestoneSlipping"),
            expect_alert(
                "5m",
                "MilestoneSlipping",
                "plant/permit of north: 15 days late: 31 Jan 1970 has become 15 Feb 1970; strike, said by //office.",
                **PERMIT,
            ),
        ],
    ),
    RuleTest(
        "one comes too late for the plan of another, one has no day to spare, and of the others more is said",
        shown_series(
            permit(baseline=30, forecast=30, float_days=-4),
            beside("design", baseline=30, forecast=30, float_days=0),
            beside("lease", "cancelled", baseline=30, forecast=30, float_days=-9),
            beside("site", "overdue", baseline=30, forecast=30, float_days=-9),
            beside("launch", "blocked", baseline=30, forecast=30, float_days=-9),
        ),
        [
            AlertExpectation("4m", "MilestoneFloatNegative"),
            expect_alert(
                "5m",
                "MilestoneFloatNegative",
                "plant/permit of north, or one that follows from it, comes 4 days after its planned date.",
                **PERMIT,
            ),
        ],
    ),
    RuleTest(
        "one comes a day too late for the plan of another",
        shown_series(permit(baseline=30, forecast=30, float_days=-1)),
        [
            expect_alert(
                "5m",
                "MilestoneFloatNegative",
                "plant/permit of north, or one that follows from it, comes 1 day after its planned date.",
                **PERMIT,
            ),
        ],
    ),
    RuleTest(
        "a gate moves one milestone, and another one that has a later plan",
        shown_series(
            GATE._replace(moved=1),
            BETA,
            Standing("alpha", "launched", "blocked", 200, 100, None, 130, 0, driver=PARK),
        ),
        [slips("2m", "1 milestone")],
    ),
    RuleTest(
        "what a gate holds up has a later first plan: it moves nothing past that",
        shown_series(
            GATE._replace(moved=0), Standing("alpha", "launched", "blocked", 200, 100, None, 130, 0, driver=PARK)
        ),
        [slips("2m", "no milestone past its first plan")],
    ),
    RuleTest(
        "one is due tomorrow and one today on their plans' word alone",
        shown_series(permit(planned=1, forecast=1), values="{}x800"),
        [
            expect_alert(
                "6m",
                "MilestoneDueSoon",
                "plant/permit of north is planned in 1 day; no estimate and no actual date has been claimed.",
                **PERMIT,
            ),
            expect_alert(
                "24h",
                "MilestoneDueSoon",
                "plant/permit of north is planned for today; no estimate and no actual date has been claimed.",
                **PERMIT,
            ),
        ],
        interval="2m",
    ),
    RuleTest(
        "one dependency closes a cycle",
        [input_series("milepost_programme_dependencies_set_aside", "1x20", programme="north")],
        [
            expect_alert(
                "6m",
                "DependencySetAside",
                "1 dependency of north would close a cycle and is left out: the forecasts do not know of it.",
                programme="north",
            ),
        ],
    ),
    RuleTest(
        "one is due within two weeks on its plan's word alone; others have an estimate, a day more, or are done",
        shown_series(
            permit(planned=14, forecast=14),
            beside("design", planned=14, estimated=14, forecast=14),
            beside("lease", planned=15, forecast=15),
            beside("site", "achieved", planned=14, forecast=14),
        ),
        [
            AlertExpectation("5m", "MilestoneDueSoon"),
            expect_alert(
                "6m",
                "MilestoneDueSoon",
                "plant/permit of north is planned in 14 days; no estimate and no actual date has been claimed.",
                **PERMIT,
            ),
        ],
    ),
    RuleTest(
        "nobody speaks of one for ninety days; others are far away, were spoken of, or are done",
        shown_series(
            permit(forecast=100, last=0),
            beside("design", forecast=300, last=0),
            beside("lease", forecast=100, last=80),
            beside("site", "achieved", forecast=50, last=0),
            values="{}x400",
        ),
        [
            AlertExpectation("2160h", "MilestoneSilent"),
            expect_alert(
                "2172h",
                "MilestoneSilent",
                "Nobody has reported on plant/permit of north for 90 days, and it is forecast for one of the next 180.",
                **PERMIT,
            ),
        ],
        interval="6h",
    ),
    RuleTest(
        "dependencies close a cycle in one of two programmes",
        [
            input_series("milepost_programme_dependencies_set_aside", "0 2x20", programme="north"),
            input_series("milepost_programme_dependencies_set_aside", "0x20", programme="south"),
        ],
        [
            AlertExpectation("5m", "DependencySetAside"),
            expect_alert(
                "6m",
                "DependencySetAside",
                "2 dependencies of north would close a cycle and are left out: the forecasts do not know of them.",
                programme="north",
            ),
        ],
    ),
]


@skip_without("promtool")
@pytest.mark.parametrize("story", MILESTONE_RULE_TESTS, ids=lambda story: story.name)
def test_projects_are_alerted_that(story: RuleTest, tmp_path: Path) -> None:
    run_promtool(story, ["recording.yml", "milestones.yml"], tmp_path)
