"""What is told to others when a forecast moves: CloudEvents of the contract, section 8.

Pure: a history row says it all, down to the bytes, so that a change published twice is twice the same event.
"""

from collections.abc import Iterator
from datetime import date
from hashlib import blake2b
from typing import Any, Final

import msgspec

from models.envelope import STRUCTURED, Headers
from models.instants import instant_at
from models.movements import Noted

FORECAST_CHANGED: Final = "milepost.forecast.changed.v1"
MILESTONE_ACHIEVED: Final = "milepost.milestone.achieved.v1"
GATE_OPENED: Final = "milepost.gate.opened.v1"
#: Who says so.
SOURCE: Final = "/milepost"
HEADERS: Final[Headers] = (("content-type", STRUCTURED.encode()),)


def changes(noted: Noted) -> Iterator[bytes]:
    """Return the events that a history row stands for, in structured mode."""
    if noted.was != noted.becomes:
        told = {"from": noted.was, "to": noted.becomes, "slip_days": noted.slip_days}
        yield _event(FORECAST_CHANGED, noted, {**told, "driver": noted.driver, "state": noted.state})
    if noted.dependents is not None:
        yield _event(MILESTONE_ACHIEVED, noted, {"date": noted.becomes, "slip_days": noted.slip_days})
        if noted.dependents:
            yield _event(GATE_OPENED, noted, {"date": noted.becomes, "dependents": noted.dependents})


def _event(event_type: str, noted: Noted, data: dict[str, date | str | int | None]) -> bytes:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": _name(event_type, noted),
        "source": SOURCE,
        "type": event_type,
        "subject": f"{noted.programme}/{noted.project}",
        "time": f"{instant_at(noted.noted_ms)}Z",
        "partitionkey": noted.programme,
        "causationid": noted.cause_id,
        # An id names an event of its source alone.
        "causationsource": noted.cause_source,
        "datacontenttype": "application/json",
        "data": {"milestone": noted.milestone, **data},
    }
    if noted.correlationid is not None:
        event["correlationid"] = noted.correlationid
    return msgspec.json.encode(event)


def _name(event_type: str, noted: Noted) -> str:
    """Return an id that follows from what changed and why alone: not from when, where or how often it was noted."""
    moved = (noted.programme, noted.project, noted.milestone, noted.was, noted.becomes)
    content = (event_type, *moved, noted.cause_source, noted.cause_id)
    return blake2b(msgspec.json.encode(content), digest_size=16).hexdigest()
