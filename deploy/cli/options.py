"""The options that commands share, the clock, and lines on standard error."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from models.text import printable

T = TypeVar("T")

KafkaOption = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Kafka's bootstrap servers.")]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="SQLAlchemy URL of the database.")
]
WebOption = Annotated[str | None, typer.Option("--web", metavar="HOST:PORT", help="Where to serve HTTP.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE", help="JSON Lines, .yaml or .csv; - is standard input.")
]
DataDateOption = Annotated[
    str | None, typer.Option(metavar="DAY", help="Calculate the schedule for this day; else today in UTC.")
]
AsOfOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Count only what was claimed up to then: a timestamp, or a day's end in UTC."),
]
MilestoneArgument = Annotated[str, typer.Argument(metavar="PROGRAMME/PROJECT/MILESTONE", help="The milestone.")]


def parse_option(option: str, parse: Callable[[str], T], text: str | None) -> T | None:
    """Return the value of an option, None when it is not given; text that cannot be parsed is wrong usage."""
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def print_to_stderr(line: str) -> None:
    """Print a line to standard error, after what was printed so far."""
    sys.stdout.flush()
    typer.echo(printable(line, keep_line_breaks=True), err=True)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)  # noqa: TID251 - the edge: here the clock comes in
