"""An independent reading of the contract's section 2, for tests to hold the product against.

It shares no code with the product and has one aim, to be obviously right: it looks at the whole set of
accepted events every time, and says each rule once, in the words of the contract. Dependencies make
milestones and projects exist, but do not move dates here.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from typing import Any, NamedTuple

Event = dict[str, Any]
Row = dict[str, Any]
Stamp = tuple[Fraction, str, str]

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
    """Give the rows of `milepost status --json`, without `revision`, as if dependencies moved no date."""
    said = claims(events, as_of)
    withdrawn = {key for key, project in _projects(said).items() if project["withdrawn"]}
    about: dict[tuple[str, str, str], list[Claim]] = defaultdict(list)
    for claim in of(said, REPORTED, CANCELLED, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        about[claim.programme, claim.project, claim.data["milestone"]].append(claim)
    for claim in of(said, DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        after = claim.data["after"]
        about.setdefault((claim.programme, after["project"], after["milestone"]), [])
    return [_milestone(key, about[key], data_date, project_withdrawn=key[:2] in withdrawn) for key in sorted(about)]


def _milestone(key: tuple[str, str, str], said: list[Claim], data_date: date, *, project_withdrawn: bool) -> Row:
    reports = of(said, REPORTED)
    dates = [(claim.data["classifier"], date.fromisoformat(claim.data["date"])) for claim in reports]
    plans = [day for classifier, day in dates if classifier == "PLN"]
    estimates = [day for classifier, day in dates if classifier == "EST"]
    actuals = [day for classifier, day in dates if classifier == "ACT"]
    owns = [day for classifier, day in dates if classifier in {"PLN", "EST"}]
    baseline, planned = (plans[0], plans[-1]) if plans else (None, None)
    estimated, actual, own = ((days[-1] if days else None) for days in (estimates, actuals, owns))
    forecast = actual or (max(own, data_date) if own else None)

    if project_withdrawn or overrules(of(said, CANCELLED), reports):
        state = "cancelled"
    elif actual:
        state = "achieved"
    elif not forecast:
        state = "unknown"
    elif own and own < data_date:
        state = "overdue"
    elif baseline and forecast > baseline:
        state = "slipping"
    else:
        state = "planned"

    dated = {
        "baseline": baseline,
        "planned": planned,
        "estimated": estimated,
        "actual": actual,
        "forecast": forecast,
    }
    open_ = state not in {"cancelled", "achieved"}
    return {
        **dict(zip(("programme", "project", "milestone"), key, strict=True)),
        **{name: day.isoformat() if day else None for name, day in dated.items()},
        "slip_days": (forecast - baseline).days if forecast and baseline else None,
        "float_days": (planned - forecast).days if open_ and planned and forecast else None,
        "state": state,
        "driver": None,
    }


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


def read_dependencies(events: Iterable[Event], as_of: str | None = None) -> dict[tuple[str, str, str, str, str], int]:
    """Give the lag in days of every dependency that holds, cycles included: nothing is set aside here."""
    about: dict[tuple[str, str, str, str, str], list[Claim]] = defaultdict(list)
    for claim in of(claims(events, as_of), DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN):
        after = claim.data["after"]
        milestone = claim.programme, claim.project, claim.data["milestone"]
        about[(*milestone, after["project"], after["milestone"])].append(claim)
    return {
        key: declared[-1].data.get("lag_days") or 0
        for key, mine in sorted(about.items())
        for declared in [of(mine, DEPENDENCY_DECLARED)]
        if overrules(declared, of(mine, DEPENDENCY_WITHDRAWN))
    }
