"""models.views.explanation."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine

from models.database.ledger import Name, read_events
from models.domain.claims import MilestoneKey
from models.domain.events import Classifier, DependencyDeclared, Event, MilestoneReported, ProjectWithdrawn
from models.domain.explanation import Evidence, Link, SetBy, Why, explain
from models.domain.schedule import State, picture
from models.domain.timestamps import read_stamp
from models.views.queries import Question, asking, check_milestone, read_answer

#: What an event may say beside its dates, in the order in which it is shown.
WORDS: Final = ("reason", "remark", "party")


def said(event: Event | None, name: str) -> Any:  # noqa: ANN401 - a field of any event's data
    """Return what an event says under a name; None when it says nothing, or when there is no event."""
    return None if event is None else getattr(event.data, name, None)


class Explanation(NamedTuple):
    """A chain, with the events behind it."""

    question: Question
    #: From the milestone asked about down to the one whose date is its own.
    chain: Sequence[Link]
    events: Mapping[Name, Event]


def read_explanation(engine: Engine, key: MilestoneKey, question: Question) -> Explanation:
    """Return why a milestone's forecast is what it is; of the question, only the day and the past count.

    Raises `DatabaseError`, and `QuestionError` for what no event names.
    """
    asked = question._replace(programme=key.programme, project=key.project)
    with asking(engine) as connection:
        facts = read_answer(connection, asked)
        check_milestone(facts, key, asked.then)
        chain = explain(facts, picture(facts, asked.data_date), key)
        names = {name_of(evidence) for link in chain for evidence in link.evidence}
        return Explanation(asked, chain, read_events(connection, sorted(names)))


def name_of(evidence: Evidence) -> Name:
    """Return what names the event behind a piece of evidence."""
    return Name(*read_stamp(evidence.stamp)[1:])


def as_json(explanation: Explanation) -> str:
    """Return it as one JSON object; in ASCII, for a terminal obeys some of what JSON leaves raw."""
    standing = explanation.chain[0].standing
    shown = {
        **standing.key._asdict(),
        "data_date": explanation.question.data_date,
        "forecast": standing.forecast,
        "state": standing.state,
        "slip_days": standing.slip_days,
        "float_days": standing.float_days,
        "driver": None if standing.driver is None else str(standing.driver),
        "chain": [_link_as_json(link, explanation.events) for link in explanation.chain],
    }
    return json.dumps(shown, default=str) + "\n"


def _link_as_json(link: Link, events: Mapping[Name, Event]) -> dict[str, Any]:
    standing = link.standing
    return {
        "project": standing.project,
        "milestone": standing.milestone,
        "forecast": standing.forecast,
        "state": standing.state,
        "own_date": link.own_date,
        "own_classifier": link.own_classifier,
        "set_by": link.set_by,
        "lag_days": link.lag_days,
        "events": [_event_as_json(evidence, events.get(name_of(evidence))) for evidence in link.evidence],
        "left_out": [{**left_out.gate._asdict(), "why": left_out.why} for left_out in link.left_out],
    }


def _event_as_json(evidence: Evidence, event: Event | None) -> dict[str, Any]:
    instant, source, event_id = read_stamp(evidence.stamp)
    return {
        "role": evidence.role,
        "type": None if event is None else event.type,
        "source": source,
        "id": event_id,
        "time": f"{instant}Z",
        **{name: said(event, name) for name in ("date", "lag_days", *WORDS)},
    }


def _days(days: int) -> str:
    return f"{days} day" if abs(days) == 1 else f"{days} days"


_WORDS: Final = {Classifier.PLANNED: "planned", Classifier.ESTIMATED: "estimated"}
_WHY: Final = {
    Why.CANCELLED: "that is cancelled",
    Why.NO_FORECAST: "that has no forecast",
    Why.CYCLE: "that would close a cycle",
}


def sentences(link: Link) -> Iterator[str]:
    """Say what set the forecast, and what did not."""
    own = "" if link.own_classifier is None else f"{link.own_date} ({_WORDS[link.own_classifier]})"
    if link.standing.state is State.CANCELLED:
        yield "It is cancelled: nothing waits for it."
    match link.set_by:
        case SetBy.ACTUAL:
            yield "It has happened: this is its actual date."
        case SetBy.ESTIMATED | SetBy.PLANNED:
            yield f"This is its {link.set_by} date: the newest word on it, and nothing that it waits for comes later."
        case SetBy.DATA_DATE if own:
            yield f"Its own date, {own}, has passed."
            yield "Nobody reported it as done, so it cannot come before the data date."
        case SetBy.DATA_DATE:
            yield "It has no date of its own, and what it waits for comes no later than the data date."
        case SetBy.DRIVER:
            yield f"It waits for {link.standing.driver}{_lag(link.lag_days or 0)}."
            yield f"Its own date, {own}, is earlier." if own else "It has no date of its own."
        case SetBy.NOTHING:
            yield "It has no date of its own, and waits for nothing that has one."
    for gate, why in link.left_out:
        yield f"It does not wait for {gate}: {_WHY[why]}."


def _lag(days: int) -> str:
    if days == 0:
        return ", and cannot come before it"
    return (
        f", and comes {'at least' if days > 0 else 'at most'} {_days(abs(days))} {'after' if days > 0 else 'before'} it"
    )


def what(event: Event | None) -> str:
    """Return what an event says beside its words, to stand behind its role."""
    match None if event is None else event.data:
        case MilestoneReported(date=day):
            return f" {day}"
        case DependencyDeclared(after=after, lag_days=lag_days):
            return f" on {after.project}/{after.milestone}, lag {_days(lag_days or 0)}"
        case ProjectWithdrawn():
            return " of the project"
        case _:
            return ""
