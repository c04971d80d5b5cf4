"""The command `milepost notify`."""

from typing import Annotated

import typer

from deploy.cli.options import DatabaseOption, KafkaOption, print_line
from models.settings import read_log_format, read_settings

app = typer.Typer(rich_markup_mode=None)


@app.command()
def notify(
    *,
    kafka: KafkaOption = None,
    database: DatabaseOption = None,
    test: Annotated[
        str | None, typer.Option(metavar="NAME", help="Send a sample to this target, and nothing else.")
    ] = None,
) -> None:
    """Tell people and systems what changed.

    MILEPOST_NOTIFY names the file of those who are told.
    """
    from deploy.logging_setup import logged_errors  # noqa: PLC0415 - loads SQLAlchemy

    if test is not None:
        settings = read_settings(kafka=kafka, database=database)
        from deploy.notify import send_sample  # noqa: PLC0415 - loads the Kafka client

        send_sample(settings, test)
        print_line(f"{test} took the sample")
        return
    with logged_errors(read_log_format()):
        settings = read_settings(kafka=kafka, database=database)
        from deploy.notify import run_notify  # noqa: PLC0415 - as above

        run_notify(settings)
