"""Topics: which one the positions are of."""

import sqlalchemy as sa
from alembic import op

from models.database.tables import NAME_TYPE

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "topics",
        sa.Column("topic", NAME_TYPE, nullable=False),
        sa.Column("topic_id", NAME_TYPE, nullable=False),
        sa.PrimaryKeyConstraint("topic", name="pk_topics"),
    )
