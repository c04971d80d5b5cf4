"""The SQL tables. Migrations make them; `SCHEMA` names the revision this program was written for.

Names and stamps compare by code point everywhere (collation C; SQLite's BINARY), as they do in Python: the winner
of two claims and the order in which rows are locked must not depend on a database's locale.

Free text (names, amounts) is kept as JSON text: a NUL character, legal in JSON and refused by PostgreSQL's text,
is then as storable as any other, and both databases hold the same.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

SCHEMA_REVISION: Final = "0001"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NAME_TYPE: Final = Text().with_variant(Text(collation="C"), "postgresql")


def json_text(value: Any | None) -> str | None:  # noqa: ANN401 - any JSON value
    """Return a JSON value as text; None stays None."""
    return None if value is None else msgspec.json.encode(value).decode()


class JsonText(TypeDecorator[Any]):
    """Any JSON value as text, escaped so that every database takes it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:  # noqa: ARG002, ANN401 - SQLAlchemy's signature
        """Encode; None stays NULL."""
        return json_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any | None:  # noqa: ARG002, ANN401 - as above
        """Decode."""
        return None if value is None else msgspec.json.decode(value)


def _name_column(name: str, **options: Any) -> Column[str]:  # noqa: ANN401 - handed on to Column
    return Column(name, NAME_TYPE, **options)


def _key_columns(*names: str) -> list[Column[str]]:
    return [_name_column(name, primary_key=True) for name in names]


def _stamped_columns(name: str, *value_columns: Column[Any], keep_oldest: bool = False) -> list[Column[Any]]:
    """Columns that one winning claim sets together: its values and its stamp (what `recorder` merges by)."""
    stamp = f"{name}_stamp"
    for value in value_columns:
        value.info["register"] = (stamp, keep_oldest)
    return [*value_columns, Column(stamp, NAME_TYPE, info={"register": (stamp, keep_oldest)})]


def _revision_column() -> Column[int]:
    """Return the column that says at which revision of its programme a row was last written."""
    return Column("revision", BigInteger, nullable=False, server_default="0")


#: Every event that was accepted, as it came. A row without a digest holds the place of an event that was retracted
#: before it arrived. The revisions are those of the event's own programme: at which it came, and at which a retraction
#: that came later struck it.
ledger = Table(
    "ledger",
    metadata,
    *_key_columns("source", "id"),
    _name_column("type"),
    _name_column("programme"),
    _name_column("project"),
    _name_column("instant"),
    _name_column("retracts"),
    Column("retracted", Boolean, nullable=False, server_default=false()),
    Column("digest", LargeBinary),
    _name_column("topic"),
    Column("partition", Integer),
    Column("offset", BigInteger),
    Column("appended_ms", BigInteger),
    Column("headers", LargeBinary),
    Column("payload", LargeBinary),
    Column("revision", BigInteger),
    Column("retracted_revision", BigInteger),
    Index("ix_ledger_subject", "programme", "project"),
    Index(
        "ix_ledger_retracts",
        "retracts",
        postgresql_where=text("retracts IS NOT NULL"),
        sqlite_where=text("retracts IS NOT NULL"),
    ),
    Index(
        "ix_ledger_retracted",
        "programme",
        postgresql_where=text("retracted_revision IS NOT NULL"),
        sqlite_where=text("retracted_revision IS NOT NULL"),
    ),
)

#: The next offset to read of each partition; moves in the transaction that holds the events before it.
positions = Table(
    "positions",
    metadata,
    _name_column("topic", primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

#: Which topic the positions are of: one that was deleted and made again has its name, and another id.
topics = Table("topics", metadata, *_key_columns("topic"), _name_column("topic_id", nullable=False))

#: What is announced for a programme, and how often it changed.
programmes = Table(
    "programmes",
    metadata,
    *_key_columns("programme"),
    _revision_column(),
    *_stamped_columns("registered"),
    *_stamped_columns("name", Column("name", JsonText)),
    *_stamped_columns("investment", Column("investment", JsonText)),
    *_stamped_columns("jobs", Column("jobs", JsonText)),
)

projects = Table(
    "projects",
    metadata,
    *_key_columns("programme", "project"),
    *_stamped_columns("registered"),
    *_stamped_columns("withdrawn"),
    *_stamped_columns("name", Column("name", JsonText)),
    *_stamped_columns("kind", _name_column("kind")),
    *_stamped_columns("site", _name_column("site")),
    *_stamped_columns("investment", Column("investment", JsonText)),
    *_stamped_columns("jobs", Column("jobs", JsonText)),
    _revision_column(),
)

#: Every site that an unretracted registration names: being named is enough to exist.
sites = Table("sites", metadata, *_key_columns("programme", "project", "site"), _revision_column())

milestones = Table(
    "milestones",
    metadata,
    *_key_columns("programme", "project", "milestone"),
    *_stamped_columns("baseline", Column("baseline", Date), keep_oldest=True),
    *_stamped_columns("planned", Column("planned", Date), Column("planned_amount", JsonText)),
    *_stamped_columns("estimated", Column("estimated", Date), Column("estimated_amount", JsonText)),
    *_stamped_columns("actual", Column("actual", Date), Column("actual_amount", JsonText)),
    *_stamped_columns("cancelled"),
    _revision_column(),
)

dependencies = Table(
    "dependencies",
    metadata,
    *_key_columns("programme", "project", "milestone", "after_project", "after_milestone"),
    *_stamped_columns("declared", Column("lag_days", Integer)),
    *_stamped_columns("withdrawn"),
    _revision_column(),
)

#: What the winning claims of a subject (programme, project) are kept in, in the order in which rows are written.
SUBJECT_TABLES: Final = (projects, sites, milestones, dependencies)

#: Of which revision and day each programme's forecasts are, how many rows its history has, and up to which of them the
#: changes were published. Whoever draws a programme moves this row from what it read to what it did, so that of two
#: that draw the same one begins again.
checkpoints = Table(
    "checkpoints",
    metadata,
    *_key_columns("programme"),
    _revision_column(),
    Column("data_date", Date, nullable=False),
    Column("history_count", BigInteger, nullable=False),
    Column("published_number", BigInteger, nullable=False),
)

#: How every milestone stands on its picture's day.
forecasts = Table(
    "forecasts",
    metadata,
    *_key_columns("programme", "project", "milestone"),
    Column("forecast", Date),
    Column("slip_days", Integer),
    Column("float_days", Integer),
    _name_column("state", nullable=False),
    _name_column("driver_project"),
    _name_column("driver_milestone"),
    Column("dependents", Integer, nullable=False),
)

#: Every forecast that an event moved, and every milestone that one achieved, numbered by programme.
history = Table(
    "history",
    metadata,
    *_key_columns("programme"),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _name_column("project", nullable=False),
    _name_column("milestone", nullable=False),
    _revision_column(),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("previous", Date),
    Column("current", Date),
    Column("slip_days", Integer),
    _name_column("state", nullable=False),
    _name_column("driver_project"),
    _name_column("driver_milestone"),
    #: Only where the milestone was achieved: how many open ones waited for it.
    Column("dependents", Integer),
    #: The event behind it.
    _name_column("cause_source", nullable=False),
    _name_column("cause_id", nullable=False),
    Column("correlationid", JsonText),
    Index("ix_history_milestone", "programme", "project", "milestone"),
)
