"""`milepost dead-letters replay --dry-run`: what would become of the letters, and which forecasts would move."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine

from consumers.dead_letters import DeadLetter
from consumers.replay import check_origins
from deploy.letters import described
from deploy.printing import Column, Line, day_text, print_lines, print_rows, slip_text
from deploy.question import asking
from models.admission import admit
from models.envelope import decode
from models.events import Event, Reason
from models.ledger import Entry
from models.rehearsal import Moved, Verdict, rehearse
from models.settings import Settings

_TOLD: Mapping[Verdict, str] = {
    Verdict.ACCEPTED: "accepted",
    Verdict.RETRACTED: "accepted, but a retraction takes it back",
    Verdict.KNOWN: "known already",
    Verdict.REJECTED: "rejected again",
}


class Prospect(NamedTuple):
    """What would become of one letter."""

    letter: DeadLetter
    verdict: Verdict
    #: Only of one that is rejected again.
    reason: str | None
    detail: str


class Prospects(NamedTuple):
    """What would come of a replay."""

    letters: Sequence[Prospect]
    moved: Sequence[Moved]


def look_ahead(engine: Engine, settings: Settings, letters: Sequence[DeadLetter], now: datetime) -> Prospects:
    """Return what would come of replaying letters now, all together, by today's settings.

    Raises `DatabaseError`, and `ReplayError` for a letter that cannot be replayed.
    """
    check_origins(settings, letters)
    now_ms = int(now.timestamp() * 1000)
    entries = [_entry(settings, letter, now_ms) for letter in letters]
    with asking(engine) as connection:
        rehearsal = rehearse(connection, entries, now.date())
    prospects = []
    for letter, entry in zip(letters, entries, strict=True):
        verdict, rejection = rehearsal.verdicts[entry.topic, entry.partition, entry.offset]
        detail = rejection.detail if rejection else ""
        if letter.reason == Reason.UNSTORABLE and verdict in {Verdict.ACCEPTED, Verdict.RETRACTED}:
            detail = "if the database takes it now, which only trying tells"
        prospects.append(Prospect(letter, verdict, rejection.reason.value if rejection else None, detail))
    return Prospects(prospects, rehearsal.moved)


def _entry(settings: Settings, letter: DeadLetter, now_ms: int) -> Entry:
    outcome = decode(letter.headers, letter.value)
    if isinstance(outcome, Event):
        outcome = admit(outcome, now_ms, settings.allowed_sources)
    partition, offset = letter.partition or 0, letter.offset or 0
    return Entry(letter.topic, partition, offset, now_ms, letter.headers, letter.value, outcome)


def print_prospects(prospects: Prospects, *, as_json: bool) -> None:
    """Print what would come of a replay."""
    if as_json:
        letters = [
            {**described(letter), "verdict": verdict, "would_reason": reason, "would_detail": detail}
            for letter, verdict, reason, detail in prospects.letters
        ]
        forecasts = [
            {**moved.milestone._asdict(), "from": moved.was, "to": moved.becomes, "days": moved.days}
            for moved in prospects.moved
        ]
        sys.stdout.write(json.dumps({"letters": letters, "forecasts": forecasts}, default=str) + "\n")
        return
    rows = [
        [letter.key, letter.reason, _TOLD[verdict], ": ".join(filter(None, (reason, detail)))]
        for letter, verdict, reason, detail in prospects.letters
    ]
    print_rows([Column("key"), Column("reason"), Column("would be"), Column("because")], rows)
    print_lines(_moved_line(moved) for moved in prospects.moved)
    taken = sum(prospect.verdict in {Verdict.ACCEPTED, Verdict.RETRACTED} for prospect in prospects.letters)
    summary = (
        f"{taken} of {len(prospects.letters)} dead letters would be accepted,"
        f" {len(prospects.moved)} forecasts would move; nothing was sent"
    )
    print_lines([Line(summary)])


def _moved_line(moved: Moved) -> Line:
    was, becomes = (day_text(day) or "none" for day in (moved.was, moved.becomes))
    days = "" if moved.days is None else f", {slip_text(moved.days)} days"
    return Line(f"{'/'.join(moved.milestone)}: {was} -> {becomes}{days}")
