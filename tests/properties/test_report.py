"""Laws of the report: it depends on the set of events and their arrival alone, and is what the slow definition says."""

from collections import Counter
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.cloudevents import decode
from models.domain.events import Event
from models.domain.history import HistoryEntry
from models.domain.report import ArrivedEvent, ProgrammeReport, build_report
from models.domain.report_span import Span
from models.domain.timestamps import Instant, instant_from_epoch_ms
from tests.helpers.event_generators import PROGRAMMES, event_sets, shuffled_with_duplicates, structured_record
from tests.helpers.history_oracle import expected_history
from tests.helpers.oracle import (
    EVENT_RETRACTED,
    JsonEvent,
    JsonRow,
    claim_stamp,
    expected_dependents,
    expected_milestones,
    in_order_of_rows,
    milestone_dates,
    seconds_since_day_zero,
)
from tests.helpers.oracle import counted_claims as claims_that_count
from tests.properties.test_history import as_row, tangled

MAX_DELAY_DAYS = 9


def arrived_at(event: JsonEvent) -> Instant:
    """Give the time at which an event arrives: after its stamp, by up to some days that its id decides."""
    seconds = float(claim_stamp(event)[0])
    delay = (sum(map(ord, event["id"])) % (MAX_DELAY_DAYS * 4)) / 4 * 86400
    return instant_from_epoch_ms(round((seconds + delay - seconds_of("1970-01-01T00:00:00")) * 1000))


def seconds_of(instant: str) -> Fraction:
    return seconds_since_day_zero(f"{instant}Z")


def report_of(events: list[JsonEvent], span: Span, programme: str, today: date = date(2100, 1, 1)) -> ProgrammeReport:
    decoded = [(decode(*structured_record(event)), arrived_at(event)) for event in events]
    arrivals = [ArrivedEvent(event, arrived) for event, arrived in decoded if isinstance(event, Event)]
    return build_report(arrivals, programme, span, today)


def all_rows(report: ProgrammeReport) -> list[HistoryEntry]:
    said = (*report.achieved, *report.moved, *report.new, *report.cancelled)
    return [*(row.entry for row in said), *(entry for found in report.retracted for entry in found.rows)]


@st.composite
def spans_of(draw: st.DrawFn, events: list[JsonEvent]) -> Span:
    """Give a span that begins and ends at a stamp, or at the beginning of its day."""
    stamps = sorted({claim_stamp(event)[0] for event in events}) or [seconds_of("2026-01-01T00:00:00")]

    def bound(seconds: Fraction) -> Instant:
        milliseconds = round((float(seconds) - float(seconds_of("1970-01-01T00:00:00"))) * 1000)
        instant = instant_from_epoch_ms(milliseconds)
        return Instant(f"{instant[:10]}T00:00:00") if draw(st.booleans()) else instant

    start = bound(draw(st.sampled_from(stamps)))
    end = bound(draw(st.sampled_from(stamps)) + draw(st.sampled_from((1, 86400, 30 * 86400))))
    return Span(start, end) if start < end else Span(end, Instant(f"{start}.5" if "." not in start else f"{start}5"))


@st.composite
def reported(draw: st.DrawFn) -> tuple[list[JsonEvent], str, Span]:
    """Give events, a programme and a span."""
    if draw(st.booleans()):
        events, programme = draw(tangled), "north"
    else:
        events, programme = draw(event_sets()), draw(st.sampled_from(PROGRAMMES))
    return events, programme, draw(spans_of(events))


def freeze(row: JsonRow) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(row.items()))


@settings(max_examples=150)
@given(reported())
def test_the_rows_of_a_report_are_those_of_the_history_in_the_span(case: tuple[list[JsonEvent], str, Span]) -> None:
    events, programme, span = case
    expected = [
        row
        for row in expected_history(events, programme)
        if seconds_of(span.start) <= row["said"] < seconds_of(span.end)
    ]
    found = map(as_row, all_rows(report_of(events, span, programme)))
    assert Counter(map(freeze, found)) == Counter(map(freeze, expected))


@settings(max_examples=100)
@given(reported(), st.integers(0, 1000))
def test_a_report_depends_neither_on_the_order_of_events_nor_on_repetition(
    case: tuple[list[JsonEvent], str, Span], seed: int
) -> None:
    events, programme, span = case
    assert report_of(shuffled_with_duplicates(events, seed), span, programme) == report_of(events, span, programme)


@settings(max_examples=100)
@given(reported(), st.data())
def test_spans_that_adjoin_have_the_rows_of_the_whole(
    case: tuple[list[JsonEvent], str, Span], data: st.DataObject
) -> None:
    events, programme, whole = case
    middle = data.draw(spans_of(events)).start
    if not whole.start < middle < whole.end:
        return
    first, second = Span(whole.start, middle), Span(middle, whole.end)
    reports = [report_of(events, span, programme) for span in (first, second, whole)]
    rows = [[*map(freeze, map(as_row, all_rows(report)))] for report in reports]
    assert Counter(rows[0] + rows[1]) == Counter(rows[2])
    # What arrives late is late in one span alone.
    late = [{(found.event.source, found.event.id) for found in report.said_late} for report in reports]
    assert not late[0] & late[1]
    assert late[2] <= late[0] | late[1]
    # Late at an end is late at the beginning of the next span.
    becoming = [{status.key for status in report.newly_late} for report in reports]
    assert becoming[2] <= becoming[0] | becoming[1]
    assert not becoming[1] & {status.key for status in reports[0].newly_late}


def picture(events: list[JsonEvent], programme: str, before: Instant) -> tuple[date, dict[tuple[str, str], JsonRow]]:
    """Give the slow definition of a picture at an instant: on the day of the moment before that."""
    seconds = seconds_of(before)
    day = date.fromisoformat(before[:10])
    if before[10:] == "T00:00:00":
        day -= timedelta(days=1)
    known = [event for event in events if claim_stamp(event)[0] < seconds]
    rows = [row for row in expected_milestones(known, day) if row["programme"] == programme]
    return day, {(row["project"], row["milestone"]): row for row in in_order_of_rows(rows)}


def is_late(row: JsonRow | None) -> bool:
    if row is None or row["state"] in {"achieved", "cancelled"}:
        return False
    return row["state"] == "overdue" or (row["slip_days"] or 0) > 0


@settings(max_examples=150)
@given(reported())
def test_what_is_late_new_cancelled_and_coming_is_by_the_pictures_at_both_ends(
    case: tuple[list[JsonEvent], str, Span],
) -> None:
    events, programme, span = case
    report = report_of(events, span, programme)
    _, before = picture(events, programme, span.start)
    day, after = picture(events, programme, span.end)
    assert report.data_date == day
    late = [name for name, row in after.items() if is_late(row) and not is_late(before.get(name))]
    assert [status.ref for status in report.newly_late] == late
    rows = {entry.milestone[1:]: entry for entry in all_rows(report)}
    assert {status.ref for status in report.new_undated} == {name for name in after if name not in {*before, *rows}}
    undated = {status.ref for status in report.cancelled_undated}
    dated = {row.entry.milestone[1:] for row in report.cancelled}
    cancelled_now = {name for name, row in after.items() if row["state"] == "cancelled"}
    cancelled_before = {name for name, row in before.items() if row["state"] == "cancelled"}
    assert undated == {name for name in cancelled_now - cancelled_before - dated if name in before}
    coming = [
        (row["forecast"], number, name)
        for number, (name, row) in enumerate(after.items())
        if row["state"] not in {"achieved", "cancelled", "overdue"}
        and row["forecast"] is not None
        and (date.fromisoformat(row["forecast"]) - day).days <= 30
    ]
    assert [status.ref for status in report.coming] == [name for _, _, name in sorted(coming)]
    own = milestone_dates(
        claims_that_count([event for event in events if claim_stamp(event)[0] < seconds_of(span.end)])
    )
    assert sorted((item.status.ref, item.due.toordinal()) for item in report.overdue) == sorted(
        (name, own[programme, *name].own_date) for name, row in after.items() if row["state"] == "overdue"
    )
    known = [event for event in events if claim_stamp(event)[0] < seconds_of(span.end)]
    waiting = {key[1:]: count for key, count in expected_dependents(known).items() if key[0] == programme and count}
    assert {gate.status.ref: gate.status.dependents for gate in report.gates} == waiting


@settings(max_examples=150)
@given(reported())
def test_said_late_is_what_arrived_in_the_span_with_an_older_stamp(case: tuple[list[JsonEvent], str, Span]) -> None:
    events, programme, span = case
    by_key = {(event["source"], event["id"]): event for event in events}

    def is_of_programme(event: JsonEvent) -> bool:
        target = by_key.get((event["source"], event["data"].get("retracts", "")))
        events = [event]
        if event["type"] == EVENT_RETRACTED and target is not None and target["type"] != EVENT_RETRACTED:
            events.append(target)
        return programme in {str(each["subject"]).partition("/")[0] for each in events}

    expected = {
        key
        for key, event in by_key.items()
        if claim_stamp(event)[0] < seconds_of(span.start)
        and span.start <= arrived_at(event) < span.end
        and is_of_programme(event)
        and isinstance(decode(*structured_record(event)), Event)
    }
    report = report_of(events, span, programme)
    assert {(late.event.source, late.event.id) for late in report.said_late} == expected
    rows = {(row["cause"][1:], row["key"]) for row in expected_history(events, programme)}
    for late in report.said_late:
        names = {entry.milestone for entry in late.rows}
        assert {key for cause, key in rows if cause == (late.event.source, late.event.id)} == names
