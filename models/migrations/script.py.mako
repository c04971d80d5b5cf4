"""${message}."""

import sqlalchemy as sa
from alembic import op

from models.database.tables import NAME_TYPE

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Upgrade; the way back is a backup."""
    ${upgrades if upgrades else "pass"}
