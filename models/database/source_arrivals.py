"""When events of each source arrived: the broker's append times, out of the ledger."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, func, select

from models.database.tables import ledger
from models.database.upsert import chunked
from models.domain.silent_sources import RHYTHM_DAYS, SourceArrivals

_MS_PER_SECOND = 1000
_WINDOW_MS = RHYTHM_DAYS * 86_400 * _MS_PER_SECOND


def read_source_arrivals(connection: Connection, sources: Sequence[str], until_ms: int) -> Iterator[SourceArrivals]:
    """Yield the arrivals of sources in the two weeks before a moment; nothing of a source that was not heard in them.

    A source that was last heard before has no rhythm that could be broken: the alert has ended by then.
    """
    start_ms = until_ms - _WINDOW_MS
    for chunk in chunked(sources):
        previous = func.lag(ledger.c.appended_ms).over(partition_by=ledger.c.source, order_by=ledger.c.appended_ms)
        arrivals = (
            select(ledger.c.source, ledger.c.appended_ms, previous.label("previous_ms"))
            .where(ledger.c.source.in_(chunk), ledger.c.digest.is_not(None), ledger.c.appended_ms <= until_ms)
            .subquery()
        )
        gap_ms = arrivals.c.appended_ms - arrivals.c.previous_ms
        query = (
            select(
                arrivals.c.source,
                func.min(func.coalesce(arrivals.c.previous_ms, arrivals.c.appended_ms)),
                func.max(arrivals.c.appended_ms),
                func.max(gap_ms),
            )
            .where(arrivals.c.appended_ms > start_ms)
            .group_by(arrivals.c.source)
            .order_by(arrivals.c.source)
        )
        for source, first_ms, last_ms, longest_gap_ms in connection.execute(query):
            gap = None if longest_gap_ms is None else longest_gap_ms / _MS_PER_SECOND
            yield SourceArrivals(source, first_ms / _MS_PER_SECOND, last_ms / _MS_PER_SECOND, gap)
