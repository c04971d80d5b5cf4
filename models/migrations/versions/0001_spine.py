"""The spine: ledger, positions, programmes, and the winning claims of projects, milestones and dependencies."""

import sqlalchemy as sa
from alembic import op

from models.database.tables import NAME

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "ledger",
        sa.Column("source", NAME, nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("type", NAME),
        sa.Column("programme", NAME),
        sa.Column("project", NAME),
        sa.Column("instant", NAME),
        sa.Column("retracts", NAME),
        sa.Column("retracted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("topic", NAME),
        sa.Column("partition", sa.Integer),
        sa.Column("offset", sa.BigInteger),
        sa.Column("appended_ms", sa.BigInteger),
        sa.Column("headers", sa.LargeBinary),
        sa.Column("payload", sa.LargeBinary),
        sa.PrimaryKeyConstraint("source", "id", name="pk_ledger"),
    )
    op.create_index("ix_ledger_subject", "ledger", ["programme", "project"])
    retracting = sa.text("retracts IS NOT NULL")
    op.create_index("ix_ledger_retracts", "ledger", ["retracts"], postgresql_where=retracting, sqlite_where=retracting)
    op.create_table(
        "positions",
        sa.Column("topic", NAME, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_positions"),
    )
    op.create_table(
        "programmes",
        sa.Column("programme", NAME, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("registered_stamp", NAME),
        sa.Column("name", sa.Text),
        sa.Column("name_stamp", NAME),
        sa.Column("investment", sa.Text),
        sa.Column("investment_stamp", NAME),
        sa.Column("jobs", sa.Text),
        sa.Column("jobs_stamp", NAME),
        sa.PrimaryKeyConstraint("programme", name="pk_programmes"),
    )
    op.create_table(
        "projects",
        sa.Column("programme", NAME, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("registered_stamp", NAME),
        sa.Column("withdrawn_stamp", NAME),
        sa.Column("name", sa.Text),
        sa.Column("name_stamp", NAME),
        sa.Column("kind", NAME),
        sa.Column("kind_stamp", NAME),
        sa.Column("site", NAME),
        sa.Column("site_stamp", NAME),
        sa.Column("investment", sa.Text),
        sa.Column("investment_stamp", NAME),
        sa.Column("jobs", sa.Text),
        sa.Column("jobs_stamp", NAME),
        sa.PrimaryKeyConstraint("programme", "project", name="pk_projects"),
    )
    op.create_table(
        "sites",
        sa.Column("programme", NAME, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("site", NAME, nullable=False),
        sa.PrimaryKeyConstraint("programme", "project", "site", name="pk_sites"),
    )
    op.create_table(
        "milestones",
        sa.Column("programme", NAME, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("milestone", NAME, nullable=False),
        sa.Column("baseline", sa.Date),
        sa.Column("baseline_stamp", NAME),
        sa.Column("planned", sa.Date),
        sa.Column("planned_amount", sa.Text),
        sa.Column("planned_stamp", NAME),
        sa.Column("estimated", sa.Date),
        sa.Column("estimated_amount", sa.Text),
        sa.Column("estimated_stamp", NAME),
        sa.Column("actual", sa.Date),
        sa.Column("actual_amount", sa.Text),
        sa.Column("actual_stamp", NAME),
        sa.Column("cancelled_stamp", NAME),
        sa.PrimaryKeyConstraint("programme", "project", "milestone", name="pk_milestones"),
    )
    op.create_table(
        "dependencies",
        sa.Column("programme", NAME, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("milestone", NAME, nullable=False),
        sa.Column("after_project", NAME, nullable=False),
        sa.Column("after_milestone", NAME, nullable=False),
        sa.Column("lag_days", sa.Integer),
        sa.Column("declared_stamp", NAME),
        sa.Column("withdrawn_stamp", NAME),
        sa.PrimaryKeyConstraint(
            "programme", "project", "milestone", "after_project", "after_milestone", name="pk_dependencies"
        ),
    )
