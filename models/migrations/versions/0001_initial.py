"""The first schema: all tables, as `models.database.tables` describes them.

Write these tables out here before a second migration changes one of them: a migration must not follow the code.
"""

from alembic import op

from models.database.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables; fails where one of them is there already. The way back is a backup."""
    metadata.create_all(op.get_bind(), checkfirst=False)
