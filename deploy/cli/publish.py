"""The commands `milepost publish` and `milepost check`."""

import sys
from typing import Annotated

import typer

from consumers.event_files import open_events
from consumers.publish import ContentMode, publish_events, publish_validated, validate_and_report
from deploy.cli.options import KafkaOption, print_line, print_to_stderr, utc_now
from models.settings import read_settings

app = typer.Typer(rich_markup_mode=None)

FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE", help="JSON Lines, .yaml or .csv; - is standard input.")
]


@app.command()
def publish(
    files: FilesArgument,
    *,
    mode: Annotated[ContentMode, typer.Option(help="How events travel in records.")] = ContentMode.STRUCTURED,
    no_check: Annotated[bool, typer.Option("--no-check", help="Send everything as it is, without checking.")] = False,
    kafka: KafkaOption = None,
) -> None:
    """Check events, then send them to Kafka.

    When any event is not valid, none is sent.
    """
    settings = read_settings(kafka=kafka)
    with open_events(files, sys.stdin.buffer, reread=not no_check) as read:
        if no_check:
            count = publish_events(settings, read(), mode)
        else:
            count = publish_validated(settings, read, mode, _now_ms(), print_to_stderr)
    print_line(f"published {count} events to {settings.events_topic}")


@app.command()
def check(
    files: FilesArgument,
    *,
    mode: Annotated[ContentMode, typer.Option(help="How events would travel in records.")] = ContentMode.STRUCTURED,
) -> None:
    """Check events without sending them.

    Prints one line for each that is not valid, and fails if there is any.
    """
    with open_events(files, sys.stdin.buffer, reread=False) as read:
        count, invalid = validate_and_report(read_settings(), read(), _now_ms(), print_line, print_to_stderr, mode)
    if invalid:
        raise typer.Exit(1)
    print_line(f"{count} events are valid")


def _now_ms() -> int:
    return int(utc_now().timestamp() * 1000)
