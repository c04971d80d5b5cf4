"""How fresh the database is: its newest event, and the programmes whose forecasts lack recorded events."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from models.database.tables import checkpoints, positions, programmes

#: So many programmes are named at most: that there is one is what matters.
MAX_OUTDATED: Final = 200


class OutdatedForecasts(NamedTuple):
    """The revision of a programme, and that of its forecasts: 0 before the first calculation."""

    revision: int
    forecast_revision: int


class Freshness(NamedTuple):
    """What the database says of its own age."""

    #: When the broker appended the newest accepted event, in milliseconds since the epoch; None before the first.
    newest_event_ms: int | None
    #: Programmes whose forecasts lack recorded events, some of them where there are many.
    outdated: Mapping[str, OutdatedForecasts]


def read_freshness(connection: Connection) -> Freshness:
    """Return how fresh the database is."""
    newest_event_ms = connection.scalar(select(func.max(positions.c.newest_event_ms)))
    revision = func.coalesce(checkpoints.c.revision, 0)
    query = (
        select(programmes.c.programme, programmes.c.revision, revision)
        .outerjoin(checkpoints, checkpoints.c.programme == programmes.c.programme)
        .where(revision < programmes.c.revision)
        .order_by(programmes.c.programme)
        .limit(MAX_OUTDATED)
    )
    outdated = {name: OutdatedForecasts(*revisions) for name, *revisions in connection.execute(query)}
    return Freshness(newest_event_ms or None, outdated)
