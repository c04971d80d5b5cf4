"""What was believed at a moment: the fold over the claims stamped up to then.

The tables of winning claims know only the present; the ledger keeps every claim, so any past can be folded again.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, select

from models.events import Event
from models.instants import Instant
from models.ledger import restore
from models.milestones import Facts, fold, unretracted
from models.tables import ledger


def believe(connection: Connection, as_of: Instant, programme: str | None = None) -> Facts:
    """Return the winning claims among those stamped up to an instant, itself included; of one programme or of all.

    A retraction counts from its own stamp on: what is retracted today was believed yesterday.
    """
    events = unretracted(_events(connection, as_of, programme))
    return fold(event for event in events if programme is None or event.programme == programme)


def _events(connection: Connection, as_of: Instant, programme: str | None) -> Iterator[Event]:
    # A row without a digest only holds the place of an event that never came.
    stated = select(ledger.c.headers, ledger.c.payload).where(ledger.c.digest.is_not(None), ledger.c.instant <= as_of)
    if programme is None:
        yield from _restored(connection, stated)
        return
    yield from _restored(connection, stated.where(ledger.c.programme == programme))
    # A source may retract under any subject, so what takes these events back may stand under another programme.
    struck = ledger.alias("struck")
    takes_back = (struck.c.source == ledger.c.source) & (struck.c.id == ledger.c.retracts)
    elsewhere = (
        stated.join(struck, takes_back)
        .where(ledger.c.retracts.is_not(None), ledger.c.programme != programme)
        .where(struck.c.programme == programme)
    )
    yield from _restored(connection, elsewhere)


def _restored(connection: Connection, query: Select[Any, Any]) -> Iterator[Event]:
    for headers, payload in connection.execute(query):
        yield restore(headers, payload)
