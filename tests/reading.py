"""An independent reading of the contract's section 2, for tests to hold the product against.

It shares no code with the product and has one aim, to be obviously right: it looks at the whole set of
accepted events every time, and says each rule once, in the words of the contract. Days are counted as
`date.toordinal` counts them, so that no lag leads out of the calendar before it is asked how late that is.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

Event = dict[str, Any]
Row = dict[str, Any]
Stamp = tuple[Fraction, str, str]
Key = tuple[str, str, str]  # programme, project, milestone
DependencyKey = tuple[str, str, str, str, str]  # the milestone that waits, then project and milestone it comes after

PROGRAMME_REGISTERED = "milepost.programme.registered.v1"
PROJECT_REGISTERED = "milepost.project.registered.v1"
PROJECT_WITHDRAWN = "milepost.project.withdrawn.v1"
REPORTED = "milepost.milestone.reported.v1"
CANCELLED = "milepost.milestone.cancelled.v1"
DEPENDENCY_DECLARED = "milepost.dependency.declared.v1"
DEPENDENCY_WITHDRAWN = "milepost.dependency.withdrawn.v1"
RETRACTED = "milepost.event.retracted.v1"

RFC_3339 = re.compile(r"([0-9-]{10})[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)


class Claim(NamedTuple):
    """An event that counts; `project` is empty where the subject is a programme alone."""

    stamp: Stamp
    type: str
    programme: str
    project: str
    data: dict[str, Any]


class Milestone(NamedTuple):
    """What the claims about one milestone say of it alone."""

    baseline: int | None
    planned: int | None
    estimated: int | None
    actual: int | None
    own: int | None
    cancelled: bool

    @property
    def open(self) -> bool:
        """Tell whether it is still to come."""
        return not self.cancelled and self.actual is None


class Dependency(NamedTuple):
    """A dependency that holds, as its newest declaration has it."""

    stamp: Stamp
    key: DependencyKey
    milestone: Key
    after: Key
    lag: int


def instant(text: str) -> Fraction:
    """Give the seconds since day zero of the calendar in UTC, with every digit: `// 86400` is the day."""
    found = RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError(f"not an RFC 3339 time with an offset: {text!r}")
    day, hours, minutes, seconds, fraction, sign, ahead_hours, ahead_minutes = found.groups()
    local = date.fromisoformat(day).toordinal() * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    ahead = int(ahead_hours or 0) * 3600 + int(ahead_minutes or 0) * 60
    return local + Fraction("0" + (fraction or ".0")) - (-ahead if sign == "-" else ahead)


def stamp(event: Event) -> Stamp:
    """Give when the claim was made, then by whom and under which name: no two events have the same stamp."""
    return instant(event.get("recordedtime") or event["time"]), event["source"], event["id"]


def claims(events: Iterable[Event], as_of: str | None = None) -> list[Claim]:
    """Give what counts: every event once, none stamped after `as_of`, none that its own source took back."""
    unique = {(event["source"], event["id"]): event for event in events}.values()
    said = [event for event in unique if as_of is None or stamp(event)[0] <= instant(as_of)]
    taken_back = {(event["source"], event["data"]["retracts"]) for event in said if event["type"] == RETRACTED}
    return [
        Claim(stamp(event), event["type"], programme, project, event["data"])
        for event in said
        if event["type"] == RETRACTED or (event["source"], event["id"]) not in taken_back
        for programme, _, project in [event["subject"].partition("/")]
    ]


def of(said: Iterable[Claim], *types: str) -> list[Claim]:
    """Give the claims of these types, the oldest first."""
    return sorted((claim for claim in said if claim.type in types), key=lambda claim: claim.stamp)


def overrules(these: list[Claim], those: list[Claim]) -> bool:
    """Tell whether there is one of these newer than every one of those."""
    return any(all(this.stamp > that.stamp for that in those) for this in these)


def newest(said: list[Claim], field: str) -> Any:  # noqa: ANN401 - a field of JSON
    """Give the field as the newest claim has it that names it at all."""
    return ([claim.data[field] for claim in said if claim.data.get(field) is not None] or [None])[-1]


def read_milestones(events: Iterable[Event], data_date: date, as_of: str | None = None) -> list[Row]:
    """Give the rows of `milepost status --json`, without `revision`."""
    said = claims(events, as_of)
    milestones = _milestones(said)
    today = data_date.toordinal()
    before: dict[Key, list[Dependency]] = {key: [] for key in milestones}
    behind: dict[Key, list[Dependency]] = {key: [] for key in milestones}
    for dependency in _sort_out(said)[0]:
        before[dependency.milestone].append(dependency)
        behind[dependency.after].append(dependency)
    order = [*TopologicalSorter({key: [each.after for each in before[key]] for key in milestones}).static_order()]

    forecasts: dict[Key, int | None] = {}
    drivers: dict[Key, Key | None] = {}
    for key in order:
        set_by_others = {
            each.after: min(forecast + each.lag, date.max.toordinal())
            for each in before[key]
            for forecast in [forecasts[each.after]]
            if forecast is not None and not milestones[each.after].cancelled
        }
        forecasts[key], drivers[key] = _forecast(milestones[key], set_by_others, today)

    limits: dict[Key, int | None] = {}  # the smallest planned - lags over paths of open milestones from here on
    for key in reversed(order):
        ends = [(milestones[key].planned, 0), *((limits[each.milestone], each.lag) for each in behind[key])]
        reached = [planned - lag for planned, lag in ends if planned is not None]
        limits[key] = min(reached, default=None) if milestones[key].open else None

    return [
        {
            **dict(zip(("programme", "project", "milestone"), key, strict=True)),
            **{name: _iso(getattr(milestone, name)) for name in ("baseline", "planned", "estimated", "actual")},
            "forecast": _iso(forecasts[key]),
            "slip_days": _days(forecasts[key], milestone.baseline),
            "float_days": _days(limits[key], forecasts[key]),
            "state": _state(milestone, forecasts[key], drivers[key], today),
            "driver": "/".join(driver[1:]) if (driver := drivers[key]) else None,
        }
        for key, milestone in milestones.items()
    ]


def _forecast(milestone: Milestone, set_by_others: dict[Key, int], today: int) -> tuple[int | None, Key | None]:
    """Give forecast and driver, from the day that each predecessor which counts sets."""
    if milestone.actual is not None:
        return milestone.actual, None
    if milestone.own is None and not set_by_others:
        return None, None
    by_itself = today if milestone.own is None else max(milestone.own, today)
    forecast = max([by_itself, *set_by_others.values()])
    setters = [key for key, day in set_by_others.items() if day == forecast > by_itself]
    return forecast, min(setters, default=None)


def _state(milestone: Milestone, forecast: int | None, driver: Key | None, today: int) -> str:
    states = {
        "cancelled": milestone.cancelled,
        "achieved": milestone.actual is not None,
        "unknown": forecast is None,
        "overdue": milestone.own is not None and milestone.own < today,
        "blocked": driver is not None,
        "slipping": (_days(forecast, milestone.baseline) or 0) > 0,
        "planned": True,
    }
    return next(state for state, applies in states.items() if applies)


def _days(later: int | None, earlier: int | None) -> int | None:
    return None if later is None or earlier is None else later - earlier


def _iso(day: int | None) -> str | None:
    return None if day is None else date.fromordinal(day).isoformat()


def read_dependents(events: Iterable[Event], as_of: str | None = None) -> dict[Key, int]:
    """Give of every milestone how many open ones are downstream, where no way leads through a cancelled one."""
    said = claims(events, as_of)
    milestones = _milestones(said)
    followers: dict[Key, set[Key]] = defaultdict(set)
    for dependency in _sort_out(said)[0]:
        if not milestones[dependency.after].cancelled and not milestones[dependency.milestone].cancelled:
            followers[dependency.after].add(dependency.milestone)
    return {key: sum(milestones[each].open for each in downstream(key, followers) - {key}) for key in milestones}


def downstream(start: Key, followers: dict[Key, set[Key]]) -> set[Key]:
    """Give the milestone itself and all that follow from it."""
    reached, to_visit = {start}, [start]
    while to_visit:
        new = followers.get(to_visit.pop(), set()) - reached
        reached |= new
        to_visit += new
    return reached


def _milestones(said: list[Claim]) -> dict[Key, Milestone]:
    withdrawn = {key for key, project in _projects(said).items() if project["withdrawn"]}
    about: dict[Key, list[Claim]] = defaultdict(list)
    for claim in of(said, REPORTED, CANCELLED, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        about[claim.programme, claim.project, claim.data["milestone"]].append(claim)
    for claim in of(said, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        after = claim.data["after"]
        about.setdefault((claim.programme, after["project"], after["milestone"]), [])
    return {key: _milestone(about[key], project_withdrawn=key[:2] in withdrawn) for key in sorted(about)}


def _milestone(said: list[Claim], *, project_withdrawn: bool) -> Milestone:
    reports = of(said, REPORTED)
    dates = [(claim.data["classifier"], date.fromisoformat(claim.data["date"]).toordinal()) for claim in reports]
    plans = [day for classifier, day in dates if classifier == "PLN"]
    estimates = [day for classifier, day in dates if classifier == "EST"]
    actuals = [day for classifier, day in dates if classifier == "ACT"]
    owns = [day for classifier, day in dates if classifier in {"PLN", "EST"}]
    planned, estimated, actual, own = ((days[-1] if days else None) for days in (plans, estimates, actuals, owns))
    cancelled = project_withdrawn or overrules(of(said, CANCELLED), reports)
    return Milestone(plans[0] if plans else None, planned, estimated, actual, own, cancelled)


def read_projects(events: Iterable[Event], as_of: str | None = None) -> dict[tuple[str, str], Row]:
    """Give name, kind, site, investment, jobs and withdrawn of every project that any event names."""
    return _projects(claims(events, as_of))


def _projects(said: list[Claim]) -> dict[tuple[str, str], Row]:
    named = {(claim.programme, claim.project) for claim in said if claim.project}
    named |= {(c.programme, c.data["site"]) for c in of(said, PROJECT_REGISTERED) if c.data.get("site")}
    dependencies = of(said, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN)
    named |= {(claim.programme, claim.data["after"]["project"]) for claim in dependencies}
    about: dict[tuple[str, str], list[Claim]] = {key: [] for key in sorted(named)}
    for claim in of(said, PROJECT_REGISTERED, PROJECT_WITHDRAWN):
        about[claim.programme, claim.project].append(claim)
    return {
        key: {
            **{field: newest(registered, field) for field in ("name", "kind", "site", "investment", "jobs")},
            "withdrawn": overrules(of(mine, PROJECT_WITHDRAWN), registered),
        }
        for key, mine in about.items()
        for registered in [of(mine, PROJECT_REGISTERED)]
    }


def read_programmes(events: Iterable[Event], as_of: str | None = None) -> dict[str, Row]:
    """Give name, investment and jobs of every programme that any event names."""
    said = claims(events, as_of)
    registered = of(said, PROGRAMME_REGISTERED)
    return {
        programme: {
            field: newest([claim for claim in registered if claim.programme == programme], field)
            for field in ("name", "investment", "jobs")
        }
        for programme in sorted({claim.programme for claim in said})
    }


def read_dependencies(events: Iterable[Event], as_of: str | None = None) -> dict[DependencyKey, int]:
    """Give the lag in days of every dependency that holds, cycles included: nothing is set aside here."""
    return {dependency.key: dependency.lag for dependency in _holding(claims(events, as_of))}


def read_set_aside(events: Iterable[Event], as_of: str | None = None) -> dict[str, list[DependencyKey]]:
    """Give of every programme the dependencies that are set aside because they would close a cycle."""
    said = claims(events, as_of)
    set_aside: dict[str, list[DependencyKey]] = {name: [] for name in sorted({claim.programme for claim in said})}
    for dependency in _sort_out(said)[1]:
        set_aside[dependency.milestone[0]].append(dependency.key)
    return {programme: sorted(keys) for programme, keys in set_aside.items()}


def _sort_out(said: list[Claim]) -> tuple[list[Dependency], list[Dependency]]:
    """Give the dependencies that count and those set aside, both the oldest first."""
    taken: list[Dependency] = []
    set_aside: list[Dependency] = []
    followers: dict[Key, set[Key]] = defaultdict(set)
    for dependency in sorted(_holding(said), key=lambda each: each.stamp):
        if dependency.after in downstream(dependency.milestone, followers):
            set_aside.append(dependency)
        else:
            taken.append(dependency)
            followers[dependency.after].add(dependency.milestone)
    return taken, set_aside


def _holding(said: list[Claim]) -> list[Dependency]:
    about: dict[DependencyKey, list[Claim]] = defaultdict(list)
    for claim in of(said, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        milestone, after = claim.data["milestone"], claim.data["after"]
        about[claim.programme, claim.project, milestone, after["project"], after["milestone"]].append(claim)
    return [
        Dependency(last.stamp, key, key[:3], (key[0], *key[3:]), last.data.get("lag_days") or 0)
        for key, mine in sorted(about.items())
        for declared in [of(mine, DEPENDENCY_DECLARED)]
        if overrules(declared, of(mine, DEPENDENCY_WITHDRAWN))
        for last in declared[-1:]
    ]
