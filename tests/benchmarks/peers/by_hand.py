"""A loop an expert writes by hand: confluent-kafka, COPY into a staging table, one merge of arrays; 5,000 at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.dialects import postgresql

from tests.benchmarks.peers.job import (
    PeerArguments,
    PeerRow,
    create_job_tables,
    kept_events,
    merge_statement,
    newest_claims,
    newest_claims_of,
)
from tests.benchmarks.peers.loop import consume_all


def main() -> None:
    """Read, write, commit; until all is done."""
    told = PeerArguments.from_command_line()
    create_job_tables(told.database).dispose()
    with open_writer(told.database) as write:
        consume_all(told, write)


@contextmanager
def open_writer(database: str) -> Iterator[Callable[[list[PeerRow]], None]]:
    """Give what writes and commits some rows, over a connection of its own."""
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TEMP TABLE staged (LIKE kept) ON COMMIT DELETE ROWS")
        connection.commit()
        merge = _merge_sql()

        def write(rows: list[PeerRow]) -> None:
            with cursor.copy("COPY staged FROM STDIN") as copy:
                for row in rows:
                    copy.write_row([row[name] for name in kept_events.c.keys()])  # noqa: SIM118 - columns, not names
            cursor.execute("INSERT INTO kept SELECT * FROM staged ON CONFLICT DO NOTHING")
            claims = newest_claims_of(rows)
            cursor.execute(merge, [[claim[name] for claim in claims] for name in newest_claims.c.keys()])  # noqa: SIM118 - as above
            connection.commit()

        yield write


def _merge_sql() -> bytes:
    whole = str(merge_statement().compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    names = newest_claims.c.keys()
    arrays = ", ".join("%s::text[]" for _ in names)
    conflict = whole[whole.index("ON CONFLICT") :]
    return f"INSERT INTO newest ({', '.join(names)}) SELECT * FROM unnest({arrays}) {conflict}".encode()  # noqa: S608 - of names in this file


if __name__ == "__main__":
    main()
