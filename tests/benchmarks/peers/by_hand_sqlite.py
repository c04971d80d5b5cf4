"""A plain loop into SQLite: confluent-kafka, one `executemany` a table and batch, 5,000 at a time; WAL, as Milepost."""

import sqlite3

from sqlalchemy import make_url

from tests.benchmarks.peers.job import REGISTERS, PeerArguments, PeerRow, kept_events, newest_claims, newest_claims_of
from tests.benchmarks.peers.loop import consume_all


def main() -> None:
    """Read, write, commit; until all is done."""
    told = PeerArguments.from_command_line()
    database = sqlite3.connect(make_url(told.database).database or "", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    for table, key in ((kept_events, "source, id"), (newest_claims, "subject, milestone")):
        columns = ", ".join(f"{column.name} {column.type}" for column in table.c)
        database.execute(f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY ({key}))")
    keeping, merging = _insert_sql(kept_events.name, kept_events.c.keys(), "NOTHING"), _merge_sql()

    def write(rows: list[PeerRow]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(keeping, rows)
        database.executemany(merging, newest_claims_of(rows))
        database.execute("COMMIT")

    consume_all(told, write)


def _insert_sql(table: str, names: list[str], on_conflict: str) -> str:
    placed = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({placed}) ON CONFLICT DO {on_conflict}"  # noqa: S608 - of names in this file


def _merge_sql() -> str:
    winners = []
    for register in REGISTERS:
        at, event_id = f"{register}_at", f"{register}_id"
        wins = (
            f"excluded.{at} IS NOT NULL"
            f" AND (newest.{at} IS NULL OR (excluded.{at}, excluded.{event_id}) > (newest.{at}, newest.{event_id}))"
        )
        winners += [
            f"{name} = CASE WHEN {wins} THEN excluded.{name} ELSE newest.{name} END"
            for name in (f"{register}_date", event_id, at)
        ]
    text = _insert_sql(newest_claims.name, newest_claims.c.keys(), f"UPDATE SET {', '.join(winners)}")
    return text.replace("ON CONFLICT DO", "ON CONFLICT (subject, milestone) DO")


if __name__ == "__main__":
    main()
