"""The command `milepost gateway`, and `milepost gateway token`."""

from typing import Annotated

import typer

from deploy.cli.options import KafkaOption, print_line, print_to_stderr
from models.settings import read_log_format, read_settings

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def gateway(
    context: typer.Context,
    *,
    kafka: KafkaOption = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to take events.")] = None,
) -> None:
    """Take CloudEvents over HTTP and publish them to Kafka."""
    if context.invoked_subcommand is not None:
        return
    from deploy.logging_setup import logged_errors  # noqa: PLC0415 - loads SQLAlchemy

    with logged_errors(read_log_format()):
        settings = read_settings(kafka=kafka, gateway=listen)
        from deploy.gateway import run_gateway  # noqa: PLC0415 - loads the web server

        run_gateway(settings)


@app.command()
def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of whoever gets the token; it shows in metrics.")],
    *,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="URI", help="A source that it may speak for, or a prefix that ends in /*."),
    ] = None,
    programme: Annotated[
        list[str] | None, typer.Option("--programme", metavar="NAME", help="A programme of it; without any, all.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events a second; without it no limit.")] = None,
) -> None:
    """Print a new token (to standard error) and its block for the file of tokens; nothing is written.

    The file has the token's SHA-256 alone: the token itself is shown this once.
    """
    from deploy.gateway import create_token  # noqa: PLC0415 - as above

    secret, block = create_token(name, source or [], programme or [], rate)
    for line in block:
        print_line(line)
    print_to_stderr(secret)
