"""The command `milepost`: reads the settings, calls one function, says in one line what went wrong.

Everything heavy is imported by the command that needs it, so that `milepost --help` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from deploy.cli import audit, dead_letters_commands, milestones
from deploy.cli.options import DatabaseOption, FilesArgument, KafkaOption, WebOption, print_to_stderr, utc_now_ms
from models.errors import MilepostError


class _UserErrorGroup(TyperGroup):
    """Turns errors that are meant for people into one line; every other one is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's signature names a private class
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except Exception as error:
            if (line := _user_message(error)) is None:
                raise
            print_to_stderr(f"milepost: {line}")
            raise typer.Exit(1) from None


def _user_message(error: Exception) -> str | None:
    if isinstance(error, MilepostError):
        return str(error)
    # A folder that may not be made, a file that may not be read
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


app = typer.Typer(
    cls=_UserErrorGroup,
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
    from deploy.kafka.broker import run_kafka_in_foreground  # noqa: PLC0415 - heavy

    run_kafka_in_foreground(data, port)


@app.command()
def init(
    *,
    accept_new_topic: Annotated[
        bool, typer.Option("--accept-new-topic", help="Read an events topic that was made anew from its start.")
    ] = False,
    kafka: KafkaOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make the tables and topics; safe to repeat."""
    from deploy import init  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    settings = read_settings(kafka=kafka, database=database)
    for line in init.create_schema_and_topics(settings):
        typer.echo(line)
    for line in init.accept_new_topic(settings) if accept_new_topic else ():
        typer.echo(line)


@app.command()
def worker(*, kafka: KafkaOption = None, database: DatabaseOption = None, web: WebOption = None) -> None:
    """Run a worker.

    It reads events from Kafka into the database and serves milestones to Prometheus.
    """
    from deploy.worker import run_worker  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    raise typer.Exit(run_worker(read_settings(kafka=kafka, database=database, web=web)))


@app.command()
def publish(
    files: FilesArgument,
    *,
    mode: Annotated[Literal["structured", "binary"], typer.Option(help="How events travel in records.")] = "structured",
    no_check: Annotated[bool, typer.Option("--no-check", help="Send as is, whatever it is.")] = False,
    kafka: KafkaOption = None,
) -> None:
    """Check events, then send them to Kafka.

    One that is not valid keeps all from being sent, unless they are not checked.
    """
    from consumers import publish as publishing  # noqa: PLC0415 - heavy
    from consumers.event_files import open_events  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    settings, how = read_settings(kafka=kafka), publishing.ContentMode(mode)
    with open_events(files, sys.stdin.buffer, reread=not no_check) as read:
        if no_check:
            count = publishing.publish(settings, read(), how)
        else:
            count = publishing.publish_validated(settings, read, how, utc_now_ms(), print_to_stderr)
    typer.echo(f"published {count} events to {settings.events_topic}")


@app.command()
def check(files: FilesArgument) -> None:
    """Check events without sending them.

    Prints one line for each that is not valid, and fails if there is any.
    """
    from consumers.event_files import open_events  # noqa: PLC0415 - heavy
    from consumers.publish import validate_and_report  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy
    from models.text import printable  # noqa: PLC0415 - light, but for this alone

    with open_events(files, sys.stdin.buffer, reread=False) as read:
        count, bad = validate_and_report(
            read_settings(), read(), utc_now_ms(), lambda line: typer.echo(printable(line)), print_to_stderr
        )
    if bad:
        raise typer.Exit(1)
    typer.echo(f"{count} events are valid")


app.command()(milestones.status)
app.command()(milestones.explain)
app.command()(milestones.history)
app.command()(audit.audit)
app.command()(audit.rebuild)
