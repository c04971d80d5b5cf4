"""`milepost history`: every forecast that a milestone ever had, and the event that moved it each time."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine

from deploy.cli.console import Column, Line, day_text, line_style, print_lines, print_rows, slip_text
from deploy.cli.explain import claim_lines
from models.database.claims import read_facts
from models.database.forecasts import read_history
from models.database.ledger import Name, read_events
from models.domain.claims import MilestoneKey
from models.domain.events import Event
from models.domain.forecast_changes import Noted
from models.domain.timestamps import instant_at
from models.views.explanation import said
from models.views.queries import asking, check_milestone


class Moved(NamedTuple):
    """A forecast that moved, and the event behind it; None when the ledger does not hold it."""

    noted: Noted
    event: Event | None

    @property
    def cause(self) -> Name:
        """What names the event behind it."""
        return Name(self.noted.cause_source, self.noted.cause_id)


def read_moves(engine: Engine, key: MilestoneKey) -> list[Moved]:
    """Return every move of a milestone's forecast, the oldest first.

    Raises `DatabaseError`, and `QuestionError` for a milestone that no event names and that never had a forecast.
    """
    with asking(engine) as connection:
        noted = read_history(connection, key)
        if not noted:
            check_milestone(read_facts(connection, [key.programme]), key)
        # Achieved on the day it was forecast for: nothing moved.
        moves = [row for row in noted if row.was != row.becomes]
        names = sorted({Name(row.cause_source, row.cause_id) for row in moves})
        events = read_events(connection, names)
    return [Moved(row, events.get(Name(row.cause_source, row.cause_id))) for row in moves]


def as_json(moves: Sequence[Moved]) -> str:
    """Return the moves as a JSON list; in ASCII, for a terminal obeys some of what JSON leaves raw."""
    return "[" + ",\n ".join(json.dumps(_described(move), default=str) for move in moves) + "]\n"


def _described(move: Moved) -> dict[str, Any]:
    noted = move.noted
    return {
        "noted": _time(noted),
        "from": noted.was,
        "to": noted.becomes,
        "slip_days": noted.slip_days,
        "state": noted.state,
        "driver": noted.driver,
        "cause": {
            "source": noted.cause_source,
            "id": noted.cause_id,
            "time": None if move.event is None else f"{move.event.instant}Z",
            "reason": said(move.event, "reason"),
            "remark": said(move.event, "remark"),
        },
        "revision": noted.revision,
        "number": noted.number,
    }


def _time(noted: Noted) -> str:
    return f"{instant_at(noted.noted_ms)}Z"


_COLUMNS: Final = tuple(map(Column, ("noted", "from", "to", "slip", "state", "driver", "source", "id", "reason")))


def print_moves(moves: Sequence[Moved], key: MilestoneKey, *, terminal: bool) -> None:
    """Print the moves for people: in a pipe a line each, in a terminal, where that has no room, a paragraph each."""
    if terminal:
        print_lines(_lines(moves, key))
    else:
        print_rows(_COLUMNS, [_cells(move) for move in moves])


def _cells(move: Moved) -> list[str]:
    noted = move.noted
    return [
        _time(noted),
        day_text(noted.was),
        day_text(noted.becomes),
        slip_text(noted.slip_days),
        noted.state,
        noted.driver or "",
        *move.cause,
        ": ".join(text for word in ("reason", "remark") if (text := said(move.event, word))),
    ]


def _lines(moves: Sequence[Moved], key: MilestoneKey) -> Iterator[Line]:
    yield Line("/".join(key), style="bold")
    for move in moves:
        noted = move.noted
        told = f"{_time(noted)}  {day_text(noted.was) or 'no forecast'} to {day_text(noted.becomes) or 'no forecast'}"
        slip = f", slip {slip_text(noted.slip_days)}" if noted.slip_days is not None else ""
        yield Line("")
        yield Line(f"{told}: {noted.state}{slip}", style=line_style(noted.state))
        if noted.driver:
            yield Line(f"driver {noted.driver}", indent=3)
        yield from claim_lines(move.cause, move.event, indent=3)
