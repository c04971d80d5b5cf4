"""The options that commands share, the clock, and lines on the standard streams."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from models.text import printable

KafkaOption = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Kafka's bootstrap servers.")]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="SQLAlchemy URL of the database.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_line(line: str) -> None:
    """Print a line to standard output, at once; unlike `typer.echo`, in the encoding of the stream."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_to_stderr(line: str) -> None:
    """Print a line to standard error, after what was printed so far."""
    try:
        sys.stdout.flush()
    finally:
        sys.stderr.write(f"{printable(line, keep_line_breaks=True)}\n")


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)  # noqa: TID251 - the edge: here the clock comes in
