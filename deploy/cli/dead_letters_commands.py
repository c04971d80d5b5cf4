"""The commands of `milepost dead-letters`: what was rejected, and what becomes of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.options import DatabaseOption, JsonOption, KafkaOption, utc_now

if TYPE_CHECKING:
    from consumers.dead_letters import DeadLetterSelection
    from models.domain.dead_letters import DeadLetter


app = typer.Typer(help="The rejected events.", no_args_is_help=True, rich_markup_mode=None)

KeysArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY", help="As `milepost dead-letters list` prints them.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="All that were rejected for it.")]
AllOption = Annotated[bool, typer.Option("--all", help="All there are.")]


@app.command("list")
def list_dead_letters(*, kafka: KafkaOption = None, as_json: JsonOption = False) -> None:
    """List the rejected events, one line each."""
    from consumers.dead_letters import read_dead_letters  # noqa: PLC0415 - heavy
    from deploy.cli.dead_letters import print_dead_letters  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    print_dead_letters(read_dead_letters(read_settings(kafka=kafka)), as_json=as_json)


@app.command("show")
def show_dead_letter(
    key: Annotated[str, typer.Argument(help="As `milepost dead-letters list` prints it.")],
    *,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why one event was rejected, and all of it."""
    from consumers.dead_letters import find_dead_letter  # noqa: PLC0415 - heavy
    from deploy.cli.dead_letters import print_dead_letter  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    print_dead_letter(find_dead_letter(read_settings(kafka=kafka), key), as_json=as_json)


@app.command("replay")
def replay_dead_letters(  # noqa: PLR0913 - each is an option of the command
    keys: KeysArgument = None,
    *,
    reason: ReasonOption = None,
    select_all: AllOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; show what would come of it.")] = False,
    kafka: KafkaOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send rejected events back as they came, to where they came from.

    Choose them by KEY, by --reason, or --all. One that is rejected again comes back under a new key.
    """
    from consumers import dead_letters  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    choice = _read_selection(keys, reason, select_all=select_all)
    settings = read_settings(kafka=kafka, database=database)
    letters = dead_letters.select_dead_letters(settings, choice)
    if dry_run:
        from deploy.cli.dead_letters import dry_run_replay, print_dry_run  # noqa: PLC0415 - heavy
        from models.database.engine import make_engine  # noqa: PLC0415 - heavy

        engine = make_engine(settings.database)
        try:
            prospects = dry_run_replay(engine, settings, letters, utc_now())
        finally:
            engine.dispose()
        print_dry_run(prospects, as_json=as_json)
        return
    _run_and_report(dead_letters.replay, settings, letters, f"replayed to {settings.events_topic}", as_json=as_json)


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
    from consumers import dead_letters  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    choice = _read_selection(keys, reason, select_all=select_all)
    settings = read_settings(kafka=kafka)
    _run_and_report(
        dead_letters.discard, settings, dead_letters.select_dead_letters(settings, choice), "discarded", as_json=as_json
    )


def _read_selection(keys: list[str] | None, reason: str | None, *, select_all: bool) -> "DeadLetterSelection":
    from consumers.dead_letters import DeadLetterSelection  # noqa: PLC0415 - heavy

    if sum((bool(keys), reason is not None, select_all)) != 1:
        raise typer.BadParameter("say which: KEYs, --reason REASON or --all, one of the three")
    return DeadLetterSelection(keys or (), reason)


def _run_and_report(
    action: Any,  # noqa: ANN401 - their types are heavy
    settings: Any,  # noqa: ANN401 - as above
    dead_letters: "list[DeadLetter]",
    outcome: str,
    *,
    as_json: bool,
) -> None:
    """Settle letters and print those that are settled, whatever stops it."""
    from deploy.cli.dead_letters import print_dead_letters  # noqa: PLC0415 - heavy
    from models.text import printable  # noqa: PLC0415 - heavy

    done: list[DeadLetter] = []

    def on_resolved(dead_letter: "DeadLetter") -> None:
        done.append(dead_letter)
        if not as_json:
            typer.echo(printable(dead_letter.key))

    try:
        action(settings, dead_letters, on_resolved)
    finally:
        if as_json:
            print_dead_letters(done, as_json=True)
    if not as_json:
        typer.echo(f"{len(done)} dead letters {outcome}")
