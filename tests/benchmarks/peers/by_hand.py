"""A loop an expert writes by hand: confluent-kafka, COPY into a staging table, one merge of arrays; 5,000 at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.dialects import postgresql

from tests.benchmarks.peers.job import Arguments, Row, fold, kept, merging, newest, prepared
from tests.benchmarks.peers.loop import work_off


def main() -> None:
    """Read, write, commit; until all is done."""
    told = Arguments.of_command_line()
    prepared(told.database).dispose()
    with writing(told.database) as write:
        work_off(told, write)


@contextmanager
def writing(database: str) -> Iterator[Callable[[list[Row]], None]]:
    """Give what writes and commits some rows, over a connection of its own."""
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
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

        yield write


def _merge() -> bytes:
    whole = str(merging().compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    names = newest.c.keys()
    arrays = ", ".join("%s::text[]" for _ in names)
    conflict = whole[whole.index("ON CONFLICT") :]
    return f"INSERT INTO newest ({', '.join(names)}) SELECT * FROM unnest({arrays}) {conflict}".encode()  # noqa: S608 - of names in this file


if __name__ == "__main__":
    main()
