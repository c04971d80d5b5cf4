"""The spine: ledger, positions, programmes, and the winning claims of projects, milestones and dependencies."""

import sqlalchemy as sa
from alembic import op

from models.database.tables import NAME_TYPE

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Go forward; there is no way back but a backup."""
    op.create_table(
        "ledger",
        sa.Column("source", NAME_TYPE, nullable=False),
        sa.Column("id", NAME_TYPE, nullable=False),
        sa.Column("type", NAME_TYPE),
        sa.Column("programme", NAME_TYPE),
        sa.Column("project", NAME_TYPE),
        sa.Column("instant", NAME_TYPE),
        sa.Column("retracts", NAME_TYPE),
        sa.Column("retracted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("topic", NAME_TYPE),
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
        sa.Column("topic", NAME_TYPE, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_positions"),
    )
    op.create_table(
        "programmes",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("registered_stamp", NAME_TYPE),
        sa.Column("name", sa.Text),
        sa.Column("name_stamp", NAME_TYPE),
        sa.Column("investment", sa.Text),
        sa.Column("investment_stamp", NAME_TYPE),
        sa.Column("jobs", sa.Text),
        sa.Column("jobs_stamp", NAME_TYPE),
        sa.PrimaryKeyConstraint("programme", name="pk_programmes"),
    )
    op.create_table(
        "projects",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("project", NAME_TYPE, nullable=False),
        sa.Column("registered_stamp", NAME_TYPE),
        sa.Column("withdrawn_stamp", NAME_TYPE),
        sa.Column("name", sa.Text),
        sa.Column("name_stamp", NAME_TYPE),
        sa.Column("kind", NAME_TYPE),
        sa.Column("kind_stamp", NAME_TYPE),
        sa.Column("site", NAME_TYPE),
        sa.Column("site_stamp", NAME_TYPE),
        sa.Column("investment", sa.Text),
        sa.Column("investment_stamp", NAME_TYPE),
        sa.Column("jobs", sa.Text),
        sa.Column("jobs_stamp", NAME_TYPE),
        sa.PrimaryKeyConstraint("programme", "project", name="pk_projects"),
    )
    op.create_table(
        "sites",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("project", NAME_TYPE, nullable=False),
        sa.Column("site", NAME_TYPE, nullable=False),
        sa.PrimaryKeyConstraint("programme", "project", "site", name="pk_sites"),
    )
    op.create_table(
        "milestones",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("project", NAME_TYPE, nullable=False),
        sa.Column("milestone", NAME_TYPE, nullable=False),
        sa.Column("baseline", sa.Date),
        sa.Column("baseline_stamp", NAME_TYPE),
        sa.Column("planned", sa.Date),
        sa.Column("planned_amount", sa.Text),
        sa.Column("planned_stamp", NAME_TYPE),
        sa.Column("estimated", sa.Date),
        sa.Column("estimated_amount", sa.Text),
        sa.Column("estimated_stamp", NAME_TYPE),
        sa.Column("actual", sa.Date),
        sa.Column("actual_amount", sa.Text),
        sa.Column("actual_stamp", NAME_TYPE),
        sa.Column("cancelled_stamp", NAME_TYPE),
        sa.PrimaryKeyConstraint("programme", "project", "milestone", name="pk_milestones"),
    )
    op.create_table(
        "dependencies",
        sa.Column("programme", NAME_TYPE, nullable=False),
        sa.Column("project", NAME_TYPE, nullable=False),
        sa.Column("milestone", NAME_TYPE, nullable=False),
        sa.Column("after_project", NAME_TYPE, nullable=False),
        sa.Column("after_milestone", NAME_TYPE, nullable=False),
        sa.Column("lag_days", sa.Integer),
        sa.Column("declared_stamp", NAME_TYPE),
        sa.Column("withdrawn_stamp", NAME_TYPE),
        sa.PrimaryKeyConstraint(
            "programme", "project", "milestone", "after_project", "after_milestone", name="pk_dependencies"
        ),
    )
