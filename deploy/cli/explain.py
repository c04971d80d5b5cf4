"""`milepost explain`: why a forecast is what it is. The chain of drivers, and what the events behind each link say."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from deploy.cli.console import Line, line_style, print_lines
from models.database.ledger import Name
from models.domain.events import Event
from models.domain.explanation import Evidence
from models.domain.schedule import Standing, State
from models.domain.timestamps import read_stamp
from models.views.explanation import WORDS, Explanation, _days, name_of, said, sentences, what
from models.views.queries import Question


def claim_lines(name: Name, event: Event | None, indent: int) -> Iterator[Line]:
    """Return the lines that tell who said it, and in which words."""
    # A line each: whatever is in a source, it cannot be taken for the id.
    yield Line(f"source: {name.source}", indent, "dim")
    yield Line(f"id: {name.id}", indent, "dim")
    if event is None:
        yield Line("the ledger does not hold this event", indent)
    for word in WORDS:
        if (text := said(event, word)) is not None:
            yield Line(f"{word}: {text}", indent)


def print_explanation(explanation: Explanation) -> None:
    """Print it for people."""
    print_lines(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[Line]:
    yield Line(_headline(explanation.chain[0].standing, explanation.question), style="bold")
    for number, link in enumerate(explanation.chain, start=1):
        standing = link.standing
        day = standing.forecast or "no forecast"
        yield Line("")
        title = f"{number}. {standing.project}/{standing.milestone}: {day}, {standing.state}"
        yield Line(title, style=line_style(standing.state))
        yield Line(" ".join(sentences(link)), indent=3)
        for stamp, its in groupby(link.evidence, key=lambda evidence: evidence.stamp):
            evidence = list(its)
            yield from _event_lines(
                evidence, explanation.events.get(name_of(evidence[0])), f"{read_stamp(stamp).instant}Z"
            )


def _headline(standing: Standing, question: Question) -> str:
    """Return in one sentence how a milestone stands."""
    name = "/".join(standing.key)
    day = standing.forecast
    if day is None:
        told = "has no forecast"
    elif standing.actual is not None:
        told = f"was achieved on {day}"
    else:
        told = f"is forecast for {day}"
    if standing.state is State.CANCELLED:
        told = f"is cancelled, and otherwise {told}"
    float_days = "none" if standing.float_days is None else _days(standing.float_days)
    return (
        f"{name} {told} (data date {question.data_date}{',' if question.then else ''}{question.then}): "
        f"state {standing.state}, {_slip(standing)}, float {float_days}."
    )


def _slip(standing: Standing) -> str:
    slip = standing.slip_days
    if slip is None:
        return "no baseline to slip from" if standing.baseline is None else "no slip"
    if slip == 0:
        return f"on its baseline of {standing.baseline}"
    return f"{_days(abs(slip))} {'later' if slip > 0 else 'earlier'} than its baseline of {standing.baseline}"


def _event_lines(evidence: Sequence[Evidence], event: Event | None, time: str) -> Iterator[Line]:
    roles = " and ".join(each.role for each in evidence)
    yield Line(f"{time} {roles}{what(event)}", indent=3)
    yield from claim_lines(name_of(evidence[0]), event, indent=5)
