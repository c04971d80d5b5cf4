"""Names of milestones: a register of `milestones`.

Reports that had a field `name` before were accepted as if they had none. Their digests are calculated again, and their
names count now: otherwise the ledger would contradict its own events.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

from models.database.ledger import unpack_headers
from models.domain.cloudevents import decode
from models.domain.events import Event, MilestoneReported

revision = "0003"
down_revision = "0002"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


class _NamedReport(NamedTuple):
    stamp: str
    key: tuple[str, str, str]
    name: str


def upgrade() -> None:
    """Add the columns, and fill them from the ledger."""
    op.add_column("milestones", sa.Column("name", sa.Text))
    op.add_column("milestones", sa.Column("name_stamp", _NAME))
    connection = op.get_bind()
    newest: dict[tuple[str, str, str], _NamedReport] = {}
    for report in _named_reports(connection):
        newest[report.key] = max(report, newest.get(report.key, report))
    set_name = sa.text(
        "UPDATE milestones SET name = :name, name_stamp = :stamp"
        " WHERE programme = :programme AND project = :project AND milestone = :milestone"
    )
    for (programme, project, milestone), (stamp, _, name) in newest.items():
        key = {"programme": programme, "project": project, "milestone": milestone}
        connection.execute(set_name, {"name": json.dumps(name), "stamp": stamp, **key})


def _named_reports(connection: sa.Connection) -> Iterator[_NamedReport]:
    """Yield the reports with a name that count, and correct the digests of all that have one."""
    ledger = sa.table("ledger", *map(sa.column, ("source", "id", "type", "digest", "retracted", "headers", "payload")))
    query = sa.select(ledger).where(ledger.c.type == MilestoneReported.TYPE, ledger.c.digest.is_not(None))
    keys = []
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        # JSON may write any character of a field as an escape sequence.
        if b'"name"' not in row.payload and b"\\" not in row.payload:
            continue
        event = decode(unpack_headers(row.headers), row.payload)
        if isinstance(event, Event) and isinstance(event.data, MilestoneReported) and event.data.name is not None:
            keys.append((row.source, row.id, event.digest()))
            if not row.retracted:
                milestone = (event.programme, event.project, event.data.milestone)
                yield _NamedReport(event.stamp, milestone, event.data.name)
    for source, event_id, digest in keys:
        is_event = (ledger.c.source == source) & (ledger.c.id == event_id)
        connection.execute(sa.update(ledger).where(is_event).values(digest=digest))
