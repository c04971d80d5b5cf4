"""Event types, events and rejections, the milestone catalogue, and the rules of acceptance: contract, sections 1 and 3.

Everything here is immutable and independent of the wire format; `models.domain.cloudevents` decodes and encodes.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from models.domain.timestamps import Instant, Stamp, day_of, instant_from_epoch_ms, make_stamp

SLUG_PATTERN: Final = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
CURRENCY_PATTERN: Final = "[A-Z]{3}"
MAX_VALUE_BYTES: Final = 256 * 1024
FIRST_YEAR, LAST_YEAR = 1990, 2100
UNKNOWN_TYPE: Final = "unknown"

Slug = Annotated[str, Meta(pattern=rf"\A{SLUG_PATTERN}\Z")]
#: How many characters a name, and a sentence for people, may have.
MAX_SHORT_LENGTH: Final = 200
MAX_LONG_LENGTH: Final = 1000
ShortText = Annotated[str, Meta(max_length=MAX_SHORT_LENGTH)]
LongText = Annotated[str, Meta(max_length=MAX_LONG_LENGTH)]
EventId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
Jobs = Annotated[int, Meta(ge=0)]
Currency = Annotated[str, Meta(pattern=rf"\A{CURRENCY_PATTERN}\Z")]
LagDays = Annotated[int, Meta(ge=-3650, le=3650)]


def _meaning(description: str, *examples: object) -> Meta:
    """Return what a field means, with values that it can have: for docs/events.md and the JSON Schemas."""
    return Meta(description=description, examples=list(examples))


class RejectionReason(StrEnum):
    """Why an event is not accepted: the closed set of the contract, section 3."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    INVALID_ENVELOPE = "invalid-envelope"
    UNSUPPORTED_TYPE = "unsupported-type"
    INVALID_DATA = "invalid-data"
    TIME_IN_FUTURE = "time-in-future"
    SOURCE_NOT_ALLOWED = "source-not-allowed"
    CONFLICTING_DUPLICATE = "conflicting-duplicate"
    UNSTORABLE = "unstorable"


class Oddity(StrEnum):
    """A deviation that is tolerated and counted."""

    UNKNOWN_FIELD = "unknown-field"
    HEADER_PREFIX = "header-prefix"
    REPEATED_NAME = "repeated-name"


class Rejection(Struct, frozen=True):
    """The reason why a record is not accepted as an event: a value, never an exception."""

    reason: RejectionReason
    detail: str
    source: str | None = None  # of CloudEvents, when it could be read
    type: str = UNKNOWN_TYPE  # of CloudEvents, when it is a known one


class Money(Struct, frozen=True, gc=False):
    """An amount of money; the currency is an ISO 4217 alphabetic code."""

    amount: Annotated[float, Meta(ge=0), _meaning("How much, in units of the currency.", 12500000)]
    currency: Annotated[
        str, Meta(pattern=rf"\A{CURRENCY_PATTERN}\Z"), _meaning("The alphabetic code of ISO 4217.", "EUR")
    ]

    def __post_init__(self) -> None:
        """Turn -0.0 into 0.0: both are the same content."""
        force_setattr(self, "amount", self.amount + 0.0)


class Predecessor(Struct, frozen=True, gc=False):
    """The milestone that another waits for, of the same programme."""

    project: Annotated[Slug, _meaning("The project of the milestone that is waited for.", "heating-network")]
    milestone: Annotated[Slug, _meaning("The milestone that is waited for.", "park-commissioned")]


_Remark = Annotated[LongText | None, _meaning("A sentence for people.", "Two documents are missing.")]
_Reason = Annotated[Slug | None, _meaning("Why, as a slug of the publisher's own.", "documents-requested")]
_Milestone = Annotated[Slug, _meaning("The milestone of the subject's project.", "permit-approved")]
_ReportedDate = Annotated[date, _meaning("The day, without a time of day.", "2027-04-15")]
_Name = Annotated[ShortText | None, _meaning("What people call it.", "Terminal 2")]
_Investment = Annotated[Money | None, _meaning("The investment that is announced.")]
_Jobs = Annotated[Jobs | None, _meaning("How many jobs are announced.", 120)]
_After = Annotated[Predecessor, _meaning("The milestone that is waited for, of the same programme.")]


class EventData(Struct, frozen=True, gc=False):
    """The data of one event type. An optional field that is null counts as absent.

    Neither data nor events can refer to themselves, so the garbage collector need not look at them.
    """

    TYPE: ClassVar[str]

    def find_error(self, _instant: Instant) -> str | None:
        """Return the violated rule that the field types cannot express, or None."""
        return None


class ProgrammeRegistered(EventData, frozen=True):
    """Properties of a programme; each field is a register of its own."""

    TYPE: ClassVar[str] = "milepost.programme.registered.v1"
    name: _Name = None
    investment: _Investment = None
    jobs: _Jobs = None


class ProjectRegistered(EventData, frozen=True):
    """Properties of a project; each field is a register of its own."""

    TYPE: ClassVar[str] = "milepost.project.registered.v1"
    name: _Name = None
    kind: Annotated[Slug | None, _meaning("What sort of project it is.", "participant", "park")] = None
    site: Annotated[Slug | None, _meaning("The project of the park in which it is sited.", "north-park")] = None
    investment: _Investment = None
    jobs: _Jobs = None


class ProjectWithdrawn(EventData, frozen=True):
    """A project left its programme."""

    TYPE: ClassVar[str] = "milepost.project.withdrawn.v1"
    remark: _Remark = None


class Classifier(StrEnum):
    """The kind of a reported date, with the codes of the shipping industry (DCSA)."""

    PLANNED = "PLN"
    ESTIMATED = "EST"
    ACTUAL = "ACT"


class MilestoneReported(EventData, frozen=True):
    """A claim about one date of one milestone."""

    TYPE: ClassVar[str] = "milepost.milestone.reported.v1"
    milestone: _Milestone
    classifier: Annotated[Classifier, _meaning("Kind of the date: planned, estimated or actual.", "EST")]
    date: _ReportedDate
    reason: _Reason = None
    remark: _Remark = None
    party: Annotated[ShortText | None, _meaning("Who is responsible.", "Port authority")] = None
    amount: Annotated[Money | None, _meaning("The money that goes with the milestone.")] = None
    # The last field, for `Event.digest`.
    name: Annotated[ShortText | None, _meaning("What people call the milestone.", "Building permit")] = None

    def find_error(self, instant: Instant) -> str | None:
        """Return why the date is impossible, or None."""
        if not FIRST_YEAR <= self.date.year <= LAST_YEAR:
            return f"date {self.date} is outside of the years {FIRST_YEAR} to {LAST_YEAR}"
        if self.classifier is Classifier.ACTUAL:
            days_ahead = self.date.toordinal() - day_of(instant).toordinal()
            if days_ahead > 1:
                return f"actual date {self.date} lies {days_ahead} days after the claim was made ({instant}Z)"
        return None


class MilestoneCancelled(EventData, frozen=True):
    """A milestone no longer applies."""

    TYPE: ClassVar[str] = "milepost.milestone.cancelled.v1"
    milestone: _Milestone
    reason: _Reason = None
    remark: _Remark = None


class DependencyDeclared(EventData, frozen=True):
    """The subject's milestone comes at least `lag_days` after another one (finish to start)."""

    TYPE: ClassVar[str] = "milepost.dependency.declared.v1"
    milestone: _Milestone
    after: _After
    lag_days: Annotated[LagDays | None, _meaning("The least number of days between the two.", 14)] = 0

    def __post_init__(self) -> None:
        """Turn null into 0: both are the same content as an absent lag."""
        if self.lag_days is None:
            force_setattr(self, "lag_days", 0)


class DependencyWithdrawn(EventData, frozen=True):
    """A dependency no longer applies."""

    TYPE: ClassVar[str] = "milepost.dependency.withdrawn.v1"
    milestone: _Milestone
    after: _After


class EventRetracted(EventData, frozen=True):
    """Another event of the same source, earlier or later, does not count."""

    TYPE: ClassVar[str] = "milepost.event.retracted.v1"
    retracts: Annotated[EventId, _meaning("The id of an event of the same source.", "2026-0003")]
    reason: Annotated[Literal["did_not_occur", "incorrect_data"], _meaning("Why it does not count.", "incorrect_data")]
    remark: _Remark = None


#: The data classes above by CloudEvents type, in their order.
DATA_TYPES: Final[dict[str, type[EventData]]] = {data.TYPE: data for data in EventData.__subclasses__()}

_encode_json: Final = msgspec.json.Encoder().encode
#: How the content of a report without a name ends. Ledgers have digests from before reports had names: an absent name
#: must not change them.
_ABSENT_NAME: Final = b',"name":null}]'
_SUBJECT_PATTERN = re.compile(rf"({SLUG_PATTERN})(?:/({SLUG_PATTERN}))?")


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """One event, identified for ever by source and id."""

    source: str
    id: str
    programme: str
    project: str  # empty when the subject is the programme alone
    time: Instant  # when the claim was made
    recorded_time: Instant | None = None  # the extension `recordedtime`, which replaces `time`
    correlationid: str | None = None
    causationid: str | None = None
    data: EventData
    oddities: tuple[Oddity, ...] = ()  # not part of the content
    unknown_fields: tuple[str, ...] = ()  # their paths in `data`; not part of the content either

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return self.data.TYPE

    @property
    def instant(self) -> Instant:
        """When the claim was made, for the order of claims."""
        return self.time if self.recorded_time is None else self.recorded_time

    @property
    def stamp(self) -> Stamp:
        """The order of this claim among others."""
        return make_stamp(self.instant, self.source, self.id)

    @property
    def subject(self) -> str:
        """The CloudEvents subject."""
        return f"{self.programme}/{self.project}" if self.project else self.programme

    def digest(self) -> bytes:
        """Return 16 bytes that are equal for equal content, whatever its content mode or JSON spelling."""
        content = (
            self.data.TYPE,
            self.programme,
            self.project,
            self.time,
            self.recorded_time,
            self.correlationid,
            self.causationid,
            self.data,
        )
        encoded = _encode_json(content)
        if encoded.endswith(_ABSENT_NAME):
            encoded = encoded[: -len(_ABSENT_NAME)] + b"}]"
        return blake2b(encoded, digest_size=16).digest()


@lru_cache(maxsize=16_384)
def parse_subject(subject: str) -> tuple[str, str] | None:
    """Return programme and project (empty for the programme alone); None for an invalid subject."""
    match = _SUBJECT_PATTERN.fullmatch(subject)
    return None if match is None else (match[1], match[2] or "")


#: The milestones that every project has, in their usual order. Any other slug is a valid milestone too.
MILESTONE_CATALOGUE: Final = (
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

#: How far the time of a claim may be ahead of the broker's append time: contract, section 3.
MAX_CLOCK_SKEW_MS: Final = 10 * 60 * 1000

#: The sources that may publish for each programme; a programme without an entry accepts any.
AllowedSources = Mapping[str, Sequence[str]]


def latest_acceptable_instant(appended_ms: int) -> Instant:
    """Return the latest time at which a claim may have been made that the broker appended then."""
    return instant_from_epoch_ms(appended_ms + MAX_CLOCK_SKEW_MS)


def check_acceptable(event: Event, appended_ms: int | None, allowed_sources: AllowedSources) -> Event | Rejection:
    """Return the event itself, or a rejection by the broker's clock or the allowed sources.

    Takes the broker's append time; None where only the publisher's own time is known, by which nothing is rejected.
    """
    if appended_ms is not None and event.instant > latest_acceptable_instant(appended_ms):
        times = f"claimed at {event.instant}Z, appended at {instant_from_epoch_ms(appended_ms)}Z"
        detail = f"{times}; is the publisher's clock right?"
        return Rejection(RejectionReason.TIME_IN_FUTURE, detail, event.source, event.type)
    sources = allowed_sources.get(event.programme)
    if sources is not None and event.source not in sources:
        detail = f"source {event.source!r} may not speak for programme {event.programme!r}"
        return Rejection(RejectionReason.SOURCE_NOT_ALLOWED, detail, event.source, event.type)
    return event
