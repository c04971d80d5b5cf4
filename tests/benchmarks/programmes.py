"""Programmes of any size: what is planned in them, and what is said of them, as events and as facts.

The same size, day and seed give the same programme. Everything said lies within the last ten days, so that nothing is
left out of a page for its age.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

from models.domain.claims import Facts, fold
from models.domain.cloudevents import decode
from models.domain.events import Event as Accepted
from tests.helpers.event_generators import structured_record
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    MILESTONE_REPORTED,
    MILESTONE_SEQUENCE,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
    JsonEvent,
)

#: Who says what is said while something is timed.
LIVE_SOURCE: Final = "https://live.example"

_MILESTONES_PER_PROJECT: Final = 10
_PROJECTS_PER_PARK: Final = 50
_EVENT_AGE_DAYS: Final = 10


class PlannedMilestone(NamedTuple):
    """A milestone as it is planned."""

    project: str
    milestone: str
    date: date
    is_achieved: bool


class PlannedDependency(NamedTuple):
    """Which milestone waits for which, by their places in the plan."""

    successor: int
    predecessor: int
    lag_days: int


class ProgrammePlan(NamedTuple):
    """A programme as it is planned: twice as many dependencies as milestones."""

    programme: str
    data_date: date
    milestones: Sequence[PlannedMilestone]
    dependencies: Sequence[PlannedDependency]

    @property
    def busiest_gate(self) -> int:
        """The place of the open milestone that most others wait for at once."""
        waiting = [0] * len(self.milestones)
        for wait in self.dependencies:
            waiting[wait.predecessor] += not self.milestones[wait.predecessor].is_achieved
        return max(range(len(waiting)), key=waiting.__getitem__)


def realistic_plan(programme: str, size: int, data_date: date, seed: int = 0) -> ProgrammePlan:
    """Return a programme as there are: projects of ten milestones in a chain, most of them tenants of a park.

    A tenant's milestones wait for those of its park, and every project for a few of the one authority: few gates, many
    that wait for them.
    """
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    projects = size // _MILESTONES_PER_PROJECT
    parks = max(1, projects // _PROJECTS_PER_PARK)
    milestones = []
    for number in range(projects):
        if number == 0:
            name, start = "authority", -150
        elif number <= parks:
            name, start = f"park-{number}", chance.randrange(-200, 100)
        else:
            name, start = f"tenant-{number}", chance.randrange(-250, 500)
        for step in range(_MILESTONES_PER_PROJECT):
            planned = data_date + timedelta(start + 30 * step + chance.randrange(10))
            milestones.append(_planned_milestone(chance, name, MILESTONE_SEQUENCE[step], planned, data_date))
    waits = []
    for number in range(projects):
        first = number * _MILESTONES_PER_PROJECT
        waits += [PlannedDependency(first + step, first + step - 1, 7) for step in range(1, _MILESTONES_PER_PROJECT)]
        if number > parks:
            park = (1 + number % parks) * _MILESTONES_PER_PROJECT
            waits += [PlannedDependency(first + step, park + step, 0) for step in range(_MILESTONES_PER_PROJECT)]
    # What is still missing waits for the authority, project by project, gate by gate.
    gates = ((step, 5 + step % 5) for step in range(_MILESTONES_PER_PROJECT))
    of_authority = (
        PlannedDependency(number * _MILESTONES_PER_PROJECT + step, gate, 30)
        for step, gate in gates
        for number in range(1, projects)
    )
    waits += [wait for wait, _ in zip(of_authority, range(2 * size - len(waits)), strict=False)]
    return ProgrammePlan(programme, data_date, milestones, waits)


def scattered_plan(programme: str, size: int, data_date: date, seed: int = 0) -> ProgrammePlan:
    """Return a programme without any order but that there is no cycle."""
    chance = random.Random(seed)  # noqa: S311 - as above
    milestones = [
        _planned_milestone(
            chance,
            f"project-{place // _MILESTONES_PER_PROJECT}",
            MILESTONE_SEQUENCE[place % _MILESTONES_PER_PROJECT],
            data_date + timedelta(chance.randrange(-100, 900)),
            data_date,
        )
        for place in range(size)
    ]
    order = chance.sample(range(size), size)
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < 2 * size:
        gate, waiting = sorted(chance.sample(range(size), 2))
        pairs[order[waiting], order[gate]] = None
    waits = [PlannedDependency(waiting, gate, chance.randrange(30)) for waiting, gate in pairs]
    return ProgrammePlan(programme, data_date, milestones, waits)


def _planned_milestone(
    rng: random.Random, project: str, milestone: str, planned_date: date, data_date: date
) -> PlannedMilestone:
    # Long ago enough to have been achieved before anything is said here; a tenth of these are overdue instead.
    is_past = planned_date < data_date - timedelta(_EVENT_AGE_DAYS)
    return PlannedMilestone(project, milestone, planned_date, is_past and rng.random() < 0.9)


def initial_events(plan: ProgrammePlan) -> Iterator[JsonEvent]:
    """Return what is said of a programme in the first place: projects, plans, dependencies, some of it achieved."""
    chance = random.Random(len(plan.milestones))  # noqa: S311 - as above
    said = _EventFactory(plan, f"https://plans.example/{plan.programme}", _EVENT_AGE_DAYS, timedelta(seconds=1))
    yield said.event(PROGRAMME_REGISTERED, "", {"name": plan.programme.title(), "jobs": 5000})
    for project in dict.fromkeys(planned.project for planned in plan.milestones):
        yield said.event(PROJECT_REGISTERED, project, {"name": project.title(), "kind": project.split("-")[0]})
    for planned in plan.milestones:
        yield said.report(planned, "PLN", planned.date)
    for waiting, gate, lag_days in plan.dependencies:
        at, after = plan.milestones[waiting], plan.milestones[gate]
        data = {"milestone": at.milestone, "after": {"project": after.project, "milestone": after.milestone}}
        yield said.event(DEPENDENCY_DECLARED, at.project, data | {"lag_days": lag_days})
    for planned in plan.milestones:
        if planned.is_achieved:
            yield said.report(planned, "ACT", planned.date)
        elif chance.random() < 0.2:
            yield said.report(planned, "EST", planned.date + timedelta(chance.randrange(-10, 30)))


class LiveUpdates:
    """Says what is said of a programme next: about milestones that are not achieved in the plan."""

    def __init__(self, plan: ProgrammePlan, seed: int) -> None:
        self._plan = plan
        self._rng = random.Random(seed)  # noqa: S311 - as above
        self._events = _EventFactory(plan, LIVE_SOURCE, 1, timedelta(milliseconds=1))
        self._open_milestones = [planned for planned in plan.milestones if not planned.is_achieved]

    def date_updates(self, count: int, weights: Sequence[int] = (7, 2, 1)) -> Iterator[JsonEvent]:
        """Return so many estimates, plans and achievements of any milestones, in these shares."""
        chance, day = self._rng, self._plan.data_date
        for classifier in chance.choices(("EST", "PLN", "ACT"), weights, k=count):
            planned = chance.choice(self._open_milestones)
            shifted = max(planned.date, day) + timedelta(chance.randrange(-20, 40))
            yield self._events.report(planned, classifier, day - timedelta(1) if classifier == "ACT" else shifted)

    def swing_updates(self, count: int) -> Iterator[JsonEvent]:
        """Return estimates of the one milestone that most others wait for, to and fro by more than any slack."""
        planned, day = self._plan.milestones[self._plan.busiest_gate], self._plan.data_date
        for number in range(count):
            yield self._events.report(planned, "EST", day + timedelta(1 if number % 2 else 900))


def facts_of_json(events: Iterable[JsonEvent]) -> Facts:
    """Return the winning claims of events."""
    read = [decode(*structured_record(event)) for event in events]
    accepted = [event for event in read if isinstance(event, Accepted)]
    assert len(accepted) == len(read)
    return fold(accepted)


class _EventFactory:
    """Makes the events of one source, each a little after the one before."""

    def __init__(self, plan: ProgrammePlan, source: str, days_ago: int, interval: timedelta) -> None:
        self._programme, self._source, self._interval = plan.programme, source, interval
        self._time = datetime.combine(plan.data_date - timedelta(days_ago), time(), UTC)
        self._number = 0

    def event(self, event_type: str, project: str, data: dict[str, Any]) -> JsonEvent:
        """Return the next event."""
        self._number += 1
        self._time += self._interval
        return {
            "specversion": "1.0",
            "id": f"{self._programme}-{self._number}",
            "source": self._source,
            "type": event_type,
            "subject": f"{self._programme}/{project}" if project else self._programme,
            "time": self._time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": data,
        }

    def report(self, planned: PlannedMilestone, classifier: str, day: date) -> JsonEvent:
        """Return the next event, which claims a date."""
        data = {"milestone": planned.milestone, "classifier": classifier, "date": day.isoformat()}
        return self.event(MILESTONE_REPORTED, planned.project, data)
