"""The commands that show milestones: `milepost status`, `explain` and `history`. They read the database alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.options import AsOf, Database, DataDate, Json, Milestone, complain, now, read_option

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from models.views.queries import Question


def status(  # noqa: PLR0913 - each is an option of the command
    programme: Annotated[str | None, typer.Argument(help="Only this programme.")] = None,
    *,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    data_date: DataDate = None,
    as_of: AsOf = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Show how every milestone stands."""
    from deploy.cli import status as standing  # noqa: PLC0415 - heavy
    from models.views import status as view  # noqa: PLC0415 - heavy

    question = _question(data_date, as_of)._replace(programme=programme, project=project)
    with _engine(database) as engine:
        shown = view.read_status(engine, question)
    if as_json:
        typer.echo(view.as_json(shown.rows), nl=False)
    elif shown.rows:
        standing.print_status(shown, terminal=sys.stdout.isatty())
    else:
        complain("milepost: no milestones yet")
    for dependency in shown.set_aside:
        complain(f"milepost: {view.told_set_aside(dependency)}")


def explain(
    milestone: Milestone,
    *,
    data_date: DataDate = None,
    as_of: AsOf = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Show why a forecast is what it is.

    The milestones that drive it, one behind the other, and the events behind each.
    """
    from deploy.cli import explain as explaining  # noqa: PLC0415 - heavy
    from models.views import explanation as view  # noqa: PLC0415 - heavy
    from models.views.queries import read_name  # noqa: PLC0415 - heavy

    question = _question(data_date, as_of)
    key = read_name(milestone)
    with _engine(database) as engine:
        explanation = view.read_explanation(engine, key, question)
    if as_json:
        typer.echo(view.as_json(explanation), nl=False)
    else:
        explaining.print_explanation(explanation)


def history(milestone: Milestone, *, database: Database = None, as_json: Json = False) -> None:
    """Show every forecast a milestone ever had.

    And the event that moved it each time.
    """
    from deploy.cli import history as moving  # noqa: PLC0415 - heavy
    from models.views.queries import read_name  # noqa: PLC0415 - heavy

    key = read_name(milestone)
    with _engine(database) as engine:
        moves = moving.read_moves(engine, key)
    if as_json:
        typer.echo(moving.as_json(moves), nl=False)
    elif moves:
        moving.print_moves(moves, key, terminal=sys.stdout.isatty())
    if not moves:
        complain(f"milepost: {'/'.join(key)} has no history yet: no event that a worker took up has moved its forecast")


def _question(data_date: str | None, as_of: str | None) -> "Question":
    from models.views.queries import Question, read_as_of, read_day  # noqa: PLC0415 - heavy

    return Question(
        now().date() if data_date is None else read_option("--data-date", read_day, data_date),
        as_of=None if as_of is None else read_option("--as-of", read_as_of, as_of),
    )


@contextmanager
def _engine(database: str | None) -> "Iterator[Engine]":
    from models.database.engine import connect  # noqa: PLC0415 - heavy
    from models.settings import read_settings  # noqa: PLC0415 - heavy

    engine = connect(read_settings(database=database).database)
    try:
        yield engine
    finally:
        engine.dispose()
