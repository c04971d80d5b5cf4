"""The options with which commands choose milestones and a day."""

from typing import Annotated

import typer

from deploy.cli.options import utc_now
from models.domain.assumptions import MAX_ASSUMPTIONS, Assumption
from models.views.queries import MilestoneQuery, parse_as_of, parse_assumption, parse_data_date

DataDateOption = Annotated[
    str | None, typer.Option(metavar="DAY", help="Calculate the schedule for this day; else today in UTC.")
]
AsOfOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Count only what was claimed up to then: a timestamp, or a day's end in UTC."),
]
AssumeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PROJECT/MILESTONE=DAY",
        help=f"Take this day as the milestone's newest estimate; may be repeated, up to {MAX_ASSUMPTIONS} times.",
    ),
]
MilestoneArgument = Annotated[str, typer.Argument(metavar="PROGRAMME/PROJECT/MILESTONE", help="The milestone.")]


def parse_query(
    data_date: str | None, as_of: str | None, programme: str | None = None, project: str | None = None
) -> MilestoneQuery:
    """Return the query that options describe; text that cannot be parsed is wrong usage."""
    option = "--data-date"
    try:
        day = utc_now().date() if data_date is None else parse_data_date(data_date)
        option = "--as-of"
        return MilestoneQuery(day, programme, project, None if as_of is None else parse_as_of(as_of))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def parse_assumptions(texts: list[str] | None) -> tuple[Assumption, ...]:
    """Return what an option assumes; text that cannot be parsed is wrong usage."""
    try:
        return tuple(parse_assumption(text, "=") for text in texts or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--assume") from None
