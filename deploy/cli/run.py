"""The commands that run a part of the system. Each imports its part itself: none needs the others' libraries."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from deploy.cli.options import DatabaseOption, KafkaOption, print_line
from models.setting_values import MAX_PORT, expand_home, parse_whole_number
from models.settings import read_log_format, read_settings

app = typer.Typer(rich_markup_mode=None)
T = TypeVar("T")


def _read_as_settings_do(parse: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return what reads an option as the settings read a value."""

    def read(value: Any) -> T:  # noqa: ANN401 - text, or the default
        try:
            return parse(value)
        except ValueError as error:
            # Typer would show a `ValueError` with pydantic's words before it.
            raise typer.BadParameter(str(error)) from None

    return read


def _whole_number(lowest: int, highest: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:  # noqa: ANN401 - as above
        number = parse_whole_number(value)
        if not lowest <= number <= highest:
            raise ValueError(f"it must be a number from {lowest} to {highest}")
        return number

    return _read_as_settings_do(parse)


WebOption = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to serve HTTP.")]


@app.command()
def demo() -> None:
    """Show everything at work on this machine; Ctrl-C ends it.

    A real Kafka, a SQLite database, a worker, and the sample programme.
    """
    from deploy.demo.run import run_demo  # noqa: PLC0415 - needs milepost[demo]

    run_demo()


@app.command()
def kafka(
    *,
    port: Annotated[
        int | None,
        typer.Option(parser=_whole_number(1, MAX_PORT), metavar="PORT", help="Port; else 9092, or a free one."),
    ] = None,
    data: Annotated[
        Path, typer.Option(parser=_read_as_settings_do(expand_home), metavar="DIR", help="Folder for Kafka's data.")
    ] = Path(".milepost/kafka"),
) -> None:
    """Run a real Kafka for development; Ctrl-C ends it."""
    from deploy.kafka.broker import run_kafka_in_foreground  # noqa: PLC0415 - needs milepost[demo]

    run_kafka_in_foreground(data, port)


@app.command()
def init(  # noqa: PLR0913 - one for each option
    *,
    accept_new_topic: Annotated[
        bool, typer.Option("--accept-new-topic", help="Read an events topic that was recreated from its start.")
    ] = False,
    partitions: Annotated[
        int | None,
        typer.Option(
            parser=_whole_number(1, 10_000),
            metavar="N",
            help="Enlarge the topics that belong together to so many partitions.",
        ),
    ] = None,
    replication: Annotated[
        int | None,
        typer.Option(
            parser=_whole_number(1, 32767),
            metavar="R",
            help="Replicas of each topic that is made; else as the broker says.",
        ),
    ] = None,
    min_insync: Annotated[
        int | None,
        typer.Option(min=1, max=32767, help="How many of the --replication replicas have to take each record."),
    ] = None,
    kafka: KafkaOption = None,
    database: DatabaseOption = None,
) -> None:
    """Create the tables and topics; safe to repeat."""
    from deploy import init as setup  # noqa: PLC0415 - loads Alembic
    from deploy.topics import Replication  # noqa: PLC0415 - loads kafka-python

    settings = read_settings(kafka=kafka, database=database, partitions=partitions)
    asked_for = Replication(replication, min_insync)
    for line in setup.create_schema_and_topics(settings, enlarge=partitions is not None, replication=asked_for):
        print_line(line)
    for line in setup.accept_new_topic(settings) if accept_new_topic else ():
        print_line(line)


@app.command()
def worker(
    *,
    kafka: KafkaOption = None,
    database: DatabaseOption = None,
    web: WebOption = None,
) -> None:
    """Run a worker.

    It records the events of Kafka in the database and serves the milestones to Prometheus.
    """
    from deploy.logging_setup import logged_errors  # noqa: PLC0415 - loads SQLAlchemy

    with logged_errors(read_log_format()):
        settings = read_settings(kafka=kafka, database=database, web=web)
        from deploy.worker import run_worker  # noqa: PLC0415 - loads kafka-python

        raise typer.Exit(run_worker(settings))


@app.command()
def board(*, database: DatabaseOption = None, web: WebOption = None) -> None:
    """Serve the board alone, from the database.

    It needs no Kafka, and of the database the right to read. It asks the workers in MILEPOST_WORKERS for the state of
    the pipeline.
    """
    from deploy.logging_setup import logged_errors  # noqa: PLC0415 - loads SQLAlchemy

    with logged_errors(read_log_format()):
        settings = read_settings(database=database, web=web)
        from deploy.board import run_board  # noqa: PLC0415 - loads SQLAlchemy

        run_board(settings)
