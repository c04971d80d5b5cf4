"""`milepost explain`: why a forecast is what it is. The chain of drivers, and what the events behind each link say."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from deploy.cli.console import ConsoleLine, print_lines, state_text_style
from models.database.ledger import EventKey
from models.domain.events import Event
from models.domain.explanation import Evidence
from models.domain.schedule import MilestoneStatus, State
from models.domain.timestamps import parse_stamp
from models.views.explanation import (
    TEXT_FIELDS,
    Explanation,
    _days_phrase,
    data_field,
    event_key_of,
    event_summary,
    link_sentences,
)
from models.views.queries import MilestoneQuery


def event_source_lines(key: EventKey, event: Event | None, indent: int) -> Iterator[ConsoleLine]:
    """Return the lines that tell who said it, and in which words."""
    # A line each: whatever is in a source, it cannot be taken for the id.
    yield ConsoleLine(f"source: {key.source}", indent, "dim")
    yield ConsoleLine(f"id: {key.id}", indent, "dim")
    if event is None:
        yield ConsoleLine("the ledger does not hold this event", indent)
    for word in TEXT_FIELDS:
        if (text := data_field(event, word)) is not None:
            yield ConsoleLine(f"{word}: {text}", indent)


def print_explanation(explanation: Explanation) -> None:
    """Print it for people."""
    print_lines(_explanation_lines(explanation))


def _explanation_lines(explanation: Explanation) -> Iterator[ConsoleLine]:
    yield ConsoleLine(_headline(explanation.chain[0].status, explanation.query), style="bold")
    for number, link in enumerate(explanation.chain, start=1):
        standing = link.status
        day = standing.forecast or "no forecast"
        yield ConsoleLine("")
        title = f"{number}. {standing.project}/{standing.milestone}: {day}, {standing.state}"
        yield ConsoleLine(title, style=state_text_style(standing.state))
        yield ConsoleLine(" ".join(link_sentences(link)), indent=3)
        for stamp, its in groupby(link.evidence, key=lambda evidence: evidence.stamp):
            evidence = list(its)
            yield from _event_lines(
                evidence, explanation.events.get(event_key_of(evidence[0])), f"{parse_stamp(stamp).instant}Z"
            )


def _headline(status: MilestoneStatus, query: MilestoneQuery) -> str:
    """Return in one sentence how a milestone stands."""
    name = "/".join(status.key)
    day = status.forecast
    if day is None:
        told = "has no forecast"
    elif status.actual is not None:
        told = f"was achieved on {day}"
    else:
        told = f"is forecast for {day}"
    if status.state is State.CANCELLED:
        told = f"is cancelled, and otherwise {told}"
    float_days = "none" if status.float_days is None else _days_phrase(status.float_days)
    return (
        f"{name} {told} (data date {query.data_date}{',' if query.as_of_suffix else ''}{query.as_of_suffix}): "
        f"state {status.state}, {_slip_phrase(status)}, float {float_days}."
    )


def _slip_phrase(status: MilestoneStatus) -> str:
    slip = status.slip_days
    if slip is None:
        return "no baseline to slip from" if status.baseline is None else "no slip"
    if slip == 0:
        return f"on its baseline of {status.baseline}"
    return f"{_days_phrase(abs(slip))} {'later' if slip > 0 else 'earlier'} than its baseline of {status.baseline}"


def _event_lines(evidence: Sequence[Evidence], event: Event | None, time: str) -> Iterator[ConsoleLine]:
    roles = " and ".join(each.role for each in evidence)
    yield ConsoleLine(f"{time} {roles}{event_summary(event)}", indent=3)
    yield from event_source_lines(event_key_of(evidence[0]), event, indent=5)
