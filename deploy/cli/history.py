"""`milepost history`: every forecast that a milestone ever had, and the event that moved it each time."""

import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import typer
from sqlalchemy import Engine

from deploy.cli.console import (
    ConsoleColumn,
    ConsoleLine,
    day_text,
    print_json_list,
    print_lines,
    print_rows,
    slip_text,
    state_text_style,
)
from deploy.cli.explain import event_source_lines
from deploy.cli.options import DatabaseOption, JsonOption, MilestoneArgument, print_to_stderr
from models.database.claims import load_facts
from models.database.engine import open_engine
from models.database.forecasts import read_history
from models.database.ledger import EventKey, read_events
from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.forecast_changes import HistoryRow
from models.domain.timestamps import instant_from_epoch_ms
from models.settings import read_settings
from models.views.explanation import data_field
from models.views.queries import parse_milestone_name, query_transaction, require_milestone

app = typer.Typer(rich_markup_mode=None)

_HISTORY_COLUMNS: Final = tuple(
    map(ConsoleColumn, ("noted", "from", "to", "slip", "state", "driver", "source", "id", "reason"))
)


class _HistoryEntry(NamedTuple):
    """A forecast that moved, and the event behind it; None when the ledger does not hold it."""

    row: HistoryRow
    cause: EventKey
    event: Event | None


@app.command()
def history(milestone: MilestoneArgument, *, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Show every forecast a milestone ever had.

    And the event that moved it each time.
    """
    key = parse_milestone_name(milestone)
    with open_engine(read_settings(database=database).database) as engine:
        entries = _read_history_entries(engine, key)
    if as_json:
        print_json_list(map(_entry_to_dict, entries))
    elif entries and sys.stdout.isatty():
        # A table of so many columns has no room in a terminal.
        print_lines([ConsoleLine("/".join(key), style="bold"), *(line for e in entries for line in _entry_lines(e))])
    elif entries:
        print_rows(_HISTORY_COLUMNS, map(_entry_cells, entries))
    if not entries:
        print_to_stderr(
            f"milepost: {'/'.join(key)} has no history yet: no event that a worker recorded has moved its forecast"
        )


def _read_history_entries(engine: Engine, key: MilestoneKey) -> list[_HistoryEntry]:
    """Return every move of a milestone's forecast, the oldest first.

    Raises `DatabaseError`, and `QueryError` for a milestone that no event names and that never had a forecast.
    """
    with query_transaction(engine) as connection:
        history_rows = read_history(connection, key)
        if not history_rows:
            require_milestone(load_facts(connection, [key.programme]), key)
        # A milestone achieved on the day of its forecast has a row, and did not move.
        moves = [(row, EventKey(row.cause_source, row.cause_id)) for row in history_rows if row.previous != row.current]
        events = read_events(connection, sorted({cause for _, cause in moves}))
    return [_HistoryEntry(row, cause, events.get(cause)) for row, cause in moves]


def _entry_to_dict(entry: _HistoryEntry) -> dict[str, Any]:
    row = entry.row
    return {
        "noted": _recorded_at(row),
        "from": row.previous,
        "to": row.current,
        "slip_days": row.slip_days,
        "state": row.state,
        "driver": row.driver,
        "cause": {
            "source": row.cause_source,
            "id": row.cause_id,
            "time": None if entry.event is None else f"{entry.event.instant}Z",
            "reason": data_field(entry.event, "reason"),
            "remark": data_field(entry.event, "remark"),
        },
        "revision": row.revision,
        "number": row.number,
    }


def _recorded_at(row: HistoryRow) -> str:
    return f"{instant_from_epoch_ms(row.recorded_ms)}Z"


def _entry_cells(entry: _HistoryEntry) -> list[str]:
    row = entry.row
    return [
        _recorded_at(row),
        day_text(row.previous),
        day_text(row.current),
        slip_text(row.slip_days),
        row.state,
        row.driver or "",
        *entry.cause,
        ": ".join(text for name in ("reason", "remark") if (text := data_field(entry.event, name))),
    ]


def _entry_lines(entry: _HistoryEntry) -> Iterator[ConsoleLine]:
    row = entry.row
    previous, current = (day_text(day) or "no forecast" for day in (row.previous, row.current))
    slip = "" if row.slip_days is None else f", slip {slip_text(row.slip_days)}"
    yield ConsoleLine("")
    yield ConsoleLine(
        f"{_recorded_at(row)}  {previous} to {current}: {row.state}{slip}", style=state_text_style(row.state)
    )
    if row.driver:
        yield ConsoleLine(f"driver {row.driver}", indent=3)
    yield from event_source_lines(entry.cause, entry.event, indent=3)
