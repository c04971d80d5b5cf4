"""How `milepost dead-letters` shows the rejected. What is in them is anybody's: none of it reaches a terminal raw."""
# `milepost dead-letters replay --dry-run`: what would become of the letters, and which forecasts would move.

import json
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine

from consumers.dead_letters import require_replayable
from deploy.cli.console import ConsoleColumn, ConsoleLine, day_text, print_lines, print_rows, slip_text
from models.database.dry_run import DryRunChange, DryRunVerdict, dry_run_batch
from models.database.ledger import DecodedRecord
from models.domain.cloudevents import decode
from models.domain.dead_letters import DeadLetter
from models.domain.events import Event, RejectionReason, check_acceptable
from models.settings import Settings
from models.text import printable
from models.views.queries import query_transaction


def print_dead_letters(dead_letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    """Print one line for each letter."""
    if as_json:
        rows = [dead_letter_to_dict(letter) for letter in dead_letters]
        # ASCII alone: control characters beyond it are not escaped otherwise.
        sys.stdout.write("[" + ",\n ".join(map(json.dumps, rows)) + "]\n")
        return
    rows_of_text = [[letter.key, letter.reason, letter.source or "", letter.detail] for letter in dead_letters]
    print_rows(
        [ConsoleColumn("key"), ConsoleColumn("reason"), ConsoleColumn("source"), ConsoleColumn("detail")], rows_of_text
    )


def print_dead_letter(dead_letter: DeadLetter, *, as_json: bool) -> None:
    """Print all there is of one letter."""
    if as_json:
        headers = [{"name": name, **_bytes_member("value", value)} for name, value in dead_letter.headers]
        sys.stdout.write(
            json.dumps(
                {**dead_letter_to_dict(dead_letter), "headers": headers, **_bytes_member("value", dead_letter.value)}
            )
            + "\n"
        )
        return
    lines = [
        ("reason", dead_letter.reason),
        ("detail", dead_letter.detail),
        ("topic", dead_letter.topic),
        ("partition", "" if dead_letter.partition is None else str(dead_letter.partition)),
        ("offset", "" if dead_letter.offset is None else str(dead_letter.offset)),
        ("source", dead_letter.source or ""),
        *((f"header {name}", _bytes_to_text(value)) for name, value in dead_letter.headers),
    ]
    for name, text in lines:
        sys.stdout.write(f"{printable(name)}: {printable(text)}\n")
    sys.stdout.write(f"\n{printable(_bytes_to_text(dead_letter.value), keep_line_breaks=True)}\n")


def dead_letter_to_dict(dead_letter: DeadLetter) -> dict[str, Any]:
    """Return what is known of a letter as the members of a JSON object, all but what it carries."""
    names = ("key", "reason", "detail", "topic", "partition", "offset", "source")
    return {name: getattr(dead_letter, name) for name in names}


def _bytes_member(name: str, value: bytes | None) -> dict[str, str | None]:
    """Return bytes as a JSON member: text, or base64 under another name when they are none."""
    try:
        return {name: None if value is None else value.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value or b"").decode()}


def _bytes_to_text(value: bytes | None) -> str:
    """Return bytes as text; what is not UTF-8 is spelled out."""
    return "null" if value is None else value.decode("utf-8", "backslashreplace")


_VERDICT_TEXTS: Mapping[DryRunVerdict, str] = {
    DryRunVerdict.ACCEPTED: "accepted",
    DryRunVerdict.RETRACTED: "accepted, but a retraction takes it back",
    DryRunVerdict.DUPLICATE: "known already",
    DryRunVerdict.REJECTED: "rejected again",
}


class DeadLetterDryRun(NamedTuple):
    """What would become of one letter."""

    dead_letter: DeadLetter
    verdict: DryRunVerdict
    #: Only of one that is rejected again.
    reason: str | None
    detail: str


class DryRunResult(NamedTuple):
    """What would come of a replay."""

    dead_letters: Sequence[DeadLetterDryRun]
    changes: Sequence[DryRunChange]


def dry_run_replay(
    engine: Engine, settings: Settings, dead_letters: Sequence[DeadLetter], now: datetime
) -> DryRunResult:
    """Return what would come of replaying letters now, all together, by today's settings.

    Raises `DatabaseError`, and `ReplayError` for a letter that cannot be replayed.
    """
    require_replayable(settings, dead_letters)
    now_ms = int(now.timestamp() * 1000)
    entries = [_decode_dead_letter(settings, letter, now_ms) for letter in dead_letters]
    with query_transaction(engine) as connection:
        rehearsal = dry_run_batch(connection, entries, now.date())
    prospects = []
    for letter, entry in zip(dead_letters, entries, strict=True):
        verdict, rejection = rehearsal.verdicts[entry.topic, entry.partition, entry.offset]
        detail = rejection.detail if rejection else ""
        if letter.reason == RejectionReason.UNSTORABLE and verdict in {DryRunVerdict.ACCEPTED, DryRunVerdict.RETRACTED}:
            detail = "if the database takes it now, which only trying tells"
        prospects.append(DeadLetterDryRun(letter, verdict, rejection.reason.value if rejection else None, detail))
    return DryRunResult(prospects, rehearsal.changes)


def _decode_dead_letter(settings: Settings, dead_letter: DeadLetter, now_ms: int) -> DecodedRecord:
    outcome = decode(dead_letter.headers, dead_letter.value)
    if isinstance(outcome, Event):
        outcome = check_acceptable(outcome, now_ms, settings.allowed_sources)
    partition, offset = dead_letter.partition or 0, dead_letter.offset or 0
    return DecodedRecord(dead_letter.topic, partition, offset, now_ms, dead_letter.headers, dead_letter.value, outcome)


def print_dry_run(result: DryRunResult, *, as_json: bool) -> None:
    """Print what would come of a replay."""
    if as_json:
        letters = [
            {**dead_letter_to_dict(letter), "verdict": verdict, "would_reason": reason, "would_detail": detail}
            for letter, verdict, reason, detail in result.dead_letters
        ]
        forecasts = [
            {**moved.milestone._asdict(), "from": moved.previous, "to": moved.current, "days": moved.days}
            for moved in result.changes
        ]
        sys.stdout.write(json.dumps({"letters": letters, "forecasts": forecasts}, default=str) + "\n")
        return
    rows = [
        [letter.key, letter.reason, _VERDICT_TEXTS[verdict], ": ".join(filter(None, (reason, detail)))]
        for letter, verdict, reason, detail in result.dead_letters
    ]
    print_rows(
        [ConsoleColumn("key"), ConsoleColumn("reason"), ConsoleColumn("would be"), ConsoleColumn("because")], rows
    )
    print_lines(_forecast_change_line(moved) for moved in result.changes)
    taken = sum(
        prospect.verdict in {DryRunVerdict.ACCEPTED, DryRunVerdict.RETRACTED} for prospect in result.dead_letters
    )
    summary = (
        f"{taken} of {len(result.dead_letters)} dead letters would be accepted,"
        f" {len(result.changes)} forecasts would move; nothing was sent"
    )
    print_lines([ConsoleLine(summary)])


def _forecast_change_line(change: DryRunChange) -> ConsoleLine:
    was, becomes = (day_text(day) or "none" for day in (change.previous, change.current))
    days = "" if change.days is None else f", {slip_text(change.days)} days"
    return ConsoleLine(f"{'/'.join(change.milestone)}: {was} -> {becomes}{days}")
