"""What tests of the recorder share: events as records of a log, and the state of the database afterwards."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select, text

from models.database import claims
from models.database.engine import dispose_engine, make_engine, read_transaction, write_transaction
from models.database.ledger import DecodedRecord, RejectedRecord
from models.database.migrate import migrate
from models.database.positions import OffsetRange
from models.database.recorder import Batch, Recorder, RecordingResult
from models.database.tables import SUBJECT_TABLES, ledger, metadata, programmes
from models.domain.claims import Facts, MilestoneKey
from models.domain.cloudevents import decode
from models.domain.events import Rejection
from models.domain.schedule import MilestoneStatus, compute_schedule
from tests.helpers import oracle
from tests.helpers.event_generators import Headers, structured_record
from tests.helpers.oracle import EVENT_RETRACTED, MILESTONE_REPORTED, JsonEvent, JsonRow

TOPIC = "milepost.events"
DAY = date(2026, 3, 12)
GATE = MilestoneKey("north", "wharf", "permit-approved")

#: What the set of events alone decides: not how often a programme changed, nor where a record came from.
ORDER_INDEPENDENT_COLUMNS = {
    programmes: [column for column in programmes.c if column.name != "revision"],
    ledger: [ledger.c[name] for name in ("source", "id", "type", "programme", "project", "instant", "retracts")]
    + [ledger.c.retracted, ledger.c.digest],
    **{table: [column for column in table.c if column.name != "revision"] for table in SUBJECT_TABLES},
}


class TopicLog:
    """Records of a topic, as they were appended."""

    def __init__(self) -> None:
        self.partitions: dict[int, list[DecodedRecord]] = {}

    def append(
        self,
        event: JsonEvent,
        partition: int = 0,
        encode: Callable[[JsonEvent], tuple[Headers, bytes]] = structured_record,
        appended_ms: int = 0,
    ) -> DecodedRecord:
        """Append an event; return its record, read."""
        headers, value = encode(event)
        return self.append_raw(headers, value, partition, appended_ms)

    def append_raw(
        self, headers: Headers, value: bytes | None, partition: int = 0, appended_ms: int = 0
    ) -> DecodedRecord:
        """Append any record; return it, read."""
        records = self.partitions.setdefault(partition, [])
        entry = DecodedRecord(TOPIC, partition, len(records), appended_ms, headers, value, decode(headers, value))
        records.append(entry)
        return entry

    @property
    def offset_ranges(self) -> Mapping[int, tuple[int, int]]:
        """The first and the end offset of every partition."""
        return {partition: (0, len(records)) for partition, records in self.partitions.items()}


def count_events(recorder: Recorder) -> int:
    """Return the number of events in the ledger."""
    query = select(func.count()).select_from(ledger).where(ledger.c.digest.is_not(None))
    with read_transaction(recorder.engine) as connection:
        return connection.scalar(query) or 0


def load_facts(recorder: Recorder, names: Sequence[str] | None = None) -> tuple[Facts, dict[str, int]]:
    """Return the facts of some programmes, or of all, with their revisions, from one snapshot."""
    query = select(programmes.c.programme, programmes.c.revision)
    with read_transaction(recorder.engine) as connection:
        revisions = connection.execute(query if names is None else query.where(programmes.c.programme.in_(names))).all()
        return claims.load_facts(connection, names), dict(revisions)


def event_batch(records: Sequence[DecodedRecord]) -> Batch:
    """Give the batch of these records, which follow one another in their partitions."""
    offsets: dict[int, list[int]] = {}
    for entry in records:
        offsets.setdefault(entry.partition, []).append(entry.offset)
    for numbers in offsets.values():
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
    return Batch(
        [OffsetRange(TOPIC, partition, numbers[0], numbers[-1] + 1) for partition, numbers in offsets.items()], records
    )


def fail_on_rejection(rejected: Sequence[RejectedRecord]) -> None:
    """Take rejected records where none may be."""
    raise AssertionError(rejected)


@contextmanager
def migrated_engine(url: str) -> Iterator[Engine]:
    """Give an engine to a database with the schema in place."""
    engine = make_engine(url)
    try:
        migrate(engine)
        yield engine
    finally:
        dispose_engine(engine)


def emptied_recorder(engine: Engine) -> Recorder:
    """Give a store on the database, emptied."""
    with write_transaction(engine) as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))
    return Recorder(engine)


def order_independent_rows(engine: Engine) -> dict[str, set[str]]:
    """Give every row of every table, without what the order of events may change."""
    with read_transaction(engine) as connection:
        return {
            table.name: {repr(tuple(row)) for row in connection.execute(select(*columns))}
            for table, columns in ORDER_INDEPENDENT_COLUMNS.items()
        }


def new_recorder(engine: Engine) -> Recorder:
    """Return a recorder that has taken up four empty partitions."""
    recorder = Recorder(engine)
    recorder.resolve_start_offsets(TOPIC, dict.fromkeys(range(4), (0, 0)))
    return recorder


def event_json(  # noqa: PLR0913 - each of them can decide
    type_: str, name: str, data: dict[str, Any], *, subject: str = "north/wharf", source: str = "office", day: int = 1
) -> JsonEvent:
    """Return an event of north/wharf, as JSON."""
    return {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": type_,
        "subject": subject,
        "time": f"2026-01-{day:02}T12:00:00Z",
        "data": data,
    }


def plan_event(name: str, when: str = "2026-06-01", **more: Any) -> JsonEvent:  # noqa: ANN401 - as in `event_json`
    """Return a report of the planned date of `GATE`."""
    return event_json(
        MILESTONE_REPORTED, name, {"milestone": "permit-approved", "classifier": "PLN", "date": when}, **more
    )


def retraction_event(of: str, name: str = "r", **more: Any) -> JsonEvent:  # noqa: ANN401 - as in `event_json`
    """Return the retraction of the event with this id."""
    return event_json(EVENT_RETRACTED, name, {"retracts": of, "reason": "incorrect_data"}, **more)


def planned_date(recorder: Recorder) -> str | None:
    """Return the planned date of `GATE`."""
    milestone = load_facts(recorder)[0].milestones.get(GATE)
    return milestone.planned.date.isoformat() if milestone and milestone.planned else None


def event_ids(entries: Sequence[DecodedRecord]) -> list[str]:
    """Return the ids of the events that these records carry."""
    return [entry.outcome.id for entry in entries if not isinstance(entry.outcome, Rejection)]


def record_batch(recorder: Recorder, *entries: DecodedRecord) -> RecordingResult:
    """Record a batch of which some records may be rejected."""
    rejected: list[RejectedRecord] = []
    recorded = recorder.record(event_batch(entries), rejected.extend)
    assert rejected == list(recorded.rejected)
    return recorded


def row_count(recorder: Recorder, table: str) -> int:
    """Return how many rows a table has."""
    with read_transaction(recorder.engine) as connection:
        return connection.scalar(select(func.count()).select_from(metadata.tables[table])) or 0


def reject_inserts(connection: Connection, condition: str, table: str = "ledger") -> None:
    """Make the database refuse rows of a table."""
    if connection.dialect.name == "sqlite":
        body = "BEGIN SELECT RAISE(ABORT, 'not\nthis'); END"
        connection.execute(text(f"CREATE TRIGGER refusal BEFORE INSERT ON {table} WHEN {condition} {body}"))
        return
    body = "BEGIN RAISE EXCEPTION E'not\\nthis'; END"
    connection.execute(text(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"))
    each = f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
    connection.execute(text(f"CREATE TRIGGER refusal BEFORE INSERT ON {table} {each}"))


ObservableState = tuple[
    list[JsonRow],
    dict[tuple[str, str], JsonRow],
    dict[str, JsonRow],
    dict[tuple[str, str, str, str, str], int],
    dict[tuple[str, ...], int],
    list[tuple[str, ...]],
]


def state_of_facts(facts: Facts, data_date: date) -> ObservableState:
    """Return the state that facts give, in the form of the oracle."""
    registers = ("name", "kind", "site", "investment", "jobs")
    schedule = compute_schedule(facts, data_date)
    return (
        [json_status_row(status) for status in schedule.statuses],
        {
            key: {
                **{name: _register_value(facts.projects.get(key), name) for name in registers},
                "withdrawn": key in facts.projects and facts.projects[key].is_withdrawn,
            }
            for key in sorted(facts.existing_projects())
        },
        {
            name: {
                field: _register_value(facts.programmes.get(name), field) for field in ("name", "investment", "jobs")
            }
            for name in sorted(facts.existing_programmes())
        },
        {
            key: dependency.declared.value
            for key, dependency in sorted(facts.dependencies.items())
            if dependency.declared is not None and dependency.is_in_force
        },
        {tuple(status.key): status.dependents for status in schedule.statuses},
        sorted(schedule.cyclic),
    )


def expected_state(events: Iterable[JsonEvent], data_date: date, as_of: str | None = None) -> ObservableState:
    """Return the state that the oracle gives for events."""
    events = list(events)
    return (
        oracle.expected_milestones(events, data_date, as_of),
        oracle.expected_projects(events, as_of),
        oracle.expected_programmes(events, as_of),
        oracle.expected_dependencies(events, as_of),
        {tuple(key): count for key, count in oracle.expected_dependents(events, as_of).items()},
        sorted(key for keys in oracle.expected_cyclic(events, as_of).values() for key in keys),
    )


def json_status_row(status: MilestoneStatus) -> JsonRow:
    """Give a status as `status --json` prints it, without the revision."""
    row = status._asdict()
    del row["last_claim_stamp"], row["amount"], row["dependents"]
    return {
        **row,
        "state": status.state.value,
        "driver": str(status.driver) if status.driver else None,
        **{name: value.isoformat() for name, value in row.items() if isinstance(value, date)},
    }


def _register_value(record: object, name: str) -> Any:  # noqa: ANN401 - a field of JSON
    register = getattr(record, name, None)
    if register is None:
        return None
    value = register.value
    return {"amount": value.amount, "currency": value.currency} if name == "investment" else value
