"""Publishers for tests: every kind of valid event, in small worlds where events meet, and in volume.

Whatever comes out of here is acceptable by the contract: every stamp lies before `UNTIL`, and no actual date
more than a day after its stamp. `structured` and `binary` say how an event travels as a Kafka record.
"""

import json
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    DEPENDENCY_WITHDRAWN,
    EVENT_RETRACTED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    MILESTONE_SEQUENCE,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    JsonEvent,
    seconds_since_day_zero,
)

Headers = list[tuple[str, bytes]]

STAMP_LIMIT = datetime(2026, 11, 1, tzinfo=UTC)

# Names whose order differs between code points and the collations of most databases.
PROGRAMMES = ("north", "n.2")
PROJECTS = ("a-z", "a.b", "ab")
MILESTONES = ("design-completed", "permit-approved", "permit-approved-2", "x")
SOURCES = ("https://plans.example/North", "https://plans.example/north", "/Über/büro 🏗")
EVENT_IDS = ("1", "2", "10", "B", "a", "é", "e\N{COMBINING ACUTE ACCENT}", "\N{REPLACEMENT CHARACTER}", "🏗")
UNPUBLISHED_ID = "never-published"

TIMES = (
    # One instant in many spellings: only source and id decide between these.
    "2026-03-10T12:00:00Z",
    "2026-03-10T12:00:00-00:00",
    "2026-03-10t12:00:00z",
    "2026-03-10T12:00:00.000000000000Z",
    "2026-03-10T14:00:00+02:00",
    "2026-03-10T06:30:00.0-05:30",
    "2026-03-11T11:59:00+23:59",
    # Next to it, by less than a microsecond, a nanosecond or anything a clock can tell.
    "2026-03-10T11:59:59.9999999Z",
    "2026-03-10T11:59:59.999999999Z",
    "2026-03-10T12:00:00.0000001Z",
    "2026-03-10T12:00:00.000000001Z",
    "2026-03-10T12:00:00.0000000010Z",
    "2026-03-10T14:00:00.000000002+02:00",
    "2026-03-10T12:00:00.000000000000000000001Z",
    "2026-03-10T12:00:00.1Z",
    "2026-03-10T12:00:00.09Z",
    "2026-03-10T12:00:00.123456Z",
    "2026-03-10T12:00:00.1234567Z",
    "2026-03-10T12:00:01Z",
    # As text these stand in the wrong order, and some are of another day in UTC.
    "2026-03-10T23:59:59.999999Z",
    "2026-03-11T00:00:00Z",
    "2026-03-10T19:00:00-05:00",
    "2026-03-11T02:00:00+14:00",
    "2026-03-09T23:00:00-12:00",
    # Long before, and as late as it gets.
    "1999-12-31T23:59:59Z",
    "2024-02-29T08:00:00+05:00",
    "2025-12-31T23:30:00-01:00",
    "2026-01-01T00:30:00Z",
    "2026-07-01T09:00:00+01:00",
    "2026-10-31T23:59:59.999999999Z",
)
DATES = tuple(
    date.fromisoformat(day)
    for day in (
        "1990-01-01",
        "1999-12-31",
        "2024-02-29",
        "2026-03-09",
        "2026-03-10",
        "2026-03-11",
        "2026-04-30",
        "2026-10-31",
        "2026-11-01",
        "2027-01-31",
        "2100-12-31",
    )
)
ODD_TEXTS = (
    "Wharf 7",
    'O\'Brien "& Sons"; DROP TABLE milestones; --',
    "مرحبا بالعالم",
    "left \N{RIGHT-TO-LEFT OVERRIDE}thgir",
    "Қазақстан, 東京, ไทย",
    "e\N{COMBINING ACUTE ACCENT} is not é",
    "👩\N{ZERO WIDTH JOINER}🏭 🏗️",
    "a\\b\\u0041\ttab\nline\r\n100 %s {0} $1 <b>&amp;",
    "\N{LINE SEPARATOR}\N{BYTE ORDER MARK}\x7f",
    "NUL \0 inside",
    "x" * 200,
    "🏭" * 200,
    "null",
)


# One character of every sort. All of Unicode would cost the first test of a day seconds, for no more kinds.
CHARACTERS = (
    "a Z0'\"\\/%_;{\0\t\n\x7f\xa0ßé中ع\uffff🏗"
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{COMBINING ACUTE ACCENT}\N{LINE SEPARATOR}\N{CYRILLIC SMALL LETTER KA}"
)


def texts(max_size: int = 200) -> SearchStrategy[str]:
    """Any text that JSON can carry, the odd ones often."""
    odd = tuple(text for text in ODD_TEXTS if len(text) <= max_size)
    return st.sampled_from(odd) | st.text(CHARACTERS, min_size=1, max_size=min(max_size, 20))


def _biased_to_first(names: tuple[str, ...]) -> SearchStrategy[str]:
    # Claims have to be about the same thing before it matters which of them wins.
    return st.sampled_from((*names[:1] * 2 * len(names), *names))


def amounts() -> SearchStrategy[dict[str, Any]]:
    """Give money: nothing, cents, thousands of millions."""
    values = st.sampled_from((0, 1, 0.1, 1234567.89, 10**12)) | st.integers(0, 10**9)
    currencies = st.sampled_from(("EUR", "KZT", "USD"))
    return st.fixed_dictionaries({"amount": values, "currency": currencies})


FieldStrategies = dict[str, SearchStrategy[Any]]


def _data_fields() -> dict[str, tuple[FieldStrategies, FieldStrategies]]:
    remark: FieldStrategies = {"remark": texts(1000)}
    reason: FieldStrategies = {"reason": st.sampled_from(("funding", "supplier-late"))}
    announced: FieldStrategies = {"name": texts(), "investment": amounts(), "jobs": st.integers(0, 5000)}
    project = _biased_to_first(PROJECTS)
    sited: FieldStrategies = {"kind": st.sampled_from(("park", "participant")), "site": project}
    milestone: FieldStrategies = {"milestone": _biased_to_first(MILESTONES)}
    after: FieldStrategies = {"after": st.fixed_dictionaries({"project": project, **milestone})}
    lag: FieldStrategies = {"lag_days": st.sampled_from((-3650, -1, 0, 1, 30, 3650))}
    retracts: FieldStrategies = {
        # Of the same source or of another, a retraction or not, in the set or not: chance decides.
        "retracts": st.sampled_from((*EVENT_IDS, UNPUBLISHED_ID)),
        "reason": st.sampled_from(("did_not_occur", "incorrect_data")),
    }
    return {
        PROGRAMME_REGISTERED: ({}, announced),
        PROJECT_REGISTERED: ({}, announced | sited),
        PROJECT_WITHDRAWN: ({}, remark),
        MILESTONE_REPORTED: (milestone, reason | remark | {"party": texts(), "amount": amounts(), "name": texts()}),
        MILESTONE_CANCELLED: (milestone, reason | remark),
        DEPENDENCY_DECLARED: (milestone | after, lag),
        DEPENDENCY_WITHDRAWN: (milestone | after, {}),
        EVENT_RETRACTED: (retracts, remark),
    }


# Unknown fields are ignored, whatever they would mean in an event of another type.
_UNKNOWN_FIELDS: FieldStrategies = {"colour": st.just("blue"), "retracts": st.just("1")}
_DATA_STRATEGIES = {
    kind: st.fixed_dictionaries(required, optional=optional)
    | st.fixed_dictionaries(
        required, optional={name: field for name, field in _UNKNOWN_FIELDS.items() if name not in required} | optional
    )
    for kind, (required, optional) in _data_fields().items()
}


@cache
def _report_dates(stamp: str) -> SearchStrategy[dict[str, str]]:
    last = date.fromordinal(int(seconds_since_day_zero(stamp) // 86400) + 1)
    happened = (*(day for day in DATES if day < last), last)
    allowed = [("PLN", day) for day in DATES] + [("EST", day) for day in DATES] + [("ACT", day) for day in happened]
    return st.sampled_from([{"classifier": classifier, "date": day.isoformat()} for classifier, day in allowed])


_TYPE_STRATEGY = st.sampled_from(
    (
        *(MILESTONE_REPORTED,) * 5,
        *(EVENT_RETRACTED,) * 2,
        MILESTONE_CANCELLED,
        DEPENDENCY_DECLARED,
        DEPENDENCY_WITHDRAWN,
        PROJECT_REGISTERED,
        PROJECT_WITHDRAWN,
        PROGRAMME_REGISTERED,
    )
)
_IDENTITY_STRATEGY = st.tuples(
    st.sampled_from(EVENT_IDS),
    st.sampled_from(SOURCES),
    _biased_to_first(PROGRAMMES),
    _biased_to_first(PROJECTS),
    st.sampled_from(TIMES),
)
_OPTIONAL_ATTRIBUTES: SearchStrategy[dict[str, str]] = st.fixed_dictionaries(
    {},
    optional={
        "recordedtime": st.sampled_from(TIMES),
        "partitionkey": st.sampled_from((*PROGRAMMES, "elsewhere")),
        "correlationid": st.sampled_from(("c-1", "c-🏗")),
        "causationid": st.sampled_from(EVENT_IDS),
        "datacontenttype": st.just("application/json"),
        "weather": st.just("fair"),
    },
)


@st.composite
def events(draw: st.DrawFn) -> JsonEvent:
    """Give one valid event of any type."""
    kind = draw(_TYPE_STRATEGY)
    identifier, source, programme, project, time = draw(_IDENTITY_STRATEGY)
    optional = draw(_OPTIONAL_ATTRIBUTES)
    data = draw(_DATA_STRATEGIES[kind])
    if kind == MILESTONE_REPORTED:
        data = data | draw(_report_dates(optional.get("recordedtime", time)))
    return {
        "specversion": "1.0",
        "id": identifier,
        "source": source,
        "type": kind,
        "subject": programme if kind == PROGRAMME_REGISTERED else f"{programme}/{project}",
        "time": time,
        **optional,
        "data": data,
    }


def event_sets(*, min_size: int = 0, max_size: int = 25) -> SearchStrategy[list[JsonEvent]]:
    """Give events of which no two have the same source and id; there are 27 such names."""

    def sets(at_least: int) -> SearchStrategy[list[JsonEvent]]:
        return st.lists(
            events(), min_size=at_least, max_size=max_size, unique_by=lambda event: (event["source"], event["id"])
        )

    # Small sets for the corners, larger ones so that much meets.
    return sets(min_size) | sets((min_size + max_size) // 2)


def random_events(
    seed: int, count: int, *, programmes: int = 3, projects: int = 20, with_dependencies: bool = False
) -> list[JsonEvent]:
    """Give so many events, the same for the same seed, over this many programmes of this many projects each."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    kinds = {
        MILESTONE_REPORTED: 80,
        MILESTONE_CANCELLED: 4,
        EVENT_RETRACTED: 6,
        PROJECT_REGISTERED: 6,
        PROJECT_WITHDRAWN: 2,
    }
    kinds[PROGRAMME_REGISTERED] = 2
    if with_dependencies:
        kinds |= {DEPENDENCY_DECLARED: 10, DEPENDENCY_WITHDRAWN: 2}
    chosen = chance.choices(list(kinds), weights=list(kinds.values()), k=count)
    return [_random_event(chance, seed, number, kind, (programmes, projects)) for number, kind in enumerate(chosen)]


def _random_event(rng: random.Random, seed: int, number: int, event_type: str, size: tuple[int, int]) -> JsonEvent:
    programmes, projects = size
    programme = f"programme-{rng.randrange(programmes)}"
    project = f"project-{rng.randrange(projects)}"
    # Whole minutes of two years, so that several events share an instant.
    stamp = STAMP_LIMIT - timedelta(minutes=rng.randrange(1, 2 * 365 * 24 * 60))
    event: JsonEvent = {
        "specversion": "1.0",
        "id": f"{seed}-{number}",
        "source": f"https://office-{number % 5}.example",
        "type": event_type,
        "subject": programme if event_type == PROGRAMME_REGISTERED else f"{programme}/{project}",
        "time": _format_time(rng, stamp),
        "partitionkey": programme,
    }
    if rng.random() < 0.1:
        event["time"], event["recordedtime"] = _format_time(rng, stamp - timedelta(days=3)), event["time"]
    event["data"] = _random_data(rng, event_type, stamp, (f"{seed}-{max(0, number - 5)}", project, projects))
    return event


def _format_time(rng: random.Random, time: datetime) -> str:
    if rng.random() < 0.7:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ")
    fraction = rng.choice(("", ".0", ".000000001", ".5", ".123456789012"))
    hours = rng.choice((-8, -3, 1, 5, 9))
    local = time + timedelta(hours=hours)
    return f"{local:%Y-%m-%dT%H:%M:%S}{fraction}{hours:+03d}:00"


def _random_data(rng: random.Random, event_type: str, stamp: datetime, context: tuple[str, str, int]) -> dict[str, Any]:
    earlier, project, projects = context
    place = rng.randrange(len(MILESTONE_SEQUENCE))
    if event_type == EVENT_RETRACTED:
        return {"retracts": earlier, "reason": rng.choice(("did_not_occur", "incorrect_data"))}
    if event_type == PROJECT_WITHDRAWN:
        return {}
    if event_type in {PROJECT_REGISTERED, PROGRAMME_REGISTERED}:
        announced = {
            "name": f"{rng.choice(ODD_TEXTS[:6])} {rng.randrange(100)}",
            "investment": {"amount": rng.randrange(10**9), "currency": rng.choice(("EUR", "USD"))},
            "jobs": rng.randrange(1000),
        }
        if event_type == PROJECT_REGISTERED:
            announced |= {"kind": rng.choice(("park", "participant")), "site": "project-0"}
        return {field: value for field, value in announced.items() if rng.random() < 0.6}
    if event_type in {DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN}:
        # Mostly along the path, within the project or after another one; against it, a cycle may close.
        before = rng.randrange(place) if place and rng.random() < 0.95 else rng.randrange(len(MILESTONE_SEQUENCE))
        other = project if rng.random() < 0.8 else f"project-{rng.randrange(projects)}"
        data = {
            "milestone": MILESTONE_SEQUENCE[place],
            "after": {"project": other, "milestone": MILESTONE_SEQUENCE[before]},
        }
        return data | ({"lag_days": rng.randrange(-30, 90)} if event_type == DEPENDENCY_DECLARED else {})
    if event_type == MILESTONE_CANCELLED:
        return {"milestone": MILESTONE_SEQUENCE[place], "reason": "funding"}
    # The later half of the path is never reached, however many events there are: not everything is achieved.
    classifier = rng.choices(("PLN", "EST", "ACT"), weights=(4, 4, 1 if place < len(MILESTONE_SEQUENCE) / 2 else 0))[0]
    days = rng.randrange(-400, 2) if classifier == "ACT" else rng.randrange(-100, 900)
    day = (stamp + timedelta(days=days)).date()
    data = {"milestone": MILESTONE_SEQUENCE[place], "classifier": classifier, "date": day.isoformat()}
    data |= {"name": rng.choice(ODD_TEXTS[:6])} if rng.random() < 0.1 else {}
    return data | ({"remark": rng.choice(ODD_TEXTS[:6])} if rng.random() < 0.2 else {})


def shuffled_with_duplicates(events: Sequence[JsonEvent], seed: int) -> list[JsonEvent]:
    """Give the events in another order, every third or so a second time and a few a third time."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    again = chance.choices(events, k=len(events) // 2) if events else []
    return chance.sample([*events, *again], len(events) + len(again))


def structured_record(event: JsonEvent) -> tuple[Headers, bytes]:
    """Give headers and value of the Kafka record that carries the whole event in its value."""
    return [("content-type", b"application/cloudevents+json")], _encode_json(event)


def binary_record(event: JsonEvent) -> tuple[Headers, bytes]:
    """Give headers and value of the Kafka record that carries the data alone in its value."""
    content_type = event.get("datacontenttype", "application/json")
    attributes = (item for item in event.items() if item[0] not in {"data", "datacontenttype"})
    headers = [(f"ce_{name}", str(value).encode()) for name, value in attributes]
    return [("content-type", content_type.encode()), *headers], _encode_json(event["data"])


def _encode_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
