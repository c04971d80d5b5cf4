"""An independent reading of the contract's paragraph "History": the slow definition, word for word.

For every instant it takes all events before and all events up to that instant, and draws both pictures from nothing.
It shares no code with the product.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import NamedTuple

from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    DEPENDENCY_WITHDRAWN,
    EVENT_RETRACTED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    CountedClaim,
    ExactStamp,
    JsonEvent,
    JsonRow,
    MilestoneId,
    claim_stamp,
    claims_of_types,
    counted_claims,
    expected_milestones,
    in_order_of_rows,
    milestone_dates,
)

#: The claims of a set of events that decide one thing, the oldest first.
Selector = Callable[[list[CountedClaim]], list[CountedClaim]]


class _Picture(NamedTuple):
    claims: list[CountedClaim]
    rows: dict[MilestoneId, JsonRow]
    own_or_actual: dict[MilestoneId, str | None]


def expected_history(events: Iterable[JsonEvent], programme: str) -> list[JsonRow]:
    """Give the history of all milestones of a programme, by instant and in the order of rows.

    `said` is in seconds since day zero, `cause` the exact stamp.
    """
    unique = [*{(event["source"], event["id"]): event for event in events}.values()]
    own = [event for event in unique if event["subject"].partition("/")[0] == programme]
    names = {(event["source"], event["id"]) for event in own}
    retractions = [
        event
        for event in unique
        if event["type"] == EVENT_RETRACTED and (event["source"], event["data"]["retracts"]) in names
    ]
    rows = []
    for instant in sorted({claim_stamp(event)[0] for event in (*own, *retractions)}):
        day = date.fromordinal(int(instant // 86400))
        before = _picture([event for event in unique if claim_stamp(event)[0] < instant], day)
        after = _picture([event for event in unique if claim_stamp(event)[0] <= instant], day)
        said_now = sorted({claim_stamp(event) for event in (*own, *retractions) if claim_stamp(event)[0] == instant})
        taken_back = {
            (event["source"], event["data"]["retracts"]): claim_stamp(event)
            for event in sorted(retractions, key=claim_stamp)
            if claim_stamp(event)[0] == instant
        }
        for key in _in_order(before.rows.keys() | after.rows.keys(), after):
            was, is_now = before.rows.get(key, {}), after.rows.get(key, {})
            is_moved = was.get("forecast") != is_now.get("forecast")
            if key[0] != programme or not (
                is_moved or (was.get("state") == "achieved") != (is_now.get("state") == "achieved")
            ):
                continue
            causes = (
                _changed_by(selector, before, after, taken_back)
                for picture in (after, before)
                for selector in _deciding(picture, key)
            )
            rows.append(
                {
                    "key": key,
                    "said": instant,
                    "from": was.get("forecast"),
                    "to": is_now.get("forecast"),
                    "own_from": before.own_or_actual.get(key),
                    "own_to": after.own_or_actual.get(key),
                    "slip_days": is_now.get("slip_days"),
                    "state": is_now.get("state"),
                    "driver": is_now.get("driver"),
                    "cause": next(filter(None, causes), said_now[-1]),
                }
            )
    return rows


def _in_order(keys: Iterable[MilestoneId], picture: _Picture) -> list[MilestoneId]:
    """Give milestones in the order of rows; one that is gone has no dates."""
    no_dates = dict.fromkeys(("baseline", "planned", "estimated", "actual", "forecast"))
    names = ("programme", "project", "milestone")
    rows = [picture.rows.get(key, {**no_dates, **dict(zip(names, key, strict=True))}) for key in keys]
    return [(row["programme"], row["project"], row["milestone"]) for row in in_order_of_rows(rows)]


def _picture(events: list[JsonEvent], day: date) -> _Picture:
    claims = counted_claims(events)
    rows = {
        (row["programme"], row["project"], row["milestone"]): row
        # A cancelled milestone has no forecast, slip or driver.
        | ({"forecast": None, "slip_days": None, "driver": None} if row["state"] == "cancelled" else {})
        for row in expected_milestones(events, day)
    }
    shown = {
        key: dates.own_date if dates.actual is None else dates.actual for key, dates in milestone_dates(claims).items()
    }
    return _Picture(
        claims, rows, {key: None if day is None else date.fromordinal(day).isoformat() for key, day in shown.items()}
    )


def _changed_by(
    selector: Selector, before: _Picture, after: _Picture, taken_back: dict[tuple[str, str], ExactStamp]
) -> ExactStamp | None:
    """Give the event of this instant that changed what decides: the newest claim, or what took the newest back."""
    were, are = selector(before.claims), selector(after.claims)
    if are and are[-1] not in before.claims:
        return are[-1].stamp
    return taken_back.get(were[-1].stamp[1:]) if were else None


def _deciding(picture: _Picture, key: MilestoneId) -> Iterator[Selector]:
    """Give what decides a forecast: a cancellation, the actual, else along the drivers, at last an own date."""
    row = picture.rows.get(key)
    if row is None:
        return
    if row["state"] == "cancelled":
        about_milestone, about_project = _about_status(key), _about_project(key)
        if [claim.type for claim in about_milestone(picture.claims)][-1:] == [MILESTONE_CANCELLED]:
            yield about_milestone
        if [claim.type for claim in about_project(picture.claims)][-1:] == [PROJECT_WITHDRAWN]:
            yield about_project
    elif row["actual"] is not None:
        yield _about_dates(key, "ACT")
    elif row["driver"] is not None:
        driver = (key[0], *row["driver"].split("/"))
        yield _about_dependency(key, driver)
        yield from _deciding(picture, driver)
    elif row["forecast"] is not None:
        yield _about_dates(key, "PLN", "EST")


def _is_about(claim: CountedClaim, key: MilestoneId) -> bool:
    return (claim.programme, claim.project, claim.data["milestone"]) == key


def _about_status(key: MilestoneId) -> Selector:
    types = MILESTONE_REPORTED, MILESTONE_CANCELLED
    return lambda claims: [claim for claim in claims_of_types(claims, *types) if _is_about(claim, key)]


def _about_dates(key: MilestoneId, *classifiers: str) -> Selector:
    return lambda claims: [
        claim
        for claim in claims_of_types(claims, MILESTONE_REPORTED)
        if _is_about(claim, key) and claim.data["classifier"] in classifiers
    ]


def _about_project(key: MilestoneId) -> Selector:
    types = PROJECT_REGISTERED, PROJECT_WITHDRAWN
    return lambda claims: [
        claim for claim in claims_of_types(claims, *types) if (claim.programme, claim.project) == key[:2]
    ]


def _about_dependency(key: MilestoneId, driver: MilestoneId) -> Selector:
    types, after = (DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN), {"project": driver[1], "milestone": driver[2]}
    return lambda claims: [
        claim
        for claim in claims_of_types(claims, *types)
        if _is_about(claim, key)
        and claim.data["after"]["project"] == after["project"]
        and claim.data["after"]["milestone"] == after["milestone"]
    ]
