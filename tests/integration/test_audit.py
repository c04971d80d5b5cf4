"""What `milepost audit` promises: real Kafka, both databases, a real worker."""

import asyncio
import re

from sqlalchemy import text

from consumers.audit import AuditSummary, audit
from models.database.consistency import Difference
from models.database.engine import make_engine, write_transaction
from models.database.recorder import Recorder
from models.settings import Settings
from tests.helpers.event_generators import Headers, random_events, shuffled_with_duplicates, structured_record
from tests.helpers.recorder import count_events
from tests.helpers.workers import publish_records, running_app, wait_until_async

#: What is done to the database, and the line that tells of it.
DAMAGE = [
    (
        "UPDATE milestones SET planned = '2031-01-01' WHERE planned IS NOT NULL",
        "milestones .* planned: expected .*, found 2031-01-01",
    ),
    ("DELETE FROM dependencies", "dependencies .*: expected a row, found none"),
    (
        "UPDATE ledger SET payload = headers WHERE id = (SELECT min(id) FROM ledger WHERE headers IS NOT NULL)",
        "ledger .*: expected an event, found malformed",
    ),
    (
        "DELETE FROM ledger WHERE id = (SELECT max(id) FROM ledger WHERE digest IS NOT NULL)",
        ".*: expected in the ledger .*, found nowhere",
    ),
    ("UPDATE positions SET next_offset = next_offset + 1000", ".* position: expected at most .* the log's end"),
]


def test_what_a_worker_made_of_the_topic_is_found_equal_and_each_damage_is_reported(fresh_settings: Settings) -> None:
    events = shuffled_with_duplicates(random_events(7, 1500, with_dependencies=True), 7)
    records: list[tuple[bytes | None, Headers, bytes | None]] = [(None, *structured_record(event)) for event in events]
    records += [(None, [], b"no event"), (b"north", [], None)]
    publish_records(fresh_settings, records)
    engine = make_engine(fresh_settings.database)
    store = Recorder(engine)

    async def run() -> tuple[list[Difference], AuditSummary]:
        async with running_app(fresh_settings):
            await wait_until_async(
                lambda: sum(store.read_positions(fresh_settings.events_topic).values()) == len(records), "all is read"
            )
            return await asyncio.to_thread(audit, fresh_settings, engine)

    wrong, summary = asyncio.run(run())
    assert wrong == []
    assert summary.records_read == len(records) == summary.accepted + summary.duplicates + summary.rejected
    assert summary.accepted == count_events(store)
    assert summary.rejected == 2
    for statement, told in DAMAGE:
        with write_transaction(engine) as connection:
            connection.execute(text(statement))
        lines = [str(difference) for difference in audit(fresh_settings, engine)[0]]
        assert any(re.match(told, line) for line in lines), statement
    engine.dispose()
