"""The command `milepost`: reads the settings, calls one function, says in one line what went wrong.

Everything heavy is imported by the command that needs it, so that `milepost --help` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from deploy.cli import audit, dead_letters_commands, milestones
from deploy.cli.options import Database, Files, Kafka, Web, complain, now_ms
from models.errors import MilepostError


class _Milepost(TyperGroup):
    """Turns errors that are meant for people into one line; every other one is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's signature names a private class
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except Exception as error:
            if (line := _line(error)) is None:
                raise
            complain(f"milepost: {line}")
            raise typer.Exit(1) from None


def _line(error: Exception) -> str | None:
    if isinstance(error, MilepostError):
        return str(error)
    # A folder that may not be made, a file that may not be read
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


app = typer.Typer(
    cls=_Milepost,
    help="An event-driven tracker of project milestones.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: Rich would take longer to load than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(dead_letters_commands.app, name="dead-letters")


def main() -> None:
    """Run the command line; the console script."""
    app(prog_name="milepost")


@app.command()
def demo() -> None:
    """Show everything at work on this machine; Ctrl-C ends it.

    A real Kafka, a SQLite database, a worker, and the sample programme.
    """
    from deploy.demo.run import run_demo  # noqa: PLC0415 - heavy

    run_demo()


@app.command("kafka")
def run_kafka(
    *,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; else 9092, or a free one.")] = None,
    data: Annotated[Path, typer.Option(help="Folder for Kafka's data.")] = Path(".milepost/kafka"),
) -> None:
    """Run a real Kafka for development; Ctrl-C ends it."""
    from deploy.kafka.broker import serve_kafka  # noqa: PLC0415 - heavy

    serve_kafka(data, port)


@app.command()
def init(
    *,
    accept_new_topic: Annotated[
        bool, typer.Option("--accept-new-topic", help="Read an events topic that was made anew from its start.")
    ] = False,
    kafka: Kafka = None,
    database: Database = None,
) -> None:
    """Make the tables and topics; safe to repeat."""
    from deploy import init  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(kafka=kafka, database=database)
    for line in init.prepare(settings):
        typer.echo(line)
    for line in init.accept_new_topic(settings) if accept_new_topic else ():
        typer.echo(line)


@app.command()
def worker(*, kafka: Kafka = None, database: Database = None, web: Web = None) -> None:
    """Run a worker.

    It reads events from Kafka into the database and serves milestones to Prometheus.
    """
    from deploy.worker import run_worker  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    raise typer.Exit(run_worker(read_settings(kafka=kafka, database=database, web=web)))


@app.command()
def publish(
    files: Files,
    *,
    mode: Annotated[Literal["structured", "binary"], typer.Option(help="How events travel in records.")] = "structured",
    no_check: Annotated[bool, typer.Option("--no-check", help="Send as is, whatever it is.")] = False,
    kafka: Kafka = None,
) -> None:
    """Check events, then send them to Kafka.

    One that is not valid keeps all from being sent, unless they are not checked.
    """
    from consumers import publish as publishing  # noqa: PLC0415 - heavy
    from consumers.event_files import opened  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    settings, how = read_settings(kafka=kafka), publishing.Mode(mode)
    with opened(files, sys.stdin.buffer, again=not no_check) as read:
        if no_check:
            count = publishing.publish(settings, read(), how)
        else:
            count = publishing.publish_checked(settings, read, how, now_ms(), complain)
    typer.echo(f"published {count} events to {settings.events_topic}")


@app.command()
def check(files: Files) -> None:
    """Check events without sending them.

    Prints one line for each that is not valid, and fails if there is any.
    """
    from consumers.event_files import opened  # noqa: PLC0415 - heavy
    from consumers.publish import check_all  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy
    from models.text import printable  # noqa: PLC0415 - light, but for this alone

    with opened(files, sys.stdin.buffer, again=False) as read:
        count, bad = check_all(read_settings(), read(), now_ms(), lambda line: typer.echo(printable(line)), complain)
    if bad:
        raise typer.Exit(1)
    typer.echo(f"{count} events are valid")


app.command()(milestones.status)
app.command()(milestones.explain)
app.command()(milestones.history)
app.command()(audit.audit)
app.command()(audit.rebuild)
