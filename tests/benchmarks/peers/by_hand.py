"""A loop an expert writes by hand: confluent-kafka, COPY into a staging table, one merge of arrays; 5,000 at a time."""

from typing import Final

import psycopg
from confluent_kafka import Consumer
from sqlalchemy.dialects import postgresql

from tests.benchmarks.peers.job import Arguments, Progress, Row, fold, kept, merging, newest, prepared, row_of

_AT_ONCE: Final = 5000


def main() -> None:
    """Read, write, commit; until all is done."""
    told = Arguments.of_command_line()
    prepared(told.database).dispose()
    progress = Progress(told.events)
    connection = psycopg.connect(told.database.replace("+psycopg", ""))
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE staged (LIKE kept) ON COMMIT DELETE ROWS")
    connection.commit()
    merge = _merge()

    def write(rows: list[Row]) -> None:
        with cursor.copy("COPY staged FROM STDIN") as copy:
            for row in rows:
                copy.write_row([row[name] for name in kept.c.keys()])  # noqa: SIM118 - columns, not names
        cursor.execute("INSERT INTO kept SELECT * FROM staged ON CONFLICT DO NOTHING")
        claims = fold(rows)
        cursor.execute(merge, [[claim[name] for claim in claims] for name in newest.c.keys()])  # noqa: SIM118 - as above
        connection.commit()

    consumer = Consumer(
        {
            "bootstrap.servers": told.kafka,
            "group.id": f"by-hand-{told.topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([told.topic])
    while True:
        messages = consumer.consume(_AT_ONCE, 0.3)
        if messages:
            progress.begin()
            write([row_of(value) for message in messages if (value := message.value()) is not None])
            consumer.commit(asynchronous=True)
            progress.done(len(messages))


def _merge() -> bytes:
    whole = str(merging().compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    names = newest.c.keys()
    arrays = ", ".join("%s::text[]" for _ in names)
    conflict = whole[whole.index("ON CONFLICT") :]
    return f"INSERT INTO newest ({', '.join(names)}) SELECT * FROM unnest({arrays}) {conflict}".encode()  # noqa: S608 - of names in this file


if __name__ == "__main__":
    main()
