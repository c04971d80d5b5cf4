"""What tests of the store share: events as records of a log, and what the database says afterwards."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

from sqlalchemy import Engine, delete, select

from models.database.engine import connect, reading, writing
from models.database.ledger import Entry, Rejected
from models.database.migrate import migrate
from models.database.positions import Span
from models.database.recorder import Batch, Store
from models.database.tables import FACTS, ledger, metadata, programmes
from models.domain.claims import Facts
from models.domain.cloudevents import decode
from models.domain.schedule import Standing, picture
from tests import reading as oracle
from tests.publisher import Headers, structured
from tests.reading import Event, Row

TOPIC = "milepost.events"

#: What the set of events alone decides: not how often a programme changed, nor where a record came from.
DECIDED = {
    programmes: [column for column in programmes.c if column.name != "revision"],
    ledger: [ledger.c[name] for name in ("source", "id", "type", "programme", "project", "instant", "retracts")]
    + [ledger.c.retracted, ledger.c.digest],
    **{table: [column for column in table.c if column.name != "revision"] for table in FACTS},
}


class Log:
    """Records of a topic, as they were appended."""

    def __init__(self) -> None:
        self.partitions: dict[int, list[Entry]] = {}

    def append(
        self,
        event: Event,
        partition: int = 0,
        mode: Callable[[Event], tuple[Headers, bytes]] = structured,
        appended_ms: int = 0,
    ) -> Entry:
        """Append an event; return its record, read."""
        headers, value = mode(event)
        return self.append_raw(headers, value, partition, appended_ms)

    def append_raw(self, headers: Headers, value: bytes | None, partition: int = 0, appended_ms: int = 0) -> Entry:
        """Append any record; return it, read."""
        records = self.partitions.setdefault(partition, [])
        entry = Entry(TOPIC, partition, len(records), appended_ms, headers, value, decode(headers, value))
        records.append(entry)
        return entry

    @property
    def ends(self) -> Mapping[int, tuple[int, int]]:
        """The first and the end offset of every partition."""
        return {partition: (0, len(records)) for partition, records in self.partitions.items()}


def batch_of(entries: Sequence[Entry]) -> Batch:
    """Give the batch of these records, which follow one another in their partitions."""
    offsets: dict[int, list[int]] = {}
    for entry in entries:
        offsets.setdefault(entry.partition, []).append(entry.offset)
    for found in offsets.values():
        assert found == list(range(found[0], found[-1] + 1))
    return Batch([Span(TOPIC, partition, found[0], found[-1] + 1) for partition, found in offsets.items()], entries)


def refuse_none(rejected: Sequence[Rejected]) -> None:
    """Take rejected records where none may be."""
    raise AssertionError(rejected)


@contextmanager
def prepared(url: str) -> Iterator[Engine]:
    """Give an engine to a database with the schema in place."""
    engine = connect(url)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def emptied(engine: Engine) -> Store:
    """Give a store on the database, emptied."""
    with writing(engine) as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))
    return Store(engine)


def decided(engine: Engine) -> dict[str, set[str]]:
    """Give every row of every table, without what the order of events may change."""
    with reading(engine) as connection:
        return {
            table.name: {repr(tuple(row)) for row in connection.execute(select(*columns))}
            for table, columns in DECIDED.items()
        }


Told = tuple[
    list[Row],
    dict[tuple[str, str], Row],
    dict[str, Row],
    dict[tuple[str, str, str, str, str], int],
    dict[tuple[str, ...], int],
    list[tuple[str, ...]],
]


def as_told(facts: Facts, data_date: date) -> Told:
    """Give what facts say, in the form of the independent reading."""
    registers = ("name", "kind", "site", "investment", "jobs")
    drawn = picture(facts, data_date)
    return (
        [row_of(standing) for standing in drawn.standings],
        {
            key: {
                **{name: _value(facts.projects.get(key), name) for name in registers},
                "withdrawn": key in facts.projects and facts.projects[key].is_withdrawn,
            }
            for key in sorted(facts.existing_projects())
        },
        {
            name: {field: _value(facts.programmes.get(name), field) for field in ("name", "investment", "jobs")}
            for name in sorted(facts.existing_programmes())
        },
        {
            key: dependency.declared.value
            for key, dependency in sorted(facts.dependencies.items())
            if dependency.declared is not None and dependency.holds
        },
        {tuple(standing.key): standing.dependents for standing in drawn.standings},
        sorted(drawn.set_aside),
    )


def as_read(events: Iterable[Event], data_date: date, as_of: str | None = None) -> Told:
    """Give what the independent reading says of events."""
    events = list(events)
    return (
        oracle.read_milestones(events, data_date, as_of),
        oracle.read_projects(events, as_of),
        oracle.read_programmes(events, as_of),
        oracle.read_dependencies(events, as_of),
        {tuple(key): count for key, count in oracle.read_dependents(events, as_of).items()},
        sorted(key for keys in oracle.read_set_aside(events, as_of).values() for key in keys),
    )


def row_of(standing: Standing) -> Row:
    """Give a standing as `status --json` prints it, without the revision."""
    row = standing._asdict()
    del row["last"], row["amount"], row["dependents"]
    return {
        **row,
        "state": standing.state.value,
        "driver": str(standing.driver) if standing.driver else None,
        **{name: value.isoformat() for name, value in row.items() if isinstance(value, date)},
    }


def _value(known: object, name: str) -> Any:  # noqa: ANN401 - a field of JSON
    register = getattr(known, name, None)
    if register is None:
        return None
    value = register.value
    return {"amount": value.amount, "currency": value.currency} if name == "investment" else value
