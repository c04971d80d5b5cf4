"""The command `milepost schema`."""

from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
import typer

from deploy.cli.options import print_line
from models.domain.data_fields import json_schema
from models.domain.events import DATA_TYPES
from models.errors import MilepostError

app = typer.Typer(rich_markup_mode=None)


class UnknownTypeError(MilepostError):
    """An event type that does not exist."""


@app.command()
def schema(
    event_type: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="Only this event type.")] = None,
) -> None:
    """Print the JSON Schema of an event type's data.

    Without a type it prints an object that has the schema of every type under its name.
    """
    if event_type is None:
        document: dict[str, Any] = {name: json_schema(name) for name in DATA_TYPES}
    elif event_type in DATA_TYPES:
        document = json_schema(event_type)
    else:
        nearest = get_close_matches(event_type, DATA_TYPES, 1)
        advice = f"did you mean {nearest[0]}?" if nearest else f"the types are {', '.join(DATA_TYPES)}"
        raise UnknownTypeError(f"no event type is called {event_type!r}: {advice}")
    print_line(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
