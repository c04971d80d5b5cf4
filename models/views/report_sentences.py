"""Sentences of a report: what an event says, who said it and why, and how a forecast moved."""

from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple

from models.domain import events
from models.domain.claims import MilestoneKey
from models.domain.events import Classifier, Event
from models.domain.history import HistoryEntry
from models.views.explanation import data_field, days_phrase
from models.views.formatting import format_count, format_day, format_instant

#: How many milestones are named that moved with another.
MAX_FOLLOWERS: Final = 10


class Words(NamedTuple):
    """A part of a sentence."""

    text: str
    #: `name`, `slug`, `late`, `early` or `source`; empty for plain words.
    style: str = ""
    #: The milestone that the words name.
    milestone: MilestoneKey | None = None


Sentence = Sequence[Words]


def name_words(key: MilestoneKey) -> Words:
    """Return the name of a milestone."""
    return Words(f"{key.project}/{key.milestone}", "name", key)


def deviation_text(days: int, than: str) -> str:
    """Return by how many days a date is later or earlier than another."""
    if not days:
        return "as was said"
    return f"{days_phrase(abs(days))} {'later' if days > 0 else 'earlier'} {than}"


def slip_words(days: int) -> Words:
    """Return by how many days a milestone comes after or before its baseline."""
    side = "after" if days > 0 else "before"
    return Words(f"{days_phrase(abs(days))} {side} its baseline", "late" if days > 0 else "early")


def movement_words(entry: HistoryEntry) -> list[Words]:
    """Return how a forecast moved. Of an overdue milestone the day that had passed counts, which no day moves."""
    previous, own = entry.previous, entry.own_previous
    if own is not None and previous == entry.said_on and own < entry.said_on:
        previous = own
    if previous is None or entry.current is None:
        return [Words(f": {day_or_none(previous)} → {day_or_none(entry.current)}")]
    days = (entry.current - previous).days
    words = [Words(f": {format_day(previous)} → {format_day(entry.current)}")]
    if days:
        words += [Words(", "), Words(deviation_text(days, "").rstrip(), "late" if days > 0 else "early")]
    return words


def day_or_none(day: date | None) -> str:
    """Return a day, or that there is none."""
    return "no date" if day is None else format_day(day)


def movement_sentences(rows: Sequence[HistoryEntry]) -> list[Sentence]:
    """Return how some milestones moved, and how many more did."""
    sentences: list[Sentence] = [[name_words(row.milestone), *movement_words(row)] for row in rows[:MAX_FOLLOWERS]]
    if (hidden := len(rows) - MAX_FOLLOWERS) > 0:
        sentences.append([Words(f"and {format_count(hidden, 'other')} with them")])
    return sentences


def cause_sentence(event: Event) -> list[Words]:
    """Return who said what stands behind a row, when, and why."""
    verbs: dict[type[events.EventData], str] = {
        events.MilestoneCancelled: "Cancelled",
        events.ProjectWithdrawn: "Project withdrawn",
        events.ProjectRegistered: "Project registered",
        events.EventRetracted: "Retracted",
    }
    data = event.data
    verb = verbs.get(type(data), "Said")
    if isinstance(data, (events.DependencyDeclared, events.DependencyWithdrawn)):
        verb = "Said to wait" if isinstance(data, events.DependencyDeclared) else "Said to wait no longer"
        verb += f" for {data.after.project}/{data.after.milestone}"
    sentence = [Words(f"{verb} by "), Words(event.source, "source"), Words(f" on {format_instant(event.instant)}")]
    texts = [text for name in ("reason", "remark") if (text := data_field(event, name))]
    if texts:
        sentence += [Words(": "), Words(". ".join(texts), "source")]
    return sentence


def claim_sentence(event: Event) -> list[Words]:
    """Return what an event says."""
    project = Words(event.project, "name")
    match event.data:
        case events.MilestoneReported(milestone=milestone, classifier=classifier, date=day):
            verb = {Classifier.ACTUAL: "achieved on", Classifier.ESTIMATED: "estimated for"}.get(classifier)
            words = f" {verb or 'planned for'} {format_day(day)}"
        case events.MilestoneCancelled(milestone=milestone):
            words = " cancelled"
        case events.DependencyDeclared(milestone=milestone, after=after):
            words = f" waits for {after.project}/{after.milestone}"
        case events.DependencyWithdrawn(milestone=milestone, after=after):
            words = f" no longer waits for {after.project}/{after.milestone}"
        case events.ProjectWithdrawn():
            return [Words("project "), project, Words(" withdrawn")]
        case events.ProjectRegistered():
            return [Words("project "), project, Words(" registered")]
        case events.EventRetracted(retracts=event_id):
            return [Words("event "), Words(event_id, "source"), Words(" retracted")]
        case _:
            return [Words("programme registered")]
    return [name_words(MilestoneKey(event.programme, event.project, milestone)), Words(words)]
