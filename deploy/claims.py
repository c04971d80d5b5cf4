"""How one event is shown to people behind what it brought about: who said it, and why."""

from collections.abc import Iterator
from typing import Any, Final

from deploy.printing import Line
from models.events import Event
from models.ledger import Name

#: What an event may say beside its dates, in the order in which it is shown.
WORDS: Final = ("reason", "remark", "party")


def said(event: Event | None, name: str) -> Any:  # noqa: ANN401 - a field of any event's data
    """Return what an event says under a name; None when it says nothing, or when there is no event."""
    return None if event is None else getattr(event.data, name, None)


def claim_lines(name: Name, event: Event | None, indent: int) -> Iterator[Line]:
    """Return the lines that tell who said it, and in which words."""
    # A line each: whatever is in a source, it cannot be taken for the id.
    yield Line(f"source: {name.source}", indent, "dim")
    yield Line(f"id: {name.id}", indent, "dim")
    if event is None:
        yield Line("the ledger does not hold this event", indent)
    for word in WORDS:
        if (text := said(event, word)) is not None:
            yield Line(f"{word}: {text}", indent)
