"""The commands that show milestones: `milepost status`, `explain` and `history`. They read the database alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.options import (
    AsOfOption,
    DatabaseOption,
    DataDateOption,
    JsonOption,
    MilestoneArgument,
    parse_option,
    print_to_stderr,
    utc_now,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from models.views.queries import MilestoneQuery


def status(  # noqa: PLR0913 - each is an option of the command
    programme: Annotated[str | None, typer.Argument(help="Only this programme.")] = None,
    *,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    data_date: DataDateOption = None,
    as_of: AsOfOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how every milestone stands."""
    from deploy.cli import status as standing  # noqa: PLC0415 - heavy
    from models.views import status as view  # noqa: PLC0415 - heavy

    question = _build_query(data_date, as_of)._replace(programme=programme, project=project)
    with _open_engine(database) as engine:
        shown = view.read_status(engine, question)
    if as_json:
        typer.echo(view.status_to_json(shown.rows), nl=False)
    elif shown.rows:
        standing.print_status(shown, is_terminal=sys.stdout.isatty())
    else:
        print_to_stderr("milepost: no milestones yet")
    for dependency in shown.cyclic:
        print_to_stderr(f"milepost: {view.describe_cycle(dependency)}")


def explain(
    milestone: MilestoneArgument,
    *,
    data_date: DataDateOption = None,
    as_of: AsOfOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why a forecast is what it is.

    The milestones that drive it, one behind the other, and the events behind each.
    """
    from deploy.cli import explain as explaining  # noqa: PLC0415 - heavy
    from models.views import explanation as view  # noqa: PLC0415 - heavy
    from models.views.queries import parse_milestone_name  # noqa: PLC0415 - heavy

    question = _build_query(data_date, as_of)
    key = parse_milestone_name(milestone)
    with _open_engine(database) as engine:
        explanation = view.read_explanation(engine, key, question)
    if as_json:
        typer.echo(view.explanation_to_json(explanation), nl=False)
    else:
        explaining.print_explanation(explanation)


def history(milestone: MilestoneArgument, *, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Show every forecast a milestone ever had.

    And the event that moved it each time.
    """
    from deploy.cli import history as moving  # noqa: PLC0415 - heavy
    from models.views.queries import parse_milestone_name  # noqa: PLC0415 - heavy

    key = parse_milestone_name(milestone)
    with _open_engine(database) as engine:
        moves = moving.read_history_entries(engine, key)
    if as_json:
        typer.echo(moving.history_to_json(moves), nl=False)
    elif moves:
        moving.print_history(moves, key, is_terminal=sys.stdout.isatty())
    if not moves:
        print_to_stderr(
            f"milepost: {'/'.join(key)} has no history yet: no event that a worker took up has moved its forecast"
        )


def _build_query(data_date: str | None, as_of: str | None) -> "MilestoneQuery":
    from models.views.queries import MilestoneQuery, parse_as_of, parse_day  # noqa: PLC0415 - heavy

    return MilestoneQuery(
        utc_now().date() if data_date is None else parse_option("--data-date", parse_day, data_date),
        as_of=None if as_of is None else parse_option("--as-of", parse_as_of, as_of),
    )


@contextmanager
def _open_engine(database: str | None) -> "Iterator[Engine]":
    from models.database.engine import make_engine  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    engine = make_engine(read_settings(database=database).database)
    try:
        yield engine
    finally:
        engine.dispose()
