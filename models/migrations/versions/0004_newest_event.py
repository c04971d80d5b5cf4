"""When the newest event of each partition was appended, for the age that pages show.

Of what was recorded before, the ledger says that.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, and fill it."""
    op.add_column("positions", sa.Column("newest_event_ms", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(
        sa.text(
            "UPDATE positions SET newest_event_ms = newest.appended_ms FROM"
            ' (SELECT topic, "partition", max(appended_ms) AS appended_ms FROM ledger'
            ' WHERE digest IS NOT NULL GROUP BY topic, "partition") AS newest'
            ' WHERE positions.topic = newest.topic AND positions."partition" = newest."partition"'
        )
    )
