"""Forecasts: what every programme was drawn as, its history, and the revisions by which a change is found."""

import sqlalchemy as sa
from alembic import op

from models.database.tables import NAME_TYPE

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.add_column("ledger", sa.Column("revision", sa.BigInteger))
    op.add_column("ledger", sa.Column("struck_revision", sa.BigInteger))
    struck = sa.text("struck_revision IS NOT NULL")
    op.create_index("ix_ledger_struck", "ledger", ["programme"], postgresql_where=struck, sqlite_where=struck)
    # What is there already came before every revision from now on.
    op.execute("UPDATE ledger SET revision = 0 WHERE digest IS NOT NULL")
    for table in ("projects", "sites", "milestones", "dependencies"):
        op.add_column(table, sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "pictures",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("history", sa.BigInteger, nullable=False),
        sa.Column("published", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("programme", name="pk_pictures"),
    )
    op.create_table(
        "forecasts",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("project", NAME_TYPE, nullable=False),
        sa.Column("milestone", NAME_TYPE, nullable=False),
        sa.Column("forecast", sa.Date),
        sa.Column("slip_days", sa.Integer),
        sa.Column("float_days", sa.Integer),
        sa.Column("state", NAME_TYPE, nullable=False),
        sa.Column("driver_project", NAME_TYPE),
        sa.Column("driver_milestone", NAME_TYPE),
        sa.Column("dependents", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("programme", "project", "milestone", name="pk_forecasts"),
    )
    op.create_table(
        "history",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("project", NAME_TYPE, nullable=False),
        sa.Column("milestone", NAME_TYPE, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("noted_ms", sa.BigInteger, nullable=False),
        sa.Column("was", sa.Date),
        sa.Column("becomes", sa.Date),
        sa.Column("slip_days", sa.Integer),
        sa.Column("state", NAME_TYPE, nullable=False),
        sa.Column("driver_project", NAME_TYPE),
        sa.Column("driver_milestone", NAME_TYPE),
        sa.Column("dependents", sa.Integer),
        sa.Column("cause_source", NAME_TYPE, nullable=False),
        sa.Column("cause_id", NAME_TYPE, nullable=False),
        sa.Column("correlationid", sa.Text),
        sa.PrimaryKeyConstraint("programme", "number", name="pk_history"),
    )
    op.create_index("ix_history_milestone", "history", ["programme", "project", "milestone"])
