"""The examples in docs/events.md: an event of each type, an input for each reason of a rejection, what Milepost writes.

Whatever a detail says in the page was said by the code about the example beside it.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from msgspec.inspect import StructType

from models.domain.cloudevents import decode
from models.domain.data_fields import data_fields
from models.domain.dead_letters import dead_letter_content, dead_letter_key
from models.domain.envelope import STRUCTURED_HEADERS, Headers
from models.domain.events import (
    DATA_TYPES,
    MAX_VALUE_BYTES,
    DependencyDeclared,
    EventRetracted,
    MilestoneReported,
    ProgrammeRegistered,
    Rejection,
    RejectionReason,
    check_acceptable,
)
from models.domain.forecast_changes import HistoryRow, encode_changes
from models.domain.timestamps import epoch_seconds, parse_instant

JsonObject = dict[str, Any]

SOURCE: Final = "//port-authority.example"
#: When the records of the examples were appended.
APPENDED: Final = "2026-02-03T13:30:05Z"
APPENDED_MS: Final = round(1000 * epoch_seconds(parse_instant(APPENDED)))
#: Under these the example of `source-not-allowed` is rejected.
ALLOWED_SOURCES: Final[Mapping[str, list[str]]] = {"harbour": [SOURCE]}


def example_data(struct: type, *, required_only: bool = False) -> JsonObject:
    """Return data with the first example of each field."""
    return {
        field.name: example_data(field.kind.cls) if isinstance(field.kind, StructType) else field.examples[0]
        for field in data_fields(struct)
        if field.is_required or not required_only
    }


def example_event(event_type: str, data: JsonObject | None = None, **attributes: str) -> JsonObject:
    """Return an event of a type, with all fields of its data unless others are given."""
    return {
        "specversion": "1.0",
        "id": "2026-0004",
        "source": SOURCE,
        "type": event_type,
        "subject": "harbour" if event_type == ProgrammeRegistered.TYPE else "harbour/terminal-2",
        "time": "2026-02-03T15:30:00+02:00",
        **attributes,
        "data": example_data(DATA_TYPES[event_type]) if data is None else data,
    }


#: The shortest event: it has nothing that may be left out.
SHORT_EVENT: Final = example_event(
    MilestoneReported.TYPE, {"milestone": "permit-approved", "classifier": "EST", "date": "2027-04-15"}
)


def binary_headers(event: JsonObject) -> list[tuple[str, str]]:
    """Return the headers of an event in binary mode."""
    attributes = [(f"ce_{name}", content) for name, content in event.items() if name != "data"]
    return [*attributes, ("content-type", "application/json")]


class RejectedInput(NamedTuple):
    """A record that is rejected, and what its publisher has to do."""

    reason: RejectionReason
    #: What is special about the record, and when it is rejected.
    about: str
    value: bytes
    remedy: str
    #: How the page writes the value; None for the value as it is.
    shown: str | None = None

    @property
    def headers(self) -> Headers:
        """All of the examples are in structured mode."""
        return STRUCTURED_HEADERS

    def detail(self) -> str | None:
        """Return the detail of the rejection; None for a reason that only the database finds."""
        outcome = decode(self.headers, self.value)
        if not isinstance(outcome, Rejection):
            outcome = check_acceptable(outcome, APPENDED_MS, ALLOWED_SOURCES)
        return outcome.detail if isinstance(outcome, Rejection) else None


def _with(**attributes: Any) -> bytes:  # noqa: ANN401 - JSON
    return json.dumps(SHORT_EVENT | attributes).encode()


def _with_data(**fields: Any) -> bytes:  # noqa: ANN401 - JSON
    return _with(data=SHORT_EVENT["data"] | fields)


REJECTED_INPUTS: Final = (
    RejectedInput(
        RejectionReason.MALFORMED,
        "The value is no JSON object: here it is cut off. An array, a null value, other encodings than UTF-8, and JSON"
        " that is nested too deep have this reason too.",
        json.dumps(SHORT_EVENT).encode()[:64],
        "Write one JSON object in each record, in UTF-8.",
    ),
    RejectedInput(
        RejectionReason.TOO_LARGE,
        "The value has more than 256 KiB.",
        _with_data(remark="x" * MAX_VALUE_BYTES),
        "Leave documents where they are, and name them in the remark.",
        json.dumps(SHORT_EVENT | {"data": {**SHORT_EVENT["data"], "remark": "xxx…"}}, ensure_ascii=False),
    ),
    RejectedInput(
        RejectionReason.INVALID_ENVELOPE,
        "An attribute is missing or breaks its rule: here a subject that people would write.",
        _with(subject="Harbour/Terminal 2"),
        "Make slugs of names, once, and keep them: the name itself belongs into a registration.",
    ),
    RejectedInput(
        RejectionReason.UNSUPPORTED_TYPE,
        "The type is none of those above: here a version that does not exist.",
        _with(type="milepost.milestone.reported.v2"),
        "Write a type of this page.",
    ),
    RejectedInput(
        RejectionReason.INVALID_DATA,
        "A field of the data is missing or breaks its rule: here a value that is not allowed.",
        _with_data(classifier="PLAN"),
        "Compare the data with `milepost schema TYPE`, for example with `milepost check`.",
    ),
    RejectedInput(
        RejectionReason.TIME_IN_FUTURE,
        f"The claim was made more than 10 minutes after the broker appended it: here it was appended at {APPENDED}. A"
        " topic on which publishers set the records' time never has this reason.",
        _with(time="2026-02-03T15:30:00Z"),
        "Mostly an offset is wrong, as here, where local time was called UTC; or set the clock right.",
    ),
    RejectedInput(
        RejectionReason.SOURCE_NOT_ALLOWED,
        f"The settings of the workers name the sources of the programme: `{json.dumps(ALLOWED_SOURCES)}`.",
        _with(source="//elsewhere.example"),
        "Ask whoever runs the workers (`MILEPOST_ALLOWED_SOURCES`); then they replay the dead letter.",
    ),
    RejectedInput(
        RejectionReason.CONFLICTING_DUPLICATE,
        "An event of this source and id was accepted before, with other content: here with the date 2027-04-15.",
        _with_data(date="2027-05-01"),
        "A new claim has a new id.",
    ),
    RejectedInput(
        RejectionReason.UNSTORABLE,
        "The database refuses this one record: here it has a trigger of its own that lets no milestone be called"
        " `frozen`. No event of this page is refused by the tables as they are made.",
        _with_data(milestone="frozen"),
        "Tell whoever runs the database.",
    ),
)

#: What the detail of the last two begins with; a test compares.
DATABASE_DETAILS: Final[Mapping[RejectionReason, str]] = {
    RejectionReason.CONFLICTING_DUPLICATE: (
        f"another event of source {SOURCE!r} with id {SHORT_EVENT['id']!r} has other content"
    ),
    RejectionReason.UNSTORABLE: "the database refuses it:",
}


def retraction_example() -> JsonObject:
    """Return the retraction of the shortest event."""
    data = {"retracts": SHORT_EVENT["id"], "reason": "did_not_occur", "remark": "The letter was about terminal 1."}
    return example_event(EventRetracted.TYPE, data, id="2026-0005", time="2026-02-04T09:00:00+02:00")


def amended_example() -> JsonObject:
    """Return the shortest event again, with another date, as an amended record of the same occurrence."""
    data = SHORT_EVENT["data"] | {"date": "2027-04-18"}
    return example_event(MilestoneReported.TYPE, data, id="2026-0006", recordedtime="2026-02-04T09:05:00+02:00")


def change_examples() -> list[JsonObject]:
    """Return an event of each type in `changes`: a gate that was achieved, 31 days late."""
    row = HistoryRow(
        programme="harbour",
        number=12,
        project="terminal-2",
        milestone="permit-approved",
        revision=7,
        recorded_ms=APPENDED_MS,
        previous=date(2026, 1, 3),
        current=date(2026, 2, 3),
        slip_days=31,
        state="achieved",
        driver_project=None,
        driver_milestone=None,
        dependents=4,
        cause_source=SOURCE,
        cause_id="2026-0004",
        correlationid=None,
    )
    return [json.loads(event) for event in encode_changes(row)]


def dead_letter_example() -> tuple[str, list[tuple[str, str]], bytes]:
    """Return key, headers and value of a dead letter."""
    [rejected] = [given for given in REJECTED_INPUTS if given.reason is RejectionReason.INVALID_DATA]
    outcome = decode(rejected.headers, rejected.value)
    if not isinstance(outcome, Rejection):
        raise TypeError("the example is accepted")
    origin = ("milepost.events", 3, 1042)
    value, headers = dead_letter_content(*origin, rejected.headers, rejected.value, outcome)
    shown = [(name, (content or b"").decode()) for name, content in headers]
    return dead_letter_key(*origin).decode(), shown, value or b""


def file_events() -> list[JsonObject]:
    """Return the events that the three files hold: all files say the same."""
    declared = example_event(
        DependencyDeclared.TYPE,
        {
            "milestone": "construction-started",
            "after": {"project": "terminal-2", "milestone": "permit-approved"},
            "lag_days": 14,
        },
        id="2026-0007",
    )
    return [SHORT_EVENT, declared]


def csv_file() -> str:
    """Return the events as a table."""
    rows = [_flatten(event) for event in file_events()]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def yaml_file() -> str:
    """Return the events as a list."""
    events = [{name: content for name, content in event.items() if name != "specversion"} for event in file_events()]
    indented = [["  " + line for line in _yaml_lines(event)] for event in events]
    return "\n".join(line for first, *others in indented for line in (f"- {first[2:]}", *others))


def _yaml_lines(document: Mapping[str, Any]) -> Iterator[str]:
    for name, content in document.items():
        if isinstance(content, dict):
            yield f"{name}:"
            yield from ("  " + line for line in _yaml_lines(content))
        else:
            yield f"{name}: {content}"


def _flatten(event: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, content in event.items():
        if name == "data":
            row |= {
                f"{field}.{inner}" if inner else field: part
                for field, value in content.items()
                for inner, part in (value.items() if isinstance(value, dict) else [("", value)])
            }
        elif name != "specversion":
            row[name] = content
    return row
