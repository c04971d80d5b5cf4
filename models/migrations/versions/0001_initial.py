"""The first schema. The tables are written out here, because a migration must not follow the code."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_metadata = sa.MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"})
_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

_Type = type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]


def _columns(column_type: _Type, *names: str, **options: Any) -> list[sa.Column[Any]]:  # noqa: ANN401 - passed to Column
    return [sa.Column(name, column_type, **options) for name in names]


def _key(*names: str) -> list[sa.Column[Any]]:
    return _columns(_NAME, *names, primary_key=True)


def _text_registers(*names: str) -> list[sa.Column[Any]]:
    return [column for name in names for column in (sa.Column(name, sa.Text), sa.Column(f"{name}_stamp", _NAME))]


def _revision() -> sa.Column[int]:
    return sa.Column("revision", sa.BigInteger, nullable=False, server_default="0")


def _partial_index(name: str, column: str, condition: str) -> sa.Index:
    return sa.Index(name, column, postgresql_where=sa.text(condition), sqlite_where=sa.text(condition))


sa.Table(
    "ledger",
    _metadata,
    *_key("source", "id"),
    *_columns(_NAME, "type", "programme", "project", "instant", "retracts"),
    sa.Column("retracted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("topic", _NAME),
    sa.Column("partition", sa.Integer),
    *_columns(sa.BigInteger, "offset", "appended_ms"),
    *_columns(sa.LargeBinary, "headers", "payload"),
    *_columns(sa.BigInteger, "revision", "retracted_revision"),
    sa.Index("ix_ledger_subject", "programme", "project"),
    _partial_index("ix_ledger_retracts", "retracts", "retracts IS NOT NULL"),
    _partial_index("ix_ledger_retracted", "programme", "retracted_revision IS NOT NULL"),
)
sa.Table(
    "positions",
    _metadata,
    *_key("topic"),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
)
sa.Table("topics", _metadata, *_key("topic"), sa.Column("topic_id", _NAME, nullable=False))
sa.Table(
    "programmes",
    _metadata,
    *_key("programme"),
    _revision(),
    sa.Column("registered_stamp", _NAME),
    *_text_registers("name", "investment", "jobs"),
)
sa.Table(
    "projects",
    _metadata,
    *_key("programme", "project"),
    *_columns(_NAME, "registered_stamp", "withdrawn_stamp"),
    *_text_registers("name"),
    *_columns(_NAME, "kind", "kind_stamp", "site", "site_stamp"),
    *_text_registers("investment", "jobs"),
    _revision(),
)
sa.Table("sites", _metadata, *_key("programme", "project", "site"), _revision())
sa.Table(
    "milestones",
    _metadata,
    *_key("programme", "project", "milestone"),
    sa.Column("baseline", sa.Date),
    sa.Column("baseline_stamp", _NAME),
    *(
        column
        for claim in ("planned", "estimated", "actual")
        for column in (
            sa.Column(claim, sa.Date),
            sa.Column(f"{claim}_amount", sa.Text),
            sa.Column(f"{claim}_stamp", _NAME),
        )
    ),
    sa.Column("cancelled_stamp", _NAME),
    _revision(),
)
sa.Table(
    "dependencies",
    _metadata,
    *_key("programme", "project", "milestone", "after_project", "after_milestone"),
    sa.Column("lag_days", sa.Integer),
    *_columns(_NAME, "declared_stamp", "withdrawn_stamp"),
    _revision(),
)
sa.Table(
    "checkpoints",
    _metadata,
    *_key("programme"),
    _revision(),
    sa.Column("data_date", sa.Date, nullable=False),
    *_columns(sa.BigInteger, "history_count", "published_number", nullable=False),
)
sa.Table(
    "forecasts",
    _metadata,
    *_key("programme", "project", "milestone"),
    sa.Column("forecast", sa.Date),
    *_columns(sa.Integer, "slip_days", "float_days"),
    sa.Column("state", _NAME, nullable=False),
    *_columns(_NAME, "driver_project", "driver_milestone"),
    sa.Column("dependents", sa.Integer, nullable=False),
)
sa.Table(
    "history",
    _metadata,
    *_key("programme"),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    *_columns(_NAME, "project", "milestone", nullable=False),
    _revision(),
    sa.Column("recorded_ms", sa.BigInteger, nullable=False),
    *_columns(sa.Date, "previous", "current"),
    sa.Column("slip_days", sa.Integer),
    sa.Column("state", _NAME, nullable=False),
    *_columns(_NAME, "driver_project", "driver_milestone"),
    sa.Column("dependents", sa.Integer),
    *_columns(_NAME, "cause_source", "cause_id", nullable=False),
    sa.Column("correlationid", sa.Text),
    sa.Index("ix_history_milestone", "programme", "project", "milestone"),
)


def upgrade() -> None:
    """Create the tables; fails where one of them is there already. The way back is a backup."""
    _metadata.create_all(op.get_bind(), checkfirst=False)
