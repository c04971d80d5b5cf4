"""`milepost history`: every forecast that a milestone ever had, and the event that moved it each time."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple

import typer
from sqlalchemy import Connection

from deploy.cli import console
from deploy.cli.console import ConsoleColumn, ConsoleLine, slip_text
from deploy.cli.explain import event_source_lines
from deploy.cli.options import DatabaseOption, JsonOption, print_to_stderr
from deploy.cli.query import MilestoneArgument
from models.configured_engine import open_configured_engine
from models.database.claims import load_facts
from models.database.event_history import read_history_entries
from models.database.forecasts import read_history
from models.database.ledger import EventKey, read_events
from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.forecast_changes import HistoryRow
from models.domain.history import HistoryEntry
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import instant_from_epoch_ms, parse_stamp
from models.settings import read_settings
from models.views.explanation import data_field
from models.views.queries import parse_milestone_name, query_transaction, require_milestone

app = typer.Typer(rich_markup_mode=None)

RecordedOption = Annotated[
    bool,
    typer.Option(
        "--recorded", help="Show what a worker noticed, and when it noted that, instead of what was said when."
    ),
]


class _Row(NamedTuple):
    """A row of the output, and the event behind it; None when the ledger does not hold it."""

    at: str
    entry: HistoryEntry | HistoryRow
    cause: EventKey
    event: Event | None


@app.command()
def history(
    milestone: MilestoneArgument,
    *,
    recorded: RecordedOption = False,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every forecast a milestone ever had.

    And the event that moved it each time, at the time at which it was said. What was said late stands where it belongs.
    """
    key = parse_milestone_name(milestone)
    with open_configured_engine(read_settings(database=database)) as engine, query_transaction(engine) as connection:
        rows = _read_recorded(connection, key) if recorded else _read_said(connection, key)
        if not rows:
            require_milestone(load_facts(connection, [key.programme]), key)
        events = read_events(connection, sorted({row.cause for row in rows}))
    rows = [row._replace(event=events.get(row.cause)) for row in rows]
    name = "/".join(key)
    if as_json:
        console.print_json_list(map(_row_to_dict, rows))
    elif rows and sys.stdout.isatty():
        # A table of so many columns has no room in a terminal.
        console.print_lines(chain([ConsoleLine(name, style="bold")], *map(_row_lines, rows)))
    elif rows:
        names = ("noted" if recorded else "said", "from", "to", "slip", "state", "driver", "source", "id", "reason")
        console.print_rows(list(map(ConsoleColumn, names)), map(_row_cells, rows))
    if not rows:
        reason = "no event that a worker recorded has moved its forecast" if recorded else "no event gave it a forecast"
        print_to_stderr(f"milepost: {name} has no history yet: {reason}")


def _read_said(connection: Connection, key: MilestoneKey) -> Sequence[_Row]:
    entries = read_history_entries(connection, key.programme, [MilestoneRef(*key[1:])])
    return [_Row(f"{entry.said}Z", entry, EventKey(*parse_stamp(entry.cause)[1:]), None) for entry in entries]


def _read_recorded(connection: Connection, key: MilestoneKey) -> Sequence[_Row]:
    return [
        _Row(f"{instant_from_epoch_ms(row.recorded_ms)}Z", row, EventKey(row.cause_source, row.cause_id), None)
        for row in read_history(connection, key)
        # A milestone achieved on the day of its forecast has a row, and did not move.
        if row.previous != row.current
    ]


def _row_to_dict(row: _Row) -> dict[str, Any]:
    entry = row.entry
    moved = {"from": entry.previous, "to": entry.current}
    result = {"slip_days": entry.slip_days, "state": entry.state, "driver": _driver_text(entry)}
    if isinstance(entry, HistoryEntry):
        own = {"own_from": entry.own_previous, "own_to": entry.own_current}
        return {"said": row.at, **moved, **own, **result, **row.cause._asdict()}
    cause = {
        **row.cause._asdict(),
        "time": None if row.event is None else f"{row.event.instant}Z",
        **{name: data_field(row.event, name) for name in ("reason", "remark")},
    }
    return {"noted": row.at, **moved, **result, "cause": cause, "revision": entry.revision, "number": entry.number}


def _driver_text(entry: HistoryEntry | HistoryRow) -> str | None:
    return None if entry.driver is None else str(entry.driver)


def _row_cells(row: _Row) -> list[str]:
    entry = row.entry
    days = (str(entry.previous or ""), str(entry.current or ""), slip_text(entry.slip_days))
    reason = ": ".join(text for name in ("reason", "remark") if (text := data_field(row.event, name)))
    return [row.at, *days, entry.state or "", _driver_text(entry) or "", *row.cause, reason]


def _row_lines(row: _Row) -> Iterator[ConsoleLine]:
    entry = row.entry
    dates = f"{entry.previous or 'no forecast'} to {entry.current or 'no forecast'}"
    slip = "" if entry.slip_days is None else f", slip {slip_text(entry.slip_days)}"
    yield ConsoleLine("")
    style = "" if entry.state is None else console.state_text_style(entry.state)
    yield ConsoleLine(f"{row.at}  {dates}: {entry.state or 'no event names it any more'}{slip}", style=style)
    if driver := _driver_text(entry):
        yield ConsoleLine(f"driver {driver}", indent=3)
    yield from event_source_lines(row.cause, row.event, indent=3)
