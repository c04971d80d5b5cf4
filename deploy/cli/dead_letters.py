"""`milepost dead-letters`. What is in a dead letter comes from anybody: none of it reaches a terminal raw."""

import json
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

import consumers.dead_letters as letters
from consumers.dead_letters import DeadLetterSummary
from consumers.rights import Role, require_rights
from deploy.cli.console import ConsoleColumn, ConsoleLine, print_json_list, print_lines, print_rows, slip_text
from deploy.cli.options import DatabaseOption, JsonOption, KafkaOption, print_line, print_to_stderr, utc_now
from models.configured_engine import open_configured_engine
from models.database.dry_run import DryRunChange, DryRunVerdict, dry_run_batch
from models.database.ledger import DecodedRecord
from models.domain.cloudevents import decode
from models.domain.dead_letters import DeadLetter
from models.domain.events import Event, RejectionReason, check_acceptable
from models.domain.timestamps import epoch_seconds, instant_from_epoch_ms
from models.settings import Settings, read_settings
from models.text import printable
from models.views.queries import parse_since, query_transaction

app = typer.Typer(help="The rejected events.", no_args_is_help=True, rich_markup_mode=None)

KeysArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY", help="As `milepost dead-letters list` prints them.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="All with this reason.")]
AllOption = Annotated[bool, typer.Option("--all", help="All there are.")]

DEFAULT_LIMIT: Final = 50
#: Of what comes from outside, so much of a cell keeps the columns aligned.
_MAX_ALIGNED: Final = 40
_LIST_COLUMNS: Final = (
    ConsoleColumn("time", no_wrap=True),
    *(ConsoleColumn(name, max_width=_MAX_ALIGNED) for name in ("source", "id", "type", "subject")),
    ConsoleColumn("reason", max_width=20),
    ConsoleColumn("key", max_width=_MAX_ALIGNED),
    ConsoleColumn("detail"),
)
_JSON_NAMES: Final = ("source", "id", "type", "subject", "reason", "detail", "topic", "partition", "offset")
_ACCEPTED_VERDICTS: Final = {DryRunVerdict.ACCEPTED, DryRunVerdict.RETRACTED}
_VERDICT_TEXTS: Final[Mapping[DryRunVerdict, str]] = {
    DryRunVerdict.ACCEPTED: "accepted",
    DryRunVerdict.RETRACTED: "accepted, but a retraction takes it back",
    DryRunVerdict.DUPLICATE: "known already",
    DryRunVerdict.REJECTED: "rejected again",
}


@app.command("list")
def list_dead_letters(  # noqa: PLR0913 - each is an option of the command
    *,
    source: Annotated[str | None, typer.Option("--source", metavar="SOURCE", help="Only of this source.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="REASON", help="Only with this reason.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only what was rejected since a day (UTC) or a time."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="No more than so many.")] = DEFAULT_LIMIT,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the rejected events that were neither replayed nor discarded, the newest first, one line each."""
    try:
        since_ms = None if since is None else round(epoch_seconds(parse_since(since)) * 1000)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    found = letters.list_dead_letters(read_settings(kafka=kafka), source, reason, since_ms)
    print_summaries(found[:limit], len(found), as_json=as_json)


@app.command("show")
def show_dead_letter(
    key: Annotated[str, typer.Argument(help="As `milepost dead-letters list` prints it.")],
    *,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why one event was rejected, and all of it."""
    print_dead_letter(letters.find_dead_letter(read_settings(kafka=kafka), key), as_json=as_json)


@app.command("replay")
def replay_dead_letters(  # noqa: PLR0913 - each is an option of the command
    keys: KeysArgument = None,
    *,
    reason: ReasonOption = None,
    select_all: AllOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; show what a replay would do.")] = False,
    kafka: KafkaOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send rejected events back as they came, to where they came from.

    Choose them by KEY, by --reason, or --all. One that is rejected again comes back under a new key. What cannot be
    replayed is passed over with --reason and --all, and said; the exit status is then 1.
    """
    _require_selection(keys, reason, select_all=select_all)
    settings = read_settings(kafka=kafka, database=database)
    if not dry_run:
        require_rights(settings, Role.OPERATOR)
    dead_letters = letters.select_dead_letters(settings, keys or (), reason)
    skipped: list[tuple[DeadLetter, str]] = []
    if not keys:
        dead_letters, skipped = letters.split_replayable(settings, dead_letters)
    if dry_run:
        _print_dry_run(*_dry_run(settings, dead_letters), as_json=as_json)
    else:
        outcome = f"replayed to {settings.events_topic}"
        _print_resolved(letters.replay(settings, dead_letters), outcome, as_json=as_json)
    for dead_letter, problem in skipped:
        sys.stderr.write(f"milepost: dead letter {printable(dead_letter.key)} {printable(problem)}: passed over\n")
    if skipped:
        raise typer.Exit(1)


@app.command("discard")
def discard_dead_letters(
    keys: KeysArgument = None,
    *,
    reason: ReasonOption = None,
    select_all: AllOption = False,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take rejected events off the list for good.

    Choose them by KEY, by --reason, or --all.
    """
    _require_selection(keys, reason, select_all=select_all)
    settings = read_settings(kafka=kafka)
    require_rights(settings, Role.OPERATOR, [settings.dead_letters_topic])
    dead_letters = letters.select_dead_letters(settings, keys or (), reason)
    _print_resolved(letters.discard(settings, dead_letters), "discarded", as_json=as_json)


def print_summaries(summaries: Sequence[DeadLetterSummary], total: int, *, as_json: bool) -> None:
    """Print one line for each dead letter, and how many there are."""
    shown = f"{len(summaries)} of {total}" if len(summaries) < total else str(total)
    count = f"{shown} {_letters(total)}"
    if len(summaries) < total:
        count += ", the newest: --limit shows more"
    rows = [{**summary._asdict(), "time": _time_text(summary.rejected_ms)} for summary in summaries]
    if as_json:
        print_json_list([{name: row[name] for name in ("key", "time", *_JSON_NAMES)} for row in rows])
        if len(summaries) < total:
            print_to_stderr(f"milepost: {count}")
        return
    print_rows(_LIST_COLUMNS, [[row[column.name] or "" for column in _LIST_COLUMNS] for row in rows])
    print_line(count)


def _letters(count: int) -> str:
    return "dead letter" if count == 1 else "dead letters"


def _time_text(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None or epoch_ms < 0 else f"{instant_from_epoch_ms(epoch_ms)[:19]}Z"


def print_dead_letter(dead_letter: DeadLetter, *, as_json: bool) -> None:
    """Print a dead letter with the whole record that was rejected."""
    fields = _to_dict(dead_letter)
    if as_json:
        headers = [{"name": name, **_bytes_member(value)} for name, value in dead_letter.headers]
        fields["truncated"] = dead_letter.truncated
        sys.stdout.write(json.dumps({**fields, "headers": headers, **_bytes_member(dead_letter.value)}) + "\n")
        return
    del fields["key"]
    texts = [(name, "" if value is None else str(value)) for name, value in fields.items()]
    if dead_letter.truncated is not None:
        texts.append(("truncated", f"the first bytes of {dead_letter.truncated}"))
    texts += [(f"header {name}", _bytes_to_text(value)) for name, value in dead_letter.headers]
    for name, text in texts:
        sys.stdout.write(f"{printable(name)}: {printable(text)}\n")
    sys.stdout.write(f"\n{printable(_bytes_to_text(dead_letter.value), keep_line_breaks=True)}\n")


def _require_selection(keys: list[str] | None, reason: str | None, *, select_all: bool) -> None:
    if sum((bool(keys), reason is not None, select_all)) != 1:
        raise typer.BadParameter("say which: KEYs, --reason REASON or --all, one of the three")


def _print_resolved(dead_letters: Iterable[DeadLetter], outcome: str, *, as_json: bool) -> None:
    """Print dead letters as they are replayed or discarded: those that were, even when an error stops it."""
    resolved: list[DeadLetter] = []
    try:
        for dead_letter in dead_letters:
            resolved.append(dead_letter)
            if not as_json:
                print_line(printable(dead_letter.key))
    finally:
        if as_json:
            print_json_list(map(_to_dict, resolved))
    if not as_json:
        print_line(f"{len(resolved)} {_letters(len(resolved))} {outcome}")


def _to_dict(dead_letter: DeadLetter) -> dict[str, Any]:
    names = ("key", "reason", "detail", "topic", "partition", "offset", "source")
    return {name: getattr(dead_letter, name) for name in names}


def _bytes_member(value: bytes | None) -> dict[str, str | None]:
    """Return bytes as a member of a JSON object: as text, or under another name as base64 when they are not UTF-8."""
    try:
        return {"value": None if value is None else value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"value_base64": b64encode(value or b"").decode()}


def _bytes_to_text(value: bytes | None) -> str:
    return "null" if value is None else value.decode("utf-8", "backslashreplace")


def _dry_run(
    settings: Settings, dead_letters: Sequence[DeadLetter]
) -> tuple[list[dict[str, Any]], Sequence[DryRunChange]]:
    """Return what replaying all these now would do to each and to the forecasts; raises `MilepostError`."""
    letters.require_replayable(settings, dead_letters)
    now = utc_now()
    records = [_decode_dead_letter(settings, dead_letter, int(now.timestamp() * 1000)) for dead_letter in dead_letters]
    with open_configured_engine(settings) as engine, query_transaction(engine) as connection:
        verdicts, changes = dry_run_batch(connection, records, now.date())
    outcomes = []
    for dead_letter, record in zip(dead_letters, records, strict=True):
        verdict, rejection = verdicts[record.topic, record.partition, record.offset]
        reason, detail = (rejection.reason.value, rejection.detail) if rejection else (None, "")
        if dead_letter.reason == RejectionReason.UNSTORABLE and verdict in _ACCEPTED_VERDICTS:
            detail = "if the database takes it now, which only trying tells"
        outcomes.append({**_to_dict(dead_letter), "verdict": verdict, "would_reason": reason, "would_detail": detail})
    return outcomes, changes


def _decode_dead_letter(settings: Settings, dead_letter: DeadLetter, now_ms: int) -> DecodedRecord:
    outcome = decode(dead_letter.headers, dead_letter.value)
    if isinstance(outcome, Event):
        outcome = check_acceptable(outcome, now_ms, settings.allowed_sources)
    partition, offset = dead_letter.partition or 0, dead_letter.offset or 0
    return DecodedRecord(dead_letter.topic, partition, offset, now_ms, dead_letter.headers, dead_letter.value, outcome)


def _print_dry_run(outcomes: Sequence[dict[str, Any]], changes: Sequence[DryRunChange], *, as_json: bool) -> None:
    if as_json:
        forecasts = [
            {**change.milestone._asdict(), "from": change.previous, "to": change.current, "days": change.days}
            for change in changes
        ]
        sys.stdout.write(json.dumps({"letters": outcomes, "forecasts": forecasts}, default=str) + "\n")
        return
    rows = []
    for outcome in outcomes:
        because = ": ".join(filter(None, (outcome["would_reason"], outcome["would_detail"])))
        rows.append((outcome["key"], outcome["reason"], _VERDICT_TEXTS[outcome["verdict"]], because))
    print_rows(list(map(ConsoleColumn, ("key", "reason", "would be", "because"))), rows)
    lines = []
    for change in changes:
        days = "" if change.days is None else f", {slip_text(change.days)} days"
        dates = f"{change.previous or 'none'} -> {change.current or 'none'}"
        lines.append(ConsoleLine(f"{'/'.join(change.milestone)}: {dates}{days}"))
    accepted = sum(outcome["verdict"] in _ACCEPTED_VERDICTS for outcome in outcomes)
    accepted_text = f"{accepted} of {len(outcomes)} {_letters(len(outcomes))} would be accepted"
    moves = "1 forecast" if len(changes) == 1 else f"{len(changes)} forecasts"
    print_lines([*lines, ConsoleLine(f"{accepted_text}, {moves} would move; nothing was sent")])
