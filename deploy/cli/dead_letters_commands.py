"""The commands of `milepost dead-letters`: what was rejected, and what becomes of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.options import Database, Json, Kafka, now

if TYPE_CHECKING:
    from consumers.dead_letters import Choice
    from models.domain.dead_letters import DeadLetter


app = typer.Typer(help="The rejected events.", no_args_is_help=True, rich_markup_mode=None)

Keys = Annotated[list[str] | None, typer.Argument(metavar="KEY", help="As `milepost dead-letters list` prints them.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="All that were rejected for it.")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]


@app.command("list")
def list_letters(*, kafka: Kafka = None, as_json: Json = False) -> None:
    """List the rejected events, one line each."""
    from consumers.dead_letters import read_dead_letters  # noqa: PLC0415 - heavy
    from deploy.cli.dead_letters import print_list  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    print_list(read_dead_letters(read_settings(kafka=kafka)), as_json=as_json)


@app.command("show")
def show_letter(
    key: Annotated[str, typer.Argument(help="As `milepost dead-letters list` prints it.")],
    *,
    kafka: Kafka = None,
    as_json: Json = False,
) -> None:
    """Show why one event was rejected, and all of it."""
    from consumers.dead_letters import find_dead_letter  # noqa: PLC0415 - heavy
    from deploy.cli.dead_letters import print_letter  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    print_letter(find_dead_letter(read_settings(kafka=kafka), key), as_json=as_json)


@app.command("replay")
def replay_letters(  # noqa: PLR0913 - each is an option of the command
    keys: Keys = None,
    *,
    reason: Reason = None,
    everything: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; show what would come of it.")] = False,
    kafka: Kafka = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Send rejected events back as they came, to where they came from.

    Choose them by KEY, by --reason, or --all. One that is rejected again comes back under a new key.
    """
    from consumers import dead_letters  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    choice = _choice(keys, reason, everything=everything)
    settings = read_settings(kafka=kafka, database=database)
    letters = dead_letters.choose(settings, choice)
    if dry_run:
        from deploy.cli.dead_letters import look_ahead, print_prospects  # noqa: PLC0415 - heavy
        from models.database.engine import connect  # noqa: PLC0415 - heavy

        engine = connect(settings.database)
        try:
            prospects = look_ahead(engine, settings, letters, now())
        finally:
            engine.dispose()
        print_prospects(prospects, as_json=as_json)
        return
    _do(dead_letters.replay, settings, letters, f"replayed to {settings.events_topic}", as_json=as_json)


@app.command("discard")
def discard_letters(
    keys: Keys = None,
    *,
    reason: Reason = None,
    everything: All = False,
    kafka: Kafka = None,
    as_json: Json = False,
) -> None:
    """Take rejected events off the list for good.

    Choose them by KEY, by --reason, or --all.
    """
    from consumers import dead_letters  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    choice = _choice(keys, reason, everything=everything)
    settings = read_settings(kafka=kafka)
    _do(dead_letters.discard, settings, dead_letters.choose(settings, choice), "discarded", as_json=as_json)


def _choice(keys: list[str] | None, reason: str | None, *, everything: bool) -> "Choice":
    from consumers.dead_letters import Choice  # noqa: PLC0415 - heavy

    if sum((bool(keys), reason is not None, everything)) != 1:
        raise typer.BadParameter("say which: KEYs, --reason REASON or --all, one of the three")
    return Choice(keys or (), reason)


def _do(act: Any, settings: Any, letters: "list[DeadLetter]", what: str, *, as_json: bool) -> None:  # noqa: ANN401 - their types are heavy
    """Settle letters and print those that are settled, whatever stops it."""
    from deploy.cli.dead_letters import print_list  # noqa: PLC0415 - heavy
    from models.text import printable  # noqa: PLC0415 - heavy

    done: list[DeadLetter] = []

    def tell(letter: "DeadLetter") -> None:
        done.append(letter)
        if not as_json:
            typer.echo(printable(letter.key))

    try:
        act(settings, letters, tell)
    finally:
        if as_json:
            print_list(done, as_json=True)
    if not as_json:
        typer.echo(f"{len(done)} dead letters {what}")
