"""`milepost history`: every forecast that a milestone ever had, and the event that moved it each time."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine

from deploy.cli.console import (
    ConsoleColumn,
    ConsoleLine,
    day_text,
    print_lines,
    print_rows,
    slip_text,
    state_text_style,
)
from deploy.cli.explain import event_source_lines
from models.database.claims import load_facts
from models.database.forecasts import read_history
from models.database.ledger import EventKey, read_events
from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.forecast_changes import HistoryRow
from models.domain.timestamps import instant_from_epoch_ms
from models.views.explanation import data_field
from models.views.queries import query_transaction, require_milestone


class HistoryEntry(NamedTuple):
    """A forecast that moved, and the event behind it; None when the ledger does not hold it."""

    row: HistoryRow
    event: Event | None

    @property
    def cause(self) -> EventKey:
        """What names the event behind it."""
        return EventKey(self.row.cause_source, self.row.cause_id)


def read_history_entries(engine: Engine, key: MilestoneKey) -> list[HistoryEntry]:
    """Return every move of a milestone's forecast, the oldest first.

    Raises `DatabaseError`, and `QuestionError` for a milestone that no event names and that never had a forecast.
    """
    with query_transaction(engine) as connection:
        noted = read_history(connection, key)
        if not noted:
            require_milestone(load_facts(connection, [key.programme]), key)
        # Achieved on the day it was forecast for: nothing moved.
        moves = [row for row in noted if row.previous != row.current]
        names = sorted({EventKey(row.cause_source, row.cause_id) for row in moves})
        events = read_events(connection, names)
    return [HistoryEntry(row, events.get(EventKey(row.cause_source, row.cause_id))) for row in moves]


def history_to_json(entries: Sequence[HistoryEntry]) -> str:
    """Return the moves as a JSON list; in ASCII, for a terminal obeys some of what JSON leaves raw."""
    return "[" + ",\n ".join(json.dumps(_entry_to_dict(move), default=str) for move in entries) + "]\n"


def _entry_to_dict(entry: HistoryEntry) -> dict[str, Any]:
    noted = entry.row
    return {
        "noted": _recorded_at(noted),
        "from": noted.previous,
        "to": noted.current,
        "slip_days": noted.slip_days,
        "state": noted.state,
        "driver": noted.driver,
        "cause": {
            "source": noted.cause_source,
            "id": noted.cause_id,
            "time": None if entry.event is None else f"{entry.event.instant}Z",
            "reason": data_field(entry.event, "reason"),
            "remark": data_field(entry.event, "remark"),
        },
        "revision": noted.revision,
        "number": noted.number,
    }


def _recorded_at(row: HistoryRow) -> str:
    return f"{instant_from_epoch_ms(row.recorded_ms)}Z"


_ENTRY_COLUMNS: Final = tuple(
    map(ConsoleColumn, ("noted", "from", "to", "slip", "state", "driver", "source", "id", "reason"))
)


def print_history(entries: Sequence[HistoryEntry], key: MilestoneKey, *, is_terminal: bool) -> None:
    """Print the moves for people: in a pipe a line each, in a terminal, where that has no room, a paragraph each."""
    if is_terminal:
        print_lines(_history_lines(entries, key))
    else:
        print_rows(_ENTRY_COLUMNS, [_history_cells(move) for move in entries])


def _history_cells(entry: HistoryEntry) -> list[str]:
    noted = entry.row
    return [
        _recorded_at(noted),
        day_text(noted.previous),
        day_text(noted.current),
        slip_text(noted.slip_days),
        noted.state,
        noted.driver or "",
        *entry.cause,
        ": ".join(text for word in ("reason", "remark") if (text := data_field(entry.event, word))),
    ]


def _history_lines(entries: Sequence[HistoryEntry], key: MilestoneKey) -> Iterator[ConsoleLine]:
    yield ConsoleLine("/".join(key), style="bold")
    for move in entries:
        noted = move.row
        told = (
            f"{_recorded_at(noted)}  {day_text(noted.previous) or 'no forecast'} to"
            f" {day_text(noted.current) or 'no forecast'}"
        )
        slip = f", slip {slip_text(noted.slip_days)}" if noted.slip_days is not None else ""
        yield ConsoleLine("")
        yield ConsoleLine(f"{told}: {noted.state}{slip}", style=state_text_style(noted.state))
        if noted.driver:
            yield ConsoleLine(f"driver {noted.driver}", indent=3)
        yield from event_source_lines(move.cause, move.event, indent=3)
