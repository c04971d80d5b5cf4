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
from tests.publisher import PATH, structured
from tests.reading import DEPENDENCY_DECLARED, PROGRAMME_REGISTERED, PROJECT_REGISTERED, REPORTED, Event

#: Who says what is said while something is timed.
LIVE: Final = "https://live.example"

_IN_PROJECT: Final = 10
_PROJECTS_A_PARK: Final = 50
_SAID_DAYS_AGO: Final = 10


class Planned(NamedTuple):
    """A milestone as it is planned."""

    project: str
    milestone: str
    date: date
    is_achieved: bool


class Wait(NamedTuple):
    """Which milestone waits for which, by their places in the plan."""

    waiting: int
    gate: int
    lag_days: int


class Plan(NamedTuple):
    """A programme as it is planned: twice as many dependencies as milestones."""

    programme: str
    day: date
    milestones: Sequence[Planned]
    waits: Sequence[Wait]

    @property
    def widest(self) -> int:
        """The place of the open milestone that most others wait for at once."""
        waiting = [0] * len(self.milestones)
        for wait in self.waits:
            waiting[wait.gate] += not self.milestones[wait.gate].is_achieved
        return max(range(len(waiting)), key=waiting.__getitem__)


def realistic(programme: str, size: int, day: date, seed: int = 0) -> Plan:
    """Return a programme as there are: projects of ten milestones in a chain, most of them tenants of a park.

    A tenant's milestones wait for those of its park, and every project for a few of the one authority: few gates, many
    that wait for them.
    """
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    projects = size // _IN_PROJECT
    parks = max(1, projects // _PROJECTS_A_PARK)
    milestones = []
    for number in range(projects):
        if number == 0:
            name, start = "authority", -150
        elif number <= parks:
            name, start = f"park-{number}", chance.randrange(-200, 100)
        else:
            name, start = f"tenant-{number}", chance.randrange(-250, 500)
        for step in range(_IN_PROJECT):
            planned = day + timedelta(start + 30 * step + chance.randrange(10))
            milestones.append(_planned(chance, name, PATH[step], planned, day))
    waits = []
    for number in range(projects):
        first = number * _IN_PROJECT
        waits += [Wait(first + step, first + step - 1, 7) for step in range(1, _IN_PROJECT)]
        if number > parks:
            park = (1 + number % parks) * _IN_PROJECT
            waits += [Wait(first + step, park + step, 0) for step in range(_IN_PROJECT)]
    # What is still missing waits for the authority, project by project, gate by gate.
    gates = ((step, 5 + step % 5) for step in range(_IN_PROJECT))
    of_authority = (
        Wait(number * _IN_PROJECT + step, gate, 30) for step, gate in gates for number in range(1, projects)
    )
    waits += [wait for wait, _ in zip(of_authority, range(2 * size - len(waits)), strict=False)]
    return Plan(programme, day, milestones, waits)


def scattered(programme: str, size: int, day: date, seed: int = 0) -> Plan:
    """Return a programme without any order but that there is no cycle."""
    chance = random.Random(seed)  # noqa: S311 - as above
    milestones = [
        _planned(
            chance,
            f"project-{place // _IN_PROJECT}",
            PATH[place % _IN_PROJECT],
            day + timedelta(chance.randrange(-100, 900)),
            day,
        )
        for place in range(size)
    ]
    order = chance.sample(range(size), size)
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < 2 * size:
        gate, waiting = sorted(chance.sample(range(size), 2))
        pairs[order[waiting], order[gate]] = None
    waits = [Wait(waiting, gate, chance.randrange(30)) for waiting, gate in pairs]
    return Plan(programme, day, milestones, waits)


def _planned(chance: random.Random, project: str, milestone: str, planned: date, day: date) -> Planned:
    # Long ago enough to have been achieved before anything is said here; a tenth of these are overdue instead.
    is_past = planned < day - timedelta(_SAID_DAYS_AGO)
    return Planned(project, milestone, planned, is_past and chance.random() < 0.9)


def said_of(plan: Plan) -> Iterator[Event]:
    """Return what is said of a programme in the first place: projects, plans, dependencies, some of it achieved."""
    chance = random.Random(len(plan.milestones))  # noqa: S311 - as above
    said = _Said(plan, f"https://plans.example/{plan.programme}", _SAID_DAYS_AGO, timedelta(seconds=1))
    yield said.event(PROGRAMME_REGISTERED, "", {"name": plan.programme.title(), "jobs": 5000})
    for project in dict.fromkeys(planned.project for planned in plan.milestones):
        yield said.event(PROJECT_REGISTERED, project, {"name": project.title(), "kind": project.split("-")[0]})
    for planned in plan.milestones:
        yield said.report(planned, "PLN", planned.date)
    for waiting, gate, lag_days in plan.waits:
        at, after = plan.milestones[waiting], plan.milestones[gate]
        data = {"milestone": at.milestone, "after": {"project": after.project, "milestone": after.milestone}}
        yield said.event(DEPENDENCY_DECLARED, at.project, data | {"lag_days": lag_days})
    for planned in plan.milestones:
        if planned.is_achieved:
            yield said.report(planned, "ACT", planned.date)
        elif chance.random() < 0.2:
            yield said.report(planned, "EST", planned.date + timedelta(chance.randrange(-10, 30)))


class Live:
    """Says what is said of a programme next: about milestones that are not achieved in the plan."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self._plan = plan
        self._chance = random.Random(seed)  # noqa: S311 - as above
        self._said = _Said(plan, LIVE, 1, timedelta(milliseconds=1))
        self._open = [planned for planned in plan.milestones if not planned.is_achieved]

    def moved(self, count: int, weights: Sequence[int] = (7, 2, 1)) -> Iterator[Event]:
        """Return so many estimates, plans and achievements of any milestones, in these shares."""
        chance, day = self._chance, self._plan.day
        for classifier in chance.choices(("EST", "PLN", "ACT"), weights, k=count):
            planned = chance.choice(self._open)
            shifted = max(planned.date, day) + timedelta(chance.randrange(-20, 40))
            yield self._said.report(planned, classifier, day - timedelta(1) if classifier == "ACT" else shifted)

    def swung(self, count: int) -> Iterator[Event]:
        """Return estimates of the one milestone that most others wait for, to and fro by more than any slack."""
        planned, day = self._plan.milestones[self._plan.widest], self._plan.day
        for number in range(count):
            yield self._said.report(planned, "EST", day + timedelta(1 if number % 2 else 900))


def facts_of(events: Iterable[Event]) -> Facts:
    """Return the winning claims of events."""
    read = [decode(*structured(event)) for event in events]
    accepted = [event for event in read if isinstance(event, Accepted)]
    assert len(accepted) == len(read)
    return fold(accepted)


class _Said:
    """Makes the events of one source, each a little after the one before."""

    def __init__(self, plan: Plan, source: str, days_ago: int, apart: timedelta) -> None:
        self._programme, self._source, self._apart = plan.programme, source, apart
        self._moment = datetime.combine(plan.day - timedelta(days_ago), time(), UTC)
        self._number = 0

    def event(self, kind: str, project: str, data: dict[str, Any]) -> Event:
        """Return the next event."""
        self._number += 1
        self._moment += self._apart
        return {
            "specversion": "1.0",
            "id": f"{self._programme}-{self._number}",
            "source": self._source,
            "type": kind,
            "subject": f"{self._programme}/{project}" if project else self._programme,
            "time": self._moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": data,
        }

    def report(self, planned: Planned, classifier: str, day: date) -> Event:
        """Return the next event, which claims a date."""
        data = {"milestone": planned.milestone, "classifier": classifier, "date": day.isoformat()}
        return self.event(REPORTED, planned.project, data)
