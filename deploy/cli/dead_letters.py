"""How `milepost dead-letters` shows the rejected. What is in them is anybody's: none of it reaches a terminal raw."""
# `milepost dead-letters replay --dry-run`: what would become of the letters, and which forecasts would move.

import json
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine

from consumers.dead_letters import check_origins
from deploy.cli.console import Column, Line, day_text, print_lines, print_rows, slip_text
from models.database.dry_run import Moved, Verdict, rehearse
from models.database.ledger import Entry
from models.domain.cloudevents import decode
from models.domain.dead_letters import DeadLetter
from models.domain.events import Event, Reason, admit
from models.settings import Settings
from models.text import printable
from models.views.queries import asking


def print_list(letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    """Print one line for each letter."""
    if as_json:
        rows = [described(letter) for letter in letters]
        # ASCII alone: control characters beyond it are not escaped otherwise.
        sys.stdout.write("[" + ",\n ".join(map(json.dumps, rows)) + "]\n")
        return
    rows_of_text = [[letter.key, letter.reason, letter.source or "", letter.detail] for letter in letters]
    print_rows([Column("key"), Column("reason"), Column("source"), Column("detail")], rows_of_text)


def print_letter(letter: DeadLetter, *, as_json: bool) -> None:
    """Print all there is of one letter."""
    if as_json:
        headers = [{"name": name, **_bytes("value", value)} for name, value in letter.headers]
        sys.stdout.write(json.dumps({**described(letter), "headers": headers, **_bytes("value", letter.value)}) + "\n")
        return
    lines = [
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("topic", letter.topic),
        ("partition", "" if letter.partition is None else str(letter.partition)),
        ("offset", "" if letter.offset is None else str(letter.offset)),
        ("source", letter.source or ""),
        *((f"header {name}", _text(value)) for name, value in letter.headers),
    ]
    for name, text in lines:
        sys.stdout.write(f"{printable(name)}: {printable(text)}\n")
    sys.stdout.write(f"\n{printable(_text(letter.value), lines=True)}\n")


def described(letter: DeadLetter) -> dict[str, Any]:
    """Return what is known of a letter as the members of a JSON object, all but what it carries."""
    names = ("key", "reason", "detail", "topic", "partition", "offset", "source")
    return {name: getattr(letter, name) for name in names}


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    """Return bytes as a JSON member: text, or base64 under another name when they are none."""
    try:
        return {name: None if value is None else value.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value or b"").decode()}


def _text(value: bytes | None) -> str:
    """Return bytes as text; what is not UTF-8 is spelled out."""
    return "null" if value is None else value.decode("utf-8", "backslashreplace")


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
