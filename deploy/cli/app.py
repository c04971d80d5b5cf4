"""The command `milepost`. It loads the module of a command only to run it: loading all of them takes seconds."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, metadata
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from deploy.cli.options import print_line, print_to_stderr
from deploy.cli.streams import standard_streams
from models.errors import MilepostError
from models.text import printable

#: The module of each command in `deploy.cli`, and the first line of its help.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "demo": ("run", "Show everything at work on this machine; Ctrl-C ends it."),
    "kafka": ("run", "Run a real Kafka for development; Ctrl-C ends it."),
    "init": ("run", "Create the tables and topics; safe to repeat."),
    "worker": ("run", "Run a worker."),
    "board": ("run", "Serve the board alone, from the database."),
    "gateway": ("gateway", "Take CloudEvents over HTTP and publish them to Kafka."),
    "notify": ("notify", "Tell people and systems what changed."),
    "publish": ("publish", "Check events, then send them to Kafka."),
    "check": ("publish", "Check events without sending them."),
    "schema": ("schema", "Print the JSON Schema of an event type's data."),
    "status": ("status", "Show the status of every milestone."),
    "explain": ("explain", "Show why a forecast is what it is."),
    "history": ("history", "Show every forecast a milestone ever had."),
    "report": ("report", "Report what was said in a span of days, and what comes."),
    "audit": ("audit", "Compare the database with the events topic."),
    "doctor": ("doctor", "Look at each thing that must be right for a role."),
    "rebuild": ("audit", "Compare the database with its ledger, and repair it."),
    "dead-letters": ("dead_letters", "The rejected events."),
}
#: Thresholds of the three generations of the garbage collector. (Python: 700, 10, 10.) Modules create what stays, and a
#: batch of a worker creates tens of thousands of objects that reference counting frees: collecting them again and again
#: takes a tenth of the time of a start, and a quarter of a worker's.
GC_THRESHOLDS: Final = (50_000, 20, 50)
#: Of an error in usage; Typer's own name of it is private.
_UsageError: Final[Any] = typer.BadParameter.__base__


@contextmanager
def _printable_usage_errors() -> Iterator[None]:
    """Escape what a wrong argument has of control characters: the error repeats it."""
    try:
        yield
    except _UsageError as error:
        error.message = printable(error.message, keep_line_breaks=True)
        raise


class _LazyGroup(TyperGroup):
    """Turns errors that people can act on into one line; every other one is a bug and keeps its traceback."""

    def list_commands(self, _ctx: Any) -> list[str]:  # noqa: ANN401 - Typer's signature names a private class
        return list(COMMANDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - as above
        if cmd_name not in COMMANDS:
            return None
        group = typer.main.get_group(import_module(f"deploy.cli.{COMMANDS[cmd_name][0]}").app)
        # A module defines the command itself, or a group of that name.
        return group.commands.get(cmd_name, group)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as above
        with _printable_usage_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        try:
            with _printable_usage_errors():
                return super().invoke(ctx)
        except MilepostError as error:
            message = str(error)
        except OSError as error:
            # A folder that cannot be created, a file that cannot be read
            if isinstance(error, BrokenPipeError) or error.filename is None:
                raise
            message = f"{printable(str(error.filename))}: {error.strerror}"
        print_to_stderr(f"milepost: {message}")
        raise typer.Exit(1)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print_line(f"milepost {metadata.version('milepost')}")
        raise typer.Exit


def _accept_common_options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app = typer.Typer(
    cls=_LazyGroup,
    callback=_accept_common_options,
    help="An event-driven tracker of project milestones.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: Rich would take longer to load than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; the console script."""
    gc.set_threshold(*GC_THRESHOLDS)
    with standard_streams():
        app(prog_name="milepost")
