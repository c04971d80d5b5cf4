"""An independent reading of the contract's section 2, for tests to hold the product against.

It shares no code with the product and has one aim, to be obviously right: it looks at the whole set of
accepted events every time, and states each rule once, in the words of the contract. Days are counted as
`date.toordinal` counts them, so that no lag leads out of the calendar before its lateness is calculated.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

JsonEvent = dict[str, Any]
JsonRow = dict[str, Any]
ExactStamp = tuple[Fraction, str, str]
MilestoneId = tuple[str, str, str]  # programme, project, milestone
DependencyId = tuple[str, str, str, str, str]  # the milestone that waits, then project and milestone it comes after

PROGRAMME_REGISTERED = "milepost.programme.registered.v1"
PROJECT_REGISTERED = "milepost.project.registered.v1"
PROJECT_WITHDRAWN = "milepost.project.withdrawn.v1"
MILESTONE_REPORTED = "milepost.milestone.reported.v1"
MILESTONE_CANCELLED = "milepost.milestone.cancelled.v1"
DEPENDENCY_DECLARED = "milepost.dependency.declared.v1"
DEPENDENCY_WITHDRAWN = "milepost.dependency.withdrawn.v1"
EVENT_RETRACTED = "milepost.event.retracted.v1"

# The milestones that the catalogue knows, in its order.
MILESTONE_SEQUENCE = (
    "memorandum-signed",
    "agreement-signed",
    "participant-admitted",
    "permit-approved",
    "investment-permitted",
    "design-completed",
    "site-leased",
    "construction-started",
    "park-commissioned",
    "equipment-installed",
    "production-launched",
)

RFC_3339 = re.compile(r"([0-9-]{10})[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)


class CountedClaim(NamedTuple):
    """An event that counts; `project` is empty where the subject is a programme alone."""

    stamp: ExactStamp
    type: str
    programme: str
    project: str
    data: dict[str, Any]


class MilestoneDates(NamedTuple):
    """What the claims about one milestone say, without its dependencies."""

    baseline: int | None
    planned: int | None
    estimated: int | None
    actual: int | None
    own_date: int | None
    is_cancelled: bool

    @property
    def is_open(self) -> bool:
        """Tell whether it is still to come."""
        return not self.is_cancelled and self.actual is None


class EffectiveDependency(NamedTuple):
    """A dependency that holds, as its newest declaration has it."""

    stamp: ExactStamp
    key: DependencyId
    milestone: MilestoneId
    predecessor: MilestoneId
    lag: int


def seconds_since_day_zero(text: str) -> Fraction:
    """Give the seconds since day zero of the calendar in UTC, with every digit: `// 86400` is the day."""
    match = RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time with an offset: {text!r}")
    day, hours, minutes, seconds, fraction, sign, ahead_hours, ahead_minutes = match.groups()
    local = date.fromisoformat(day).toordinal() * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    ahead = int(ahead_hours or 0) * 3600 + int(ahead_minutes or 0) * 60
    return local + Fraction("0" + (fraction or ".0")) - (-ahead if sign == "-" else ahead)


def claim_stamp(event: JsonEvent) -> ExactStamp:
    """Give when the claim was made, then by whom and under which name: no two events have the same stamp."""
    return seconds_since_day_zero(event.get("recordedtime") or event["time"]), event["source"], event["id"]


def counted_claims(events: Iterable[JsonEvent], as_of: str | None = None) -> list[CountedClaim]:
    """Give what counts: every event once, none stamped after `as_of`, none that its own source took back."""
    unique = {(event["source"], event["id"]): event for event in events}.values()
    claims = [event for event in unique if as_of is None or claim_stamp(event)[0] <= seconds_since_day_zero(as_of)]
    taken_back = {(event["source"], event["data"]["retracts"]) for event in claims if event["type"] == EVENT_RETRACTED}
    return [
        CountedClaim(claim_stamp(event), event["type"], programme, project, event["data"])
        for event in claims
        if event["type"] == EVENT_RETRACTED or (event["source"], event["id"]) not in taken_back
        for programme, _, project in [event["subject"].partition("/")]
    ]


def claims_of_types(claims: Iterable[CountedClaim], *types: str) -> list[CountedClaim]:
    """Give the claims of these types, the oldest first."""
    return sorted((claim for claim in claims if claim.type in types), key=lambda claim: claim.stamp)


def has_newer(claims: list[CountedClaim], others: list[CountedClaim]) -> bool:
    """Return whether there is one of these newer than every one of those."""
    return any(all(this.stamp > that.stamp for that in others) for this in claims)


def newest_value(claims: list[CountedClaim], field: str) -> Any:  # noqa: ANN401 - a field of JSON
    """Give the field as the newest claim has it that names it at all."""
    return ([claim.data[field] for claim in claims if claim.data.get(field) is not None] or [None])[-1]


def expected_milestones(events: Iterable[JsonEvent], data_date: date, as_of: str | None = None) -> list[JsonRow]:
    """Give the rows of `milepost status --json`, without `revision` and what it holds up."""
    claims = counted_claims(events, as_of)
    names = _milestone_names(claims)
    milestones = milestone_dates(claims)
    today = data_date.toordinal()
    before: dict[MilestoneId, list[EffectiveDependency]] = {key: [] for key in milestones}
    behind: dict[MilestoneId, list[EffectiveDependency]] = {key: [] for key in milestones}
    for dependency in _split_cyclic(claims)[0]:
        before[dependency.milestone].append(dependency)
        behind[dependency.predecessor].append(dependency)
    order = [*TopologicalSorter({key: [each.predecessor for each in before[key]] for key in milestones}).static_order()]

    forecasts: dict[MilestoneId, int | None] = {}
    drivers: dict[MilestoneId, MilestoneId | None] = {}
    for key in order:
        set_by_others = {
            each.predecessor: min(forecast + each.lag, date.max.toordinal())
            for each in before[key]
            for forecast in [forecasts[each.predecessor]]
            if forecast is not None and not milestones[each.predecessor].is_cancelled
        }
        forecasts[key], drivers[key] = _forecast(milestones[key], set_by_others, today)

    limits: dict[MilestoneId, int | None] = {}  # the smallest planned - lags over paths of open milestones from here on
    for key in reversed(order):
        ends = [(milestones[key].planned, 0), *((limits[each.milestone], each.lag) for each in behind[key])]
        reached = [planned - lag for planned, lag in ends if planned is not None]
        limits[key] = min(reached, default=None) if milestones[key].is_open else None

    return [
        {
            **dict(zip(("programme", "project", "milestone"), key, strict=True)),
            "name": names.get(key),
            **{name: _iso_date(getattr(milestone, name)) for name in ("baseline", "planned", "estimated", "actual")},
            "forecast": _iso_date(forecasts[key]),
            "slip_days": _days_between(forecasts[key], milestone.baseline),
            "float_days": _days_between(limits[key], forecasts[key]),
            "state": _state(milestone, forecasts[key], drivers[key], today),
            "driver": "/".join(driver[1:]) if (driver := drivers[key]) else None,
        }
        for key, milestone in milestones.items()
    ]


def _forecast(
    milestone: MilestoneDates, predecessor_days: dict[MilestoneId, int], today: int
) -> tuple[int | None, MilestoneId | None]:
    """Give forecast and driver, from the day that each predecessor which counts sets."""
    if milestone.is_cancelled:
        return None, None
    if milestone.actual is not None:
        return milestone.actual, None
    if milestone.own_date is None and not predecessor_days:
        return None, None
    by_itself = today if milestone.own_date is None else max(milestone.own_date, today)
    forecast = max([by_itself, *predecessor_days.values()])
    setters = [key for key, day in predecessor_days.items() if day == forecast > by_itself]
    return forecast, min(setters, default=None)


def _state(milestone: MilestoneDates, forecast: int | None, driver: MilestoneId | None, today: int) -> str:
    states = {
        "cancelled": milestone.is_cancelled,
        "achieved": milestone.actual is not None,
        "unknown": forecast is None,
        "overdue": milestone.own_date is not None and milestone.own_date < today,
        "blocked": driver is not None,
        "slipping": (_days_between(forecast, milestone.baseline) or 0) > 0,
        "planned": True,
    }
    return next(state for state, applies in states.items() if applies)


def in_order_of_rows(rows: Iterable[JsonRow]) -> list[JsonRow]:
    """Give the rows as people see them: by programme, project, date, the catalogue's order and name."""

    def place(row: JsonRow) -> tuple[Any, ...]:
        dates = [row[name] for name in ("baseline", "planned", "estimated", "actual", "forecast") if row[name]]
        slug = row["milestone"]
        in_catalogue = MILESTONE_SEQUENCE.index(slug) if slug in MILESTONE_SEQUENCE else len(MILESTONE_SEQUENCE)
        names = [_natural(row["programme"]), _natural(row["project"])]
        return *names, not dates, dates[:1], in_catalogue, _natural(slug)

    return sorted(rows, key=place)


def _natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Give the name one character after the other, where a whole number is one character; then the plain text."""
    parts = re.findall(r"[0-9]+|[^0-9]", name)
    return [("0", int(part)) if part[0] in "0123456789" else (part, 0) for part in parts], name


def _days_between(later: int | None, earlier: int | None) -> int | None:
    return None if later is None or earlier is None else later - earlier


def _iso_date(day: int | None) -> str | None:
    return None if day is None else date.fromordinal(day).isoformat()


def expected_dependents(events: Iterable[JsonEvent], as_of: str | None = None) -> dict[MilestoneId, int]:
    """Give of every milestone how many open ones are downstream, where ways lead through open ones alone."""
    claims = counted_claims(events, as_of)
    milestones = milestone_dates(claims)
    followers: dict[MilestoneId, set[MilestoneId]] = defaultdict(set)
    for dependency in _split_cyclic(claims)[0]:
        if not milestones[dependency.predecessor].is_cancelled and milestones[dependency.milestone].is_open:
            followers[dependency.predecessor].add(dependency.milestone)
    return {key: len(downstream(key, followers) - {key}) for key in milestones}


def downstream(start: MilestoneId, successors: dict[MilestoneId, set[MilestoneId]]) -> set[MilestoneId]:
    """Give the milestone itself and all that follow from it."""
    reached, to_visit = {start}, [start]
    while to_visit:
        new = successors.get(to_visit.pop(), set()) - reached
        reached |= new
        to_visit += new
    return reached


def _milestone_names(claims: list[CountedClaim]) -> dict[MilestoneId, str]:
    """Give what people call each milestone, as the newest report has it that says it."""
    return {
        (claim.programme, claim.project, claim.data["milestone"]): claim.data["name"]
        for claim in claims_of_types(claims, MILESTONE_REPORTED)
        if claim.data.get("name") is not None
    }


def milestone_dates(claims: list[CountedClaim]) -> dict[MilestoneId, MilestoneDates]:
    withdrawn = {key for key, project in _project_rows(claims).items() if project["withdrawn"]}
    about: dict[MilestoneId, list[CountedClaim]] = defaultdict(list)
    for claim in claims_of_types(
        claims, MILESTONE_REPORTED, MILESTONE_CANCELLED, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN
    ):
        about[claim.programme, claim.project, claim.data["milestone"]].append(claim)
    for claim in claims_of_types(claims, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        after = claim.data["after"]
        about.setdefault((claim.programme, after["project"], after["milestone"]), [])
    return {key: _dates_of_milestone(about[key], is_project_withdrawn=key[:2] in withdrawn) for key in sorted(about)}


def _dates_of_milestone(claims: list[CountedClaim], *, is_project_withdrawn: bool) -> MilestoneDates:
    reports = claims_of_types(claims, MILESTONE_REPORTED)
    dates = [(claim.data["classifier"], date.fromisoformat(claim.data["date"]).toordinal()) for claim in reports]
    plans = [day for classifier, day in dates if classifier == "PLN"]
    estimates = [day for classifier, day in dates if classifier == "EST"]
    actuals = [day for classifier, day in dates if classifier == "ACT"]
    owns = [day for classifier, day in dates if classifier in {"PLN", "EST"}]
    planned, estimated, actual, own = ((days[-1] if days else None) for days in (plans, estimates, actuals, owns))
    cancelled = is_project_withdrawn or has_newer(claims_of_types(claims, MILESTONE_CANCELLED), reports)
    return MilestoneDates(plans[0] if plans else None, planned, estimated, actual, own, cancelled)


def expected_projects(events: Iterable[JsonEvent], as_of: str | None = None) -> dict[tuple[str, str], JsonRow]:
    """Give name, kind, site, investment, jobs and withdrawn of every project that any event names."""
    return _project_rows(counted_claims(events, as_of))


def _project_rows(claims: list[CountedClaim]) -> dict[tuple[str, str], JsonRow]:
    named = {(claim.programme, claim.project) for claim in claims if claim.project}
    named |= {(c.programme, c.data["site"]) for c in claims_of_types(claims, PROJECT_REGISTERED) if c.data.get("site")}
    dependencies = claims_of_types(claims, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN)
    named |= {(claim.programme, claim.data["after"]["project"]) for claim in dependencies}
    about: dict[tuple[str, str], list[CountedClaim]] = {key: [] for key in sorted(named)}
    for claim in claims_of_types(claims, PROJECT_REGISTERED, PROJECT_WITHDRAWN):
        about[claim.programme, claim.project].append(claim)
    return {
        key: {
            **{field: newest_value(registered, field) for field in ("name", "kind", "site", "investment", "jobs")},
            "withdrawn": has_newer(claims_of_types(mine, PROJECT_WITHDRAWN), registered),
        }
        for key, mine in about.items()
        for registered in [claims_of_types(mine, PROJECT_REGISTERED)]
    }


def expected_programmes(events: Iterable[JsonEvent], as_of: str | None = None) -> dict[str, JsonRow]:
    """Give name, investment and jobs of every programme that any event names."""
    claims = counted_claims(events, as_of)
    registered = claims_of_types(claims, PROGRAMME_REGISTERED)
    return {
        programme: {
            field: newest_value([claim for claim in registered if claim.programme == programme], field)
            for field in ("name", "investment", "jobs")
        }
        for programme in sorted({claim.programme for claim in claims})
    }


def expected_dependencies(events: Iterable[JsonEvent], as_of: str | None = None) -> dict[DependencyId, int]:
    """Give the lag in days of every dependency that holds, cycles included: nothing is set aside here."""
    return {dependency.key: dependency.lag for dependency in _effective_dependencies(counted_claims(events, as_of))}


def expected_cyclic(events: Iterable[JsonEvent], as_of: str | None = None) -> dict[str, list[DependencyId]]:
    """Give of every programme the dependencies that are set aside because they would close a cycle."""
    claims = counted_claims(events, as_of)
    set_aside: dict[str, list[DependencyId]] = {name: [] for name in sorted({claim.programme for claim in claims})}
    for dependency in _split_cyclic(claims)[1]:
        set_aside[dependency.milestone[0]].append(dependency.key)
    return {programme: sorted(keys) for programme, keys in set_aside.items()}


def _split_cyclic(claims: list[CountedClaim]) -> tuple[list[EffectiveDependency], list[EffectiveDependency]]:
    """Give the dependencies that count and those set aside, both the oldest first."""
    taken: list[EffectiveDependency] = []
    set_aside: list[EffectiveDependency] = []
    followers: dict[MilestoneId, set[MilestoneId]] = defaultdict(set)
    for dependency in sorted(_effective_dependencies(claims), key=lambda each: each.stamp):
        if dependency.predecessor in downstream(dependency.milestone, followers):
            set_aside.append(dependency)
        else:
            taken.append(dependency)
            followers[dependency.predecessor].add(dependency.milestone)
    return taken, set_aside


def _effective_dependencies(claims: list[CountedClaim]) -> list[EffectiveDependency]:
    about: dict[DependencyId, list[CountedClaim]] = defaultdict(list)
    for claim in claims_of_types(claims, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        milestone, after = claim.data["milestone"], claim.data["after"]
        about[claim.programme, claim.project, milestone, after["project"], after["milestone"]].append(claim)
    return [
        EffectiveDependency(last.stamp, key, key[:3], (key[0], *key[3:]), last.data.get("lag_days") or 0)
        for key, mine in sorted(about.items())
        for declared in [claims_of_types(mine, DEPENDENCY_DECLARED)]
        if has_newer(declared, claims_of_types(mine, DEPENDENCY_WITHDRAWN))
        for last in declared[-1:]
    ]
