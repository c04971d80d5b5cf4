"""Which picture of a programme is shown: the present one, or that of another day, or of what was known at a time.

A picture is a pure function of the set of events, the data date, the instant up to which events count, and what is
assumed. The fold of `PictureQuery.as_of` alone reads the ledger; the present is in the tables of the winning claims.
"""

from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection

from models.database.claims import load_facts
from models.database.queries import fold_as_of
from models.domain.assumptions import Assumption
from models.domain.claims import Facts
from models.domain.timestamps import Instant


class PictureQuery(NamedTuple):
    """What distinguishes a picture from the present one, which is the default."""

    #: None: today.
    data_date: date | None = None
    #: Only events stamped up to this instant; None for all.
    as_of: Instant | None = None
    #: What is taken as the newest estimate of a milestone, whatever was said.
    assumptions: tuple[Assumption, ...] = ()

    @property
    def is_present(self) -> bool:
        """Whether nothing distinguishes it from the present picture."""
        return self == PRESENT


PRESENT = PictureQuery()


def as_of_phrase(as_of: Instant | None) -> str:
    """Return the instant of a picture as the end of a phrase; empty for the present."""
    return f" as of {as_of[:19]}Z" if as_of else ""


def load_picture_facts(connection: Connection, picture: PictureQuery, programme: str | None = None) -> Facts:
    """Return the facts of a programme, or of all, from which a picture is calculated; without what is assumed."""
    if picture.as_of is not None:
        return fold_as_of(connection, picture.as_of, programme)
    return load_facts(connection, None if programme is None else [programme])
