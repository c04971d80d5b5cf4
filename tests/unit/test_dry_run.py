"""What events would change, before they arrive."""

from datetime import date
from pathlib import Path

from models.database.dry_run import dry_run_batch
from models.database.engine import make_engine, read_transaction
from models.database.ledger import DecodedRecord
from models.database.migrate import migrate
from models.domain.cloudevents import decode
from tests.helpers.event_generators import structured_record
from tests.helpers.events import cancellation, date_report

DAY = date(2026, 3, 10)


def test_forecasts_that_would_change_stand_in_the_order_of_rows(tmp_path: Path) -> None:
    told = [
        date_report("1", "lot-10/a", "PLN", "2026-05-01"),
        date_report("2", "lot-2/a", "PLN", "2026-06-02"),
        date_report("3", "lot-2/b", "PLN", "2026-06-01"),
        date_report("4", "lot-1/a", "PLN", "2026-06-01"),
        cancellation("5", "lot-1/a", time="2026-03-01T00:00:00Z"),
    ]
    raw = [structured_record(event) for event in told]
    records = [DecodedRecord("t", 0, at, 0, *record, decode(*record)) for at, record in enumerate(raw)]
    engine = make_engine(f"sqlite:///{tmp_path / 'milepost.db'}")
    migrate(engine)
    with read_transaction(engine) as connection:
        changes = dry_run_batch(connection, records, DAY).changes
    engine.dispose()
    # What is cancelled has no forecast, and had none.
    assert [("/".join(change.milestone[1:]), change.days, str(change.current)) for change in changes] == [
        ("lot-2/b", None, "2026-06-01"),
        ("lot-2/a", None, "2026-06-02"),
        ("lot-10/a", None, "2026-05-01"),
    ]
