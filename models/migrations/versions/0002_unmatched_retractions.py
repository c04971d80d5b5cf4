"""An index of the ledger's tombstones, by which retractions are counted whose event is not there.

The first migration creates the tables as the code describes them, so a new database has the index already.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the index where it is missing."""
    op.create_index(
        "ix_ledger_tombstone",
        "ledger",
        ["source", "id"],
        postgresql_where=sa.text("digest IS NULL"),
        sqlite_where=sa.text("digest IS NULL"),
        if_not_exists=True,
    )
