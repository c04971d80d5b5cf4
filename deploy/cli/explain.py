"""`milepost explain`: why a forecast is what it is: the chain of drivers, and the events behind each link."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import typer

from deploy.cli.console import ConsoleLine, print_lines, state_text_style
from deploy.cli.options import DatabaseOption, JsonOption
from deploy.cli.query import AsOfOption, DataDateOption, MilestoneArgument, parse_query
from models.configured_engine import open_configured_engine
from models.database.ledger import EventKey
from models.domain.events import Event
from models.domain.schedule import MilestoneStatus, State
from models.domain.sources import SourceWords, days_between_sources
from models.domain.timestamps import parse_stamp
from models.settings import read_settings
from models.views import explanation as view
from models.views.explanation import days_phrase
from models.views.names import Names
from models.views.queries import MilestoneQuery, parse_milestone_name

app = typer.Typer(rich_markup_mode=None)


@app.command()
def explain(
    milestone: MilestoneArgument,
    *,
    data_date: DataDateOption = None,
    as_of: AsOfOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why a forecast is what it is.

    The chain of milestones that drive it, and the events behind each of them.
    """
    query = parse_query(data_date, as_of)
    key = parse_milestone_name(milestone)
    with open_configured_engine(read_settings(database=database)) as engine:
        explanation = view.read_explanation(engine, key, query)
    if as_json:
        typer.echo(view.explanation_to_json(explanation), nl=False)
    else:
        print_lines(_explanation_lines(explanation))


def event_source_lines(key: EventKey, event: Event | None, indent: int) -> Iterator[ConsoleLine]:
    """Return the lines that name the event's source, and the text it carries."""
    # A line each: whatever is in a source, it cannot be taken for the id.
    yield ConsoleLine(f"source: {key.source}", indent, "dim")
    yield ConsoleLine(f"id: {key.id}", indent, "dim")
    if event is None:
        yield ConsoleLine("the ledger does not hold this event", indent)
    for name in view.TEXT_FIELDS:
        if (text := view.data_field(event, name)) is not None:
            yield ConsoleLine(f"{name}: {text}", indent)


def _explanation_lines(explanation: view.Explanation) -> Iterator[ConsoleLine]:
    names = explanation.names
    yield ConsoleLine(_headline(explanation.chain[0].status, explanation.query, names), style="bold")
    for number, link in enumerate(explanation.chain, start=1):
        status = link.status
        title = f"{number}. {names.label(status.ref)}: {status.forecast or 'no forecast'}, {status.state}"
        yield ConsoleLine("")
        yield ConsoleLine(title, style=state_text_style(status.state))
        yield ConsoleLine(
            " ".join(view.link_sentences(link, format_milestone=lambda ref: str(names.label(ref)))), indent=3
        )
        for _, group in groupby(link.evidence, key=lambda evidence: evidence.stamp):
            # An event may be the evidence of several things.
            evidence = list(group)
            key, roles = view.event_key_of(evidence[0]), " and ".join(item.role for item in evidence)
            event, instant = explanation.events.get(key), parse_stamp(evidence[0].stamp).instant
            yield ConsoleLine(f"{instant}Z {roles}{view.event_summary(event)}", indent=3)
            yield from event_source_lines(key, event, indent=5)
    yield from _source_lines(explanation.sources)


def _source_lines(sources: Sequence[SourceWords]) -> Iterator[ConsoleLine]:
    """Say what each of several sources says; of one alone, the events above say it."""
    if len(sources) < 2:  # noqa: PLR2004 - one alone cannot differ
        return
    days = days_between_sources(sources)
    verdict = "they agree" if days == 0 else "each says another kind of date"
    if days:
        verdict = f"they differ by {days_phrase(days)}; of each kind, the date that was said last counts"
    yield ConsoleLine("")
    yield ConsoleLine(f"{len(sources)} sources speak of it: {verdict}.", style="bold")
    for each in view.source_words_schemas(sources):
        yield ConsoleLine(f"source: {each.source}", 3, "dim")
        for kind in ("planned", "estimated", "actual"):
            word: view.WordSchema | None = getattr(each, kind)
            if word is not None:
                counts = "counts" if word.counts else f"{word.days_later:+d} d" if word.days_later else "the same"
                yield ConsoleLine(f"{kind} {word.date}, said {word.said}: {counts}", 5)


def _headline(status: MilestoneStatus, query: MilestoneQuery, names: Names) -> str:
    if status.state is State.CANCELLED:
        date_phrase = "is cancelled and has no forecast"
    elif status.forecast is None:
        date_phrase = "has no forecast"
    elif status.actual is not None:
        date_phrase = f"was achieved on {status.forecast}"
    else:
        date_phrase = f"is forecast for {status.forecast}"
    float_days = "none" if status.float_days is None else days_phrase(status.float_days)
    as_of = f",{query.as_of_phrase}" if query.as_of else ""
    return (
        f"{_full_name(status, names)} {date_phrase} (data date {query.data_date}{as_of}):"
        f" state {status.state}, {_slip_phrase(status)}, float {float_days}."
    )


def _full_name(status: MilestoneStatus, names: Names) -> str:
    label, key = names.label(status.ref), "/".join(status.key)
    return key if label.is_slugs else f"{label.project}: {label.milestone} ({key})"


def _slip_phrase(status: MilestoneStatus) -> str:
    slip = status.slip_days
    if slip is None:
        return "no baseline to slip from" if status.baseline is None else "no slip"
    if slip == 0:
        return f"on its baseline of {status.baseline}"
    return f"{days_phrase(abs(slip))} {'later' if slip > 0 else 'earlier'} than its baseline of {status.baseline}"
