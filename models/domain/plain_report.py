"""Plain reports, nearly all events, decoded in one pass: structured mode, and nothing but what the contract names.

`decode_plain_report` may say None of any record, which is then decoded as every other; an event that it returns has to
be the one that would come of that. It is written out, because it runs for every event: a pattern in a field's type is a
regular expression that msgspec evaluates for every value, where the same few slugs come again and again.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from models.domain.attribute_faults import MAX_ATTRIBUTE_LENGTH
from models.domain.envelope import STRUCTURED_CONTENT_TYPE, STRUCTURED_HEADERS, Headers
from models.domain.events import (
    FIRST_YEAR,
    LAST_YEAR,
    MAX_LONG_LENGTH,
    MAX_SHORT_LENGTH,
    MAX_VALUE_BYTES,
    SLUG_PATTERN,
    Classifier,
    Event,
    MilestoneReported,
    Money,
    Oddity,
    parse_subject,
)
from models.domain.json_values import MalformedError, check_encoding_and_depth, find_repeated_name
from models.domain.timestamps import parse_instant

_PLAIN_HEADER: Final = STRUCTURED_HEADERS[0]
_FIRST_DATE, _LAST_DATE = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
_SLUG: Final = re.compile(SLUG_PATTERN)
# Attribute access on an enumeration is slow.
_ACTUAL: Final = Classifier.ACTUAL
#: How many quotation marks the JSON of a report has whose optional fields are all missing: of nine names and eight
#: texts, and of the name `data`. An optional field adds four.
_LEAST_QUOTATION_MARKS: Final = 38


class _Money(Money, frozen=True, forbid_unknown_fields=True):
    pass


# No instance refers to itself, so the garbage collector need not look at any.
class _Data(Struct, forbid_unknown_fields=True, gc=False):
    """The fields of a report; `decode_plain_report` checks their texts and the date."""

    milestone: str
    classifier: Classifier
    date: date
    reason: str | None = None
    remark: str | None = None
    party: str | None = None
    amount: _Money | None = None
    name: str | None = None


class _Report(Struct, kw_only=True, gc=False):
    """A report without unknown fields or base64, with its data."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: Literal["milepost.milestone.reported.v1"]
    subject: str
    time: str
    data: _Data
    recordedtime: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    data_base64: None = None
    # Not read: with them, the quotation marks of nearly every report can be counted.
    datacontenttype: str | None = None
    dataschema: str | None = None
    partitionkey: str | None = None


_decode_report: Final = msgspec.json.Decoder(_Report).decode


@lru_cache(maxsize=16_384)
def _is_slug(text: str) -> bool:
    return _SLUG.fullmatch(text) is not None


def decode_plain_report(headers: Headers, value: bytes) -> Event | None:  # noqa: PLR0911 - as above
    """Return the event in a record; None if it has to be decoded field by field, whatever the reason."""
    if len(headers) == 1:
        if headers[0] != _PLAIN_HEADER:
            return None
    elif dict(headers).get("content-type") != STRUCTURED_CONTENT_TYPE:
        return None
    if len(value) > MAX_VALUE_BYTES:
        return None
    try:
        report = _decode_report(value)
        # Recursion and texts are safe by now: what the decoder skipped is still to be checked.
        has_more = value.count(b'"') > _count_quotation_marks(report)
        if has_more or not value.isascii():
            check_encoding_and_depth(value)
        time = parse_instant(report.time)
        recorded = None if report.recordedtime is None else parse_instant(report.recordedtime)
    except (MalformedError, msgspec.DecodeError, ValueError, RecursionError):
        return None
    source, event_id, data, parts = report.source, report.id, report.data, parse_subject(report.subject)
    if (
        parts is None
        or not parts[1]
        or not 0 < len(source) <= MAX_ATTRIBUTE_LENGTH
        or not 0 < len(event_id) <= MAX_ATTRIBUTE_LENGTH
        # Printable text has no control characters.
        or not source.isprintable()
        or not event_id.isprintable()
        or not _is_slug(data.milestone)
        or not _FIRST_DATE <= data.date <= _LAST_DATE
        or (data.reason is not None and not _is_slug(data.reason))
        or (data.remark is not None and len(data.remark) > MAX_LONG_LENGTH)
        or (data.party is not None and len(data.party) > MAX_SHORT_LENGTH)
        or (data.name is not None and len(data.name) > MAX_SHORT_LENGTH)
    ):
        return None
    amount = None if data.amount is None else Money(*astuple(data.amount))
    content = MilestoneReported(
        data.milestone, data.classifier, data.date, data.reason, data.remark, data.party, amount, data.name
    )
    if data.classifier is _ACTUAL and content.find_error(recorded or time) is not None:
        return None
    return Event(
        source=source,
        id=event_id,
        programme=parts[0],
        project=parts[1],
        time=time,
        recorded_time=recorded,
        correlationid=report.correlationid,
        causationid=report.causationid,
        data=content,
        oddities=(Oddity.REPEATED_NAME,) if has_more and find_repeated_name(value) is not None else (),
    )


def _count_quotation_marks(report: _Report) -> int:
    """Return how many quotation marks a report has at least; a name that stands twice, but not it alone, adds some."""
    data = report.data
    optional = (
        *(report.recordedtime, report.correlationid, report.causationid, report.datacontenttype, report.dataschema),
        *(report.partitionkey, data.reason, data.remark, data.party, data.amount, data.name),
    )
    marks = _LEAST_QUOTATION_MARKS + 4 * (len(optional) - optional.count(None))
    # An amount is no text, but has two names and a text.
    return marks if data.amount is None else marks + 4
