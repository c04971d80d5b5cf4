"""Explains a forecast: the chain of drivers behind it with their events, as sentences and as JSON."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import Connection, Engine

from models.database.ledger import EventKey, read_events
from models.database.queries import read_reports
from models.domain.assumptions import ASSUMED_SOURCE
from models.domain.claims import Claim, MilestoneKey
from models.domain.events import Classifier, DependencyDeclared, Event, MilestoneReported, ProjectWithdrawn
from models.domain.explanation import ChainLink, Evidence, ForecastBasis, IgnoredBecause, explain_forecast
from models.domain.schedule import MilestoneRef, MilestoneStatus, State, compute_schedule
from models.domain.sources import SourceWords, counting_claims, days_between_sources, words_of_sources
from models.domain.timestamps import Instant, parse_stamp
from models.views.names import NO_NAMES, Names, names_of
from models.views.queries import MilestoneQuery, load_facts_for, query_transaction, require_milestone

#: Stands in place of the source of a date that is assumed.
ASSUMED_WORDS: Final = "nobody: this is assumed"
#: The free-text fields of events, in display order.
TEXT_FIELDS: Final = ("reason", "remark", "party")


def data_field(event: Event | None, name: str) -> Any:  # noqa: ANN401 - a field of any event's data
    """Return a data field of an event; None if the event or the field is missing."""
    return None if event is None else getattr(event.data, name, None)


class Explanation(NamedTuple):
    """A chain of drivers with the events behind it."""

    query: MilestoneQuery
    #: From the queried milestone to the one that has no driver.
    chain: Sequence[ChainLink]
    events: Mapping[EventKey, Event]
    names: Names = NO_NAMES
    #: What each source says of the queried milestone.
    sources: Sequence[SourceWords] = ()


def read_sources(connection: Connection, key: MilestoneKey, as_of: Instant | None) -> Sequence[SourceWords]:
    """Return what each source says of a milestone."""
    reports = read_reports(connection, key.programme, as_of, key.project)
    return words_of_sources(reports).get(key, ())


def read_explanation(engine: Engine, key: MilestoneKey, query: MilestoneQuery) -> Explanation:
    """Explain the forecast of a milestone; of the query, only `data_date` and `as_of` count.

    Raises `DatabaseError`, and `QueryError` for a milestone that no event names.
    """
    query = query._replace(programme=key.programme, project=key.project)
    with query_transaction(engine) as connection:
        facts = load_facts_for(connection, query)
        require_milestone(facts, key, query.as_of_phrase)
        chain = explain_forecast(facts, compute_schedule(facts, query.data_date), key)
        keys = {event_key_of(evidence) for link in chain for evidence in link.evidence}
        events, sources = read_events(connection, sorted(keys)), read_sources(connection, key, query.as_of)
        return Explanation(query, chain, events, names_of(facts, key.programme), sources)


def event_key_of(evidence: Evidence) -> EventKey:
    """Return the key of the event behind a piece of evidence."""
    return EventKey(*parse_stamp(evidence.stamp)[1:])


class EvidenceSchema(Struct, frozen=True):
    """A claim that counts, and its role."""

    role: str
    type: str | None
    source: str
    id: str
    #: Null for a date that is assumed: nobody said it at any time.
    time: str | None
    date: str | None
    lag_days: int | None
    reason: str | None
    remark: str | None
    party: str | None


class IgnoredPredecessorSchema(Struct, frozen=True):
    """A predecessor that is ignored, and why."""

    project: str
    milestone: str
    why: str


class ChainLinkSchema(Struct, frozen=True):
    """One milestone of a chain of drivers."""

    project: str
    milestone: str
    forecast: date | None
    state: State
    own_date: date | None
    own_classifier: str | None
    set_by: str
    lag_days: int | None
    events: Sequence[EvidenceSchema]
    left_out: Sequence[IgnoredPredecessorSchema]


class WordSchema(Struct, frozen=True):
    """A date that a source said last of its kind."""

    date: date
    said: str
    id: str
    #: Whether it is the one that counts: of all sources, the one said last.
    counts: bool
    #: How many days later it is than the one that counts.
    days_later: int


class SourceWordsSchema(Struct, frozen=True):
    """What a source says of a milestone."""

    source: str
    planned: WordSchema | None
    estimated: WordSchema | None
    actual: WordSchema | None


class ExplanationSchema(Struct, frozen=True):
    """Why a forecast is what it is; the same as `milepost explain --json`."""

    programme: str
    project: str
    milestone: str
    data_date: date
    forecast: date | None
    state: State
    slip_days: int | None
    float_days: int | None
    driver: str | None
    chain: Sequence[ChainLinkSchema]
    #: What each source says of the milestone; who spoke last stands first.
    sources: Sequence[SourceWordsSchema]
    #: By how many days they differ at most in dates of one kind; null where no two have said the same kind.
    sources_differ_days: int | None
    #: Only where the picture assumes dates that nobody said.
    assumed: Literal[True] | UnsetType = UNSET


def explanation_schema(explanation: Explanation) -> ExplanationSchema:
    """Return an explanation in the form of its JSON."""
    status = explanation.chain[0].status
    return ExplanationSchema(
        *status.key,
        explanation.query.data_date,
        status.forecast,
        status.state,
        status.slip_days,
        status.float_days,
        None if status.driver is None else str(status.driver),
        [_link_schema(link, explanation.events) for link in explanation.chain],
        source_words_schemas(explanation.sources),
        days_between_sources(explanation.sources),
    )


def source_words_schemas(sources: Sequence[SourceWords]) -> list[SourceWordsSchema]:
    """Return what each source says, compared with what counts."""
    counting = counting_claims(sources)

    def word(claim: Claim | None, kind: Classifier) -> WordSchema | None:
        if claim is None:
            return None
        instant, _, event_id = parse_stamp(claim.stamp)
        days = (claim.date - counting[kind].date).days
        return WordSchema(claim.date, f"{instant}Z", event_id, claim == counting[kind], days)

    return [
        SourceWordsSchema(each.source, *(word(each.claims.get(kind), kind) for kind in Classifier)) for each in sources
    ]


def _link_schema(link: ChainLink, events: Mapping[EventKey, Event]) -> ChainLinkSchema:
    """Return the JSON form of a link; both have the fields from the own date to the lag in the same order."""
    status = link.status
    evidence = [
        _assumed_evidence_schema(evidence, status)
        if parse_stamp(evidence.stamp).source == ASSUMED_SOURCE
        else _evidence_schema(evidence, events.get(event_key_of(evidence)))
        for evidence in link.evidence
    ]
    ignored = [IgnoredPredecessorSchema(*gate, because) for gate, because in link.ignored]
    return ChainLinkSchema(
        status.project, status.milestone, status.forecast, status.state, *link[1:5], evidence, ignored
    )


def _assumed_evidence_schema(evidence: Evidence, status: MilestoneStatus) -> EvidenceSchema:
    day = None if status.estimated is None else status.estimated.isoformat()
    return EvidenceSchema(evidence.role, None, ASSUMED_WORDS, str(status.ref), None, day, None, None, None, None)


def _evidence_schema(evidence: Evidence, event: Event | None) -> EvidenceSchema:
    instant, source, event_id = parse_stamp(evidence.stamp)
    day, *fields = (data_field(event, name) for name in ("date", "lag_days", *TEXT_FIELDS))
    return EvidenceSchema(
        evidence.role,
        None if event is None else event.type,
        source,
        event_id,
        f"{instant}Z",
        None if day is None else str(day),
        *fields,
    )


def explanation_to_json(explanation: Explanation) -> str:
    """Return one JSON object; in ASCII, because a terminal interprets some characters that JSON may contain."""
    return json.dumps(msgspec.to_builtins(explanation_schema(explanation))) + "\n"


def days_phrase(days: int) -> str:
    """Return a number of days in words."""
    return f"{days} day" if abs(days) == 1 else f"{days} days"


_IGNORED_BECAUSE_TEXTS: Final = {
    IgnoredBecause.CANCELLED: "that is cancelled",
    IgnoredBecause.NO_FORECAST: "that has no forecast",
    IgnoredBecause.CYCLE: "that would close a cycle",
}


def link_sentences(
    link: ChainLink,
    format_day: Callable[[date], str] = str,
    format_milestone: Callable[[MilestoneRef], str] = str,
) -> Iterator[str]:
    """Yield sentences about what sets the forecast, and which predecessors do not."""
    own = ""
    if link.own_classifier is not None and link.own_date is not None:
        own = f"{format_day(link.own_date)} ({link.own_classifier.name.lower()})"
    if link.status.state is State.CANCELLED:
        yield "It is cancelled: it has no forecast, and nothing waits for it."
        return
    match link.set_by:
        case ForecastBasis.ACTUAL:
            yield "It has happened: this is its actual date."
        case ForecastBasis.ESTIMATED | ForecastBasis.PLANNED:
            yield f"This is its {link.set_by} date: the newest word on it, and nothing that it waits for comes later."
        case ForecastBasis.DATA_DATE if own:
            yield f"Its own date, {own}, has passed."
            yield "Nobody reported it as done, so it cannot come before the data date."
        case ForecastBasis.DATA_DATE:
            yield "It has no date of its own, and what it waits for comes no later than the data date."
        case ForecastBasis.DRIVER if link.status.driver is not None:
            yield f"It waits for {format_milestone(link.status.driver)}{_lag_phrase(link.lag_days or 0)}."
            yield f"Its own date, {own}, is earlier." if own else "It has no date of its own."
        case ForecastBasis.NOTHING:
            yield "It has no date of its own, and waits for nothing that has one."
    for gate, because in link.ignored:
        yield f"It does not wait for {format_milestone(gate)}: {_IGNORED_BECAUSE_TEXTS[because]}."


def _lag_phrase(days: int) -> str:
    if days == 0:
        return ", and cannot come before it"
    bound, side = ("at least", "after") if days > 0 else ("at most", "before")
    return f", and comes {bound} {days_phrase(abs(days))} {side} it"


def event_summary(event: Event | None, format_day: Callable[[date], str] = str) -> str:
    """Return the dates of an event, or what else it is about, as the end of a phrase."""
    match None if event is None else event.data:
        case MilestoneReported(date=day):
            return f" {format_day(day)}"
        case DependencyDeclared(after=after, lag_days=lag_days):
            return f" on {after.project}/{after.milestone}, lag {days_phrase(lag_days or 0)}"
        case ProjectWithdrawn():
            return " of the project"
        case _:
            return ""
