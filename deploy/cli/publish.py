"""The commands `milepost publish` and `milepost check`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from consumers.event_files import open_events
from consumers.gateway import GatewayClient, publish_through_gateway, read_token
from consumers.publish import ContentMode, publish_events, publish_validated, validate_and_report
from deploy.cli.options import KafkaOption, print_line, print_to_stderr, utc_now
from models.settings import read_settings
from models.views.formatting import format_count

app = typer.Typer(rich_markup_mode=None)

FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE", help="JSON Lines, .yaml or .csv; - is standard input.")
]


@app.command()
def publish(  # noqa: PLR0913 - each is an option of the command line
    files: FilesArgument,
    *,
    mode: Annotated[ContentMode, typer.Option(help="How events travel in records.")] = ContentMode.STRUCTURED,
    no_check: Annotated[bool, typer.Option("--no-check", help="Send everything as it is, without checking.")] = False,
    kafka: KafkaOption = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="URL", help="Send through the gateway there, without rights on Kafka.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="The gateway's token.")] = None,
) -> None:
    """Check events, then send them to Kafka.

    When any event is not valid, none is sent.
    """
    settings = read_settings(kafka=kafka)
    if gateway is not None or token_file is not None:
        if gateway is None or token_file is None:
            raise typer.BadParameter("--gateway and --token-file belong together")
        if no_check or mode is not ContentMode.STRUCTURED or kafka is not None:
            raise typer.BadParameter("--gateway goes with none of --no-check, --mode and --kafka")
        client = GatewayClient(gateway, read_token(token_file), print_to_stderr)
        with open_events(files, sys.stdin.buffer, reread=True, warn=print_to_stderr) as read:
            count = publish_through_gateway(client, settings, read, _now_ms(), print_to_stderr)
        print_line(f"published {format_count(count, 'event')} through {client.url}")
        return
    with open_events(files, sys.stdin.buffer, reread=not no_check, as_is=no_check, warn=print_to_stderr) as read:
        if no_check:
            count = publish_events(settings, read(), mode)
        else:
            count = publish_validated(settings, read, mode, _now_ms(), print_to_stderr)
    print_line(f"published {format_count(count, 'event')} to {settings.events_topic}")


@app.command()
def check(
    files: FilesArgument,
    *,
    mode: Annotated[ContentMode, typer.Option(help="How events would travel in records.")] = ContentMode.STRUCTURED,
) -> None:
    """Check events without sending them.

    Prints one line for each that is not valid, and fails if there is any. A file without an event is a warning.
    """
    with open_events(files, sys.stdin.buffer, reread=False, warn=print_to_stderr) as read:
        count, invalid = validate_and_report(read_settings(), read(), _now_ms(), print_line, print_to_stderr, mode)
    if invalid:
        raise typer.Exit(1)
    print_line(f"{format_count(count, 'event is', 'events are')} valid" if count else "there is no event to check")


def _now_ms() -> int:
    return int(utc_now().timestamp() * 1000)
