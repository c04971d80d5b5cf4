"""The SQL tables, which the migrations create.

Names and stamps compare by code point (collation C; SQLite's BINARY), as they do in Python: the winner of two claims
and the order of row locks must not depend on a database's locale.

Free text (names, amounts) is stored as JSON text, so that a NUL character, which JSON allows and PostgreSQL's text
refuses, can be stored, and both databases hold the same.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa

#: The revision of the migrations that this program works with.
SCHEMA_REVISION: Final = "0004"

metadata = sa.MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"})

NAME_TYPE: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def json_text(value: Any | None) -> str | None:  # noqa: ANN401 - any JSON value
    """Return a JSON value as text; None for None."""
    return None if value is None else msgspec.json.encode(value).decode()


class JsonText(sa.TypeDecorator[Any]):
    """Any JSON value as escaped text, which every database accepts; None is NULL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002, ANN401 - SQLAlchemy's signature
        """Encode a value."""
        return json_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any | None:  # noqa: ARG002, ANN401 - as above
        """Decode a value."""
        return None if value is None else msgspec.json.decode(value)


_ColumnType = type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any]


def _columns(column_type: _ColumnType, *names: str, **options: Any) -> list[sa.Column[Any]]:  # noqa: ANN401 - passed to Column
    return [sa.Column(name, column_type, **options) for name in names]


def _key_columns(*names: str) -> list[sa.Column[Any]]:
    return _columns(NAME_TYPE, *names, primary_key=True)


def _claim_columns(claim: str, *, keep_oldest: bool = False, **value_types: _ColumnType) -> list[sa.Column[Any]]:
    """Return the columns that one winning claim sets: its values and its stamp, by which `upsert` merges rows."""
    stamp = f"{claim}_stamp"
    info = {"register": (stamp, keep_oldest)}
    return [sa.Column(name, column_type, info=info) for name, column_type in {**value_types, stamp: NAME_TYPE}.items()]


def _revision_column() -> sa.Column[int]:
    # The programme's revision at which the row was last written.
    return sa.Column("revision", sa.BigInteger, nullable=False, server_default="0")


def _partial_index(name: str, *columns: str, condition: str) -> sa.Index:
    return sa.Index(name, *columns, postgresql_where=sa.text(condition), sqlite_where=sa.text(condition))


#: Every accepted event, as received. A row without a digest is a tombstone: its event was retracted before it arrived.
#: The revisions are of the event's own programme: when the event was recorded, and when a later retraction hit it.
ledger = sa.Table(
    "ledger",
    metadata,
    *_key_columns("source", "id"),
    *_columns(NAME_TYPE, "type", "programme", "project", "instant", "retracts"),
    sa.Column("retracted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("topic", NAME_TYPE),
    sa.Column("partition", sa.Integer),
    *_columns(sa.BigInteger, "offset", "appended_ms"),
    *_columns(sa.LargeBinary, "headers", "payload"),
    *_columns(sa.BigInteger, "revision", "retracted_revision"),
    sa.Index("ix_ledger_subject", "programme", "project"),
    _partial_index("ix_ledger_retracts", "retracts", condition="retracts IS NOT NULL"),
    _partial_index("ix_ledger_retracted", "programme", condition="retracted_revision IS NOT NULL"),
    _partial_index("ix_ledger_tombstone", "source", "id", condition="digest IS NULL"),
)

#: The next offset to read of each partition, and when its newest accepted event was appended (0: there is none);
#: updated in the transaction that writes the events before it.
positions = sa.Table(
    "positions",
    metadata,
    *_key_columns("topic"),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("newest_event_ms", sa.BigInteger, nullable=False, server_default="0"),
)

#: The id of the topic that the positions belong to: a recreated topic has the same name and another id.
topics = sa.Table("topics", metadata, *_key_columns("topic"), sa.Column("topic_id", NAME_TYPE, nullable=False))

#: Registered attributes of each programme, and its revision: the number of batches that changed it.
programmes = sa.Table(
    "programmes",
    metadata,
    *_key_columns("programme"),
    _revision_column(),
    *_claim_columns("registered"),
    *_claim_columns("name", name=JsonText),
    *_claim_columns("investment", investment=JsonText),
    *_claim_columns("jobs", jobs=JsonText),
)

projects = sa.Table(
    "projects",
    metadata,
    *_key_columns("programme", "project"),
    *_claim_columns("registered"),
    *_claim_columns("withdrawn"),
    *_claim_columns("name", name=JsonText),
    *_claim_columns("kind", kind=NAME_TYPE),
    *_claim_columns("site", site=NAME_TYPE),
    *_claim_columns("investment", investment=JsonText),
    *_claim_columns("jobs", jobs=JsonText),
    _revision_column(),
)

#: Every site that an unretracted registration names: a name is enough to exist.
sites = sa.Table("sites", metadata, *_key_columns("programme", "project", "site"), _revision_column())

milestones = sa.Table(
    "milestones",
    metadata,
    *_key_columns("programme", "project", "milestone"),
    *_claim_columns("baseline", baseline=sa.Date, keep_oldest=True),
    *_claim_columns("planned", planned=sa.Date, planned_amount=JsonText),
    *_claim_columns("estimated", estimated=sa.Date, estimated_amount=JsonText),
    *_claim_columns("actual", actual=sa.Date, actual_amount=JsonText),
    *_claim_columns("cancelled"),
    _revision_column(),
    *_claim_columns("name", name=JsonText),
)

dependencies = sa.Table(
    "dependencies",
    metadata,
    *_key_columns("programme", "project", "milestone", "after_project", "after_milestone"),
    *_claim_columns("declared", lag_days=sa.Integer),
    *_claim_columns("withdrawn"),
    _revision_column(),
)

#: The tables of the winning claims of a subject (programme, project), in the order in which rows are written.
SUBJECT_TABLES: Final = (projects, sites, milestones, dependencies)

#: The revision and data date of each programme's forecasts, the number of its history rows, and the number of the last
#: published one. The projector advances this row from the version it read (optimistic locking).
checkpoints = sa.Table(
    "checkpoints",
    metadata,
    *_key_columns("programme"),
    _revision_column(),
    sa.Column("data_date", sa.Date, nullable=False),
    *_columns(sa.BigInteger, "history_count", "published_number", nullable=False),
)

#: The status of every milestone on the data date of its programme's checkpoint; columns in the order of `ForecastRow`.
forecasts = sa.Table(
    "forecasts",
    metadata,
    *_key_columns("programme", "project", "milestone"),
    sa.Column("forecast", sa.Date),
    *_columns(sa.Integer, "slip_days", "float_days"),
    sa.Column("state", NAME_TYPE, nullable=False),
    *_columns(NAME_TYPE, "driver_project", "driver_milestone"),
    sa.Column("dependents", sa.Integer, nullable=False),
)

#: Every change of a forecast by an event, and every milestone that an event achieved, numbered by programme; columns
#: in the order of `HistoryRow`.
history = sa.Table(
    "history",
    metadata,
    *_key_columns("programme"),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    *_columns(NAME_TYPE, "project", "milestone", nullable=False),
    _revision_column(),
    sa.Column("recorded_ms", sa.BigInteger, nullable=False),
    *_columns(sa.Date, "previous", "current"),
    sa.Column("slip_days", sa.Integer),
    sa.Column("state", NAME_TYPE, nullable=False),
    *_columns(NAME_TYPE, "driver_project", "driver_milestone"),
    #: Only where the milestone was achieved: the number of open milestones that waited for it.
    sa.Column("dependents", sa.Integer),
    *_columns(NAME_TYPE, "cause_source", "cause_id", nullable=False),
    sa.Column("correlationid", JsonText),
    sa.Index("ix_history_milestone", "programme", "project", "milestone"),
)
