"""Which events of a request are accepted: the core's own rules, and what the request's token may say."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from models.domain.cloudevents import decode
from models.domain.events import MAX_VALUE_BYTES, AllowedSources, Event, Rejection, RejectionReason, check_acceptable
from streams.gateway.content_modes import Record
from streams.gateway.tokens import Token

#: So many events are checked before other requests have their turn: a few milliseconds' worth.
_EVENTS_PER_TURN: Final = 100
_MAX_ID_LENGTH: Final = 255
#: What the headers of an event in binary mode may take; a broker takes no record of more than 1 MiB by default.
MAX_HEADER_BYTES: Final = 64 * 1024


class RefusedEvent(Struct, frozen=True):
    """An event of a request that is not accepted."""

    #: Its place in the request, from 0.
    index: int
    #: None when it has none that can be read.
    id: str | None
    reason: RejectionReason
    detail: str


class CheckedRecord(NamedTuple):
    """A record of an accepted event, to be published under the name of its programme."""

    programme: str
    record: Record


class Verdict(NamedTuple):
    """What came of the events of a request."""

    accepted: Sequence[CheckedRecord]
    refused: Sequence[RefusedEvent]


class _Identified(Struct):
    id: Any = None


_decode_id = msgspec.json.Decoder(_Identified).decode


async def check_records(
    records: Sequence[Record], token: Token, now_ms: int, allowed_sources: AllowedSources
) -> Verdict:
    """Check events as a worker would that reads them at this moment, and against what the token may say."""
    accepted: list[CheckedRecord] = []
    refused: list[RefusedEvent] = []
    by_id: dict[tuple[str, str], Event] = {}
    for index, record in enumerate(records):
        if index and index % _EVENTS_PER_TURN == 0:
            await asyncio.sleep(0)
        outcome = check_record(record, token, now_ms, allowed_sources)
        if isinstance(outcome, Event):
            outcome = _check_repetition(outcome, by_id.setdefault((outcome.source, outcome.id), outcome))
        if isinstance(outcome, Event):
            accepted.append(CheckedRecord(outcome.programme, record))
        else:
            refused.append(RefusedEvent(index, _find_id(record), outcome.reason, outcome.detail))
    return Verdict(accepted, refused)


def _check_repetition(event: Event, first: Event) -> Event | Rejection:
    """Return an event, or why it is not accepted beside the first of its source and id in the same request."""
    if first is event or first.digest() == event.digest():
        return event
    detail = f"an earlier event of this request has id {event.id!r} and other content"
    return Rejection(RejectionReason.CONFLICTING_DUPLICATE, detail, event.source, event.type)


def check_record(record: Record, token: Token, now_ms: int, allowed_sources: AllowedSources) -> Event | Rejection:
    """Return the event of a record, or the reason why it is not accepted."""
    if (
        len(record.headers) > 1
        and (size := sum(len(name) + len(text) for name, text in record.headers)) > MAX_HEADER_BYTES
    ):
        return Rejection(RejectionReason.TOO_LARGE, f"{size} bytes of headers, allowed are {MAX_HEADER_BYTES}")
    outcome = decode(record.headers, record.value)
    if isinstance(outcome, Rejection):
        return outcome
    outcome = check_acceptable(outcome, now_ms, allowed_sources)
    if isinstance(outcome, Rejection):
        return outcome
    if not token.allows_source(outcome.source):
        detail = f"this token may not speak for source {outcome.source!r}"
        return Rejection(RejectionReason.SOURCE_NOT_ALLOWED, detail, outcome.source, outcome.type)
    if not token.allows_programme(outcome.programme):
        detail = f"this token may not speak for programme {outcome.programme!r}"
        return Rejection(RejectionReason.SOURCE_NOT_ALLOWED, detail, outcome.source, outcome.type)
    return outcome


def _find_id(record: Record) -> str | None:
    """Return the id of an event that may be anything."""
    found: Any = None
    for name, text in record.headers:
        if name == "ce_id":
            found = text.decode("utf-8", "replace")
    if found is None and len(record.value) <= MAX_VALUE_BYTES:
        try:
            found = _decode_id(record.value).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
    return found[:_MAX_ID_LENGTH] if isinstance(found, str) else None
