"""`milepost history`: every forecast that a milestone ever had, and the event that moved it each time."""

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import typer

from deploy.cli import console
from deploy.cli.console import ConsoleColumn, ConsoleLine, slip_text
from deploy.cli.explain import event_source_lines
from deploy.cli.options import DatabaseOption, JsonOption, print_to_stderr
from deploy.cli.query import MilestoneArgument
from models.database.claims import load_facts
from models.database.engine import open_engine
from models.database.forecasts import read_history
from models.database.ledger import EventKey, read_events
from models.domain.events import Event
from models.domain.forecast_changes import HistoryRow
from models.domain.timestamps import instant_from_epoch_ms
from models.settings import read_settings
from models.views.explanation import data_field
from models.views.queries import parse_milestone_name, query_transaction, require_milestone

app = typer.Typer(rich_markup_mode=None)


class _HistoryEntry(NamedTuple):
    """A forecast that moved, and the event behind it; None when the ledger does not hold it."""

    row: HistoryRow
    cause: EventKey
    event: Event | None

    @property
    def recorded_at(self) -> str:
        return f"{instant_from_epoch_ms(self.row.recorded_ms)}Z"


@app.command()
def history(milestone: MilestoneArgument, *, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Show every forecast a milestone ever had.

    And the event that moved it each time.
    """
    key = parse_milestone_name(milestone)
    with open_engine(read_settings(database=database).database) as engine, query_transaction(engine) as connection:
        rows = read_history(connection, key)
        if not rows:
            require_milestone(load_facts(connection, [key.programme]), key)
        # A milestone achieved on the day of its forecast has a row, and did not move.
        moves = [(row, EventKey(row.cause_source, row.cause_id)) for row in rows if row.previous != row.current]
        events = read_events(connection, sorted({cause for _, cause in moves}))
    entries = [_HistoryEntry(row, cause, events.get(cause)) for row, cause in moves]
    name = "/".join(key)
    if as_json:
        console.print_json_list(map(_entry_to_dict, entries))
    elif entries and sys.stdout.isatty():
        # A table of so many columns has no room in a terminal.
        console.print_lines(chain([ConsoleLine(name, style="bold")], *map(_entry_lines, entries)))
    elif entries:
        names = ("noted", "from", "to", "slip", "state", "driver", "source", "id", "reason")
        console.print_rows(list(map(ConsoleColumn, names)), map(_entry_cells, entries))
    if not entries:
        reason = "no event that a worker recorded has moved its forecast"
        print_to_stderr(f"milepost: {name} has no history yet: {reason}")


def _entry_to_dict(entry: _HistoryEntry) -> dict[str, Any]:
    row = entry.row
    return {
        "noted": entry.recorded_at,
        "from": row.previous,
        "to": row.current,
        "slip_days": row.slip_days,
        "state": row.state,
        "driver": row.driver,
        "cause": {
            **entry.cause._asdict(),
            "time": None if entry.event is None else f"{entry.event.instant}Z",
            **{name: data_field(entry.event, name) for name in ("reason", "remark")},
        },
        "revision": row.revision,
        "number": row.number,
    }


def _entry_cells(entry: _HistoryEntry) -> list[str]:
    row = entry.row
    days = (str(row.previous or ""), str(row.current or ""), slip_text(row.slip_days))
    reason = ": ".join(text for name in ("reason", "remark") if (text := data_field(entry.event, name)))
    return [entry.recorded_at, *days, row.state, row.driver or "", *entry.cause, reason]


def _entry_lines(entry: _HistoryEntry) -> Iterator[ConsoleLine]:
    row = entry.row
    dates = f"{row.previous or 'no forecast'} to {row.current or 'no forecast'}"
    slip = "" if row.slip_days is None else f", slip {slip_text(row.slip_days)}"
    yield ConsoleLine("")
    style = console.state_text_style(row.state)
    yield ConsoleLine(f"{entry.recorded_at}  {dates}: {row.state}{slip}", style=style)
    if row.driver:
        yield ConsoleLine(f"driver {row.driver}", indent=3)
    yield from event_source_lines(entry.cause, entry.event, indent=3)
