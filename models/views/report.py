"""`milepost report`: its span, and what it reads. Contract, section 5.

What was said late is known from the ledger: it has the broker's append time of every event.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from models.database.event_history import read_arrived_events
from models.database.source_arrivals import read_source_arrivals
from models.database.tables import programmes as programmes_table
from models.domain.report import ArrivedEvent, ProgrammeReport, build_report
from models.domain.report_span import Span
from models.domain.row_order import natural_sort_key
from models.domain.silent_sources import MIN_SILENCE_SECONDS, SilentSource, find_silence
from models.domain.timestamps import Instant, epoch_seconds, instant_from_epoch_ms
from models.views.queries import DAY_PATTERN, parse_data_date, parse_since

#: How long a report's span is, unless it is said.
DEFAULT_DAYS: Final = 7
_MS_PER_SECOND: Final = 1000


class Report(NamedTuple):
    """The reports of one or several programmes for the same span."""

    span: Span
    #: By name, in natural order.
    programmes: Sequence[ProgrammeReport]
    #: How many others there are of which there is nothing to say.
    quiet_programmes: int
    #: Of those that ever spoke of one of the programmes.
    silent_sources: Sequence[SilentSource]


def parse_span(since: str | None, until: str | None, today: date) -> Span:
    """Return the span between two texts: a day in UTC, which is in the span, or a time, at which it begins or ends.

    A span ends with today and begins seven days before its last day, unless that is said: a report that is read each
    Monday leaves nothing out. Raises `ValueError` with the reason.
    """
    end = _parse_end(until or today.isoformat())
    start = parse_since(
        (Span(end, end).last_day - timedelta(days=DEFAULT_DAYS)).isoformat() if since is None else since
    )
    parse_data_date(start[:10])
    if start >= end:
        raise ValueError(f"the span from {since} until {until or 'today'} has no time in it")
    return Span(start, end)


def _parse_end(text: str) -> Instant:
    if DAY_PATTERN.fullmatch(text):
        return parse_since((parse_data_date(text) + timedelta(days=1)).isoformat())
    end = parse_since(text)
    parse_data_date(end[:10])
    return end


def read_report(
    connection: Connection, names: Sequence[str] | None, span: Span, today: date, now_seconds: float
) -> Report:
    """Return the report of some programmes, or of all: then those of which there is nothing to say are only counted.

    What has not been recorded yet when the database is read is in no report: whoever reports span after span must leave
    the workers time to record what arrived until the end of one.
    """
    found = names if names is not None else list(connection.scalars(select(programmes_table.c.programme)))
    until_ms = round(min(now_seconds, epoch_seconds(span.end)) * _MS_PER_SECOND)
    last_heard = _LastHeard(instant_from_epoch_ms(until_ms))
    reports = [
        build_report(last_heard.watch(arrivals), programme, span, today)
        for programme, arrivals in read_arrived_events(connection, sorted(found, key=natural_sort_key))
    ]
    loud = [report for report in reports if names is not None or not report.is_quiet]
    # Whoever spoke of one of the programmes just now is silent nowhere.
    recently = instant_from_epoch_ms(until_ms - MIN_SILENCE_SECONDS * _MS_PER_SECOND)
    candidates = sorted(source for source, arrived in last_heard.by_source.items() if arrived < recently)
    of_sources = read_source_arrivals(connection, candidates, until_ms)
    silences = (find_silence(of_source, until_ms / _MS_PER_SECOND) for of_source in of_sources)
    return Report(span, loud, len(reports) - len(loud), [silence for silence in silences if silence is not None])


class _LastHeard:
    """When each source was heard last, up to a moment."""

    def __init__(self, until: Instant) -> None:
        self._until = until
        self.by_source: dict[str, Instant] = {}

    def watch(self, arrivals: Iterable[ArrivedEvent]) -> Iterator[ArrivedEvent]:
        """Yield arrivals, and note them."""
        for arrival in arrivals:
            source, arrived = arrival.event.source, arrival.arrived
            if self.by_source.get(source, "") < arrived <= self._until:
                self.by_source[source] = arrived
            yield arrival
