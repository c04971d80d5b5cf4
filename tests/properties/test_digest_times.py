"""Every local day has its digest once, in every zone, whatever the clocks do."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.notify.digest_times import DigestTimes, parse_digest_times

ZONES = sorted(available_timezones() - {"localtime", "Factory"})


def local_days(zone: ZoneInfo, start: datetime, end: datetime) -> set[date]:
    """Return the days that a zone has between two moments, looked at every quarter of an hour."""
    step, moment, days = timedelta(minutes=15), start, set()
    while moment < end:
        days.add(moment.astimezone(zone).date())
        moment += step
    return days


@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(date(1990, 1, 1), date(2036, 12, 20)),
    minute=st.integers(0, 24 * 60 - 1),
)
@example(zone="Europe/Berlin", day=date(2026, 3, 27), minute=150)  # 02:30 is skipped on 29 March
@example(zone="Europe/Berlin", day=date(2026, 10, 23), minute=150)  # 02:30 comes twice on 25 October
@example(zone="Australia/Lord_Howe", day=date(2026, 4, 3), minute=105)  # by half an hour
@example(zone="America/Havana", day=date(2026, 3, 6), minute=15)  # at midnight
@example(zone="Pacific/Apia", day=date(2011, 12, 28), minute=480)  # 30 December 2011 is left out
@example(zone="Pacific/Kwajalein", day=date(1993, 8, 19), minute=480)
def test_from_day_to_day_each_has_its_digest_once_and_about_at_its_time(zone: str, day: date, minute: int) -> None:
    there = ZoneInfo(zone)
    times = DigestTimes(None, time(minute // 60, minute % 60), there)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=6)
    sent, last = [], start
    while (due := times.next_due(last)) < end:
        assert due > last
        assert times.newest_due(due) == due
        assert times.newest_due(due + timedelta(seconds=1)) == due
        sent.append(due)
        last = due
    days_sent = [due.astimezone(there).date() for due in sent]
    assert len(days_sent) == len(set(days_sent)), "no day has two"
    # The first and the last day may lie on the borders of the span.
    days = sorted(local_days(there, start, end))
    assert {*days[1:-1]} <= {*days_sent}
    for due in sent:
        local = due.astimezone(there)
        wanted = local.replace(hour=minute // 60, minute=minute % 60, fold=0)
        off = abs((local.replace(tzinfo=None) - wanted.replace(tzinfo=None)).total_seconds())
        assert off <= 3600, "a time that is skipped is at most an hour later"
        assert off == 0 or wanted.astimezone(UTC).astimezone(there).time() != wanted.time(), "others are exact"


@given(zone=st.sampled_from(ZONES), day=st.dates(date(1990, 1, 1), date(2036, 12, 20)), weekday=st.integers(0, 6))
def test_a_weekly_digest_comes_every_week_on_its_day(zone: str, day: date, weekday: int) -> None:
    there = ZoneInfo(zone)
    times = DigestTimes(weekday, time(8), there)
    start = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    first = times.next_due(start)
    second = times.next_due(first)
    assert first - start <= timedelta(days=7, hours=2)
    assert timedelta(days=6) < second - first < timedelta(days=8)
    assert times.newest_due(second - timedelta(seconds=1)) == first


@given(
    zone=st.sampled_from(ZONES),
    moments=st.lists(st.integers(1_700_000_000, 1_700_000_000 + 10 * 86_400), min_size=1, max_size=50),
)
def test_whenever_it_is_looked_at_no_digest_is_sent_twice_and_none_is_left_out(zone: str, moments: list[int]) -> None:
    times = DigestTimes(None, time(2, 30), ZoneInfo(zone))
    start = datetime.fromtimestamp(1_700_000_000, UTC)
    last, spans = times.newest_due(start), list[tuple[datetime, datetime]]()
    for moment in sorted(moments):
        due = times.newest_due(datetime.fromtimestamp(moment, UTC))
        if due > last:
            spans.append((last, due))
            last = due
    assert all(before[1] == after[0] for before, after in pairwise(spans)), "the spans join"
    assert last == max(times.newest_due(start), times.newest_due(datetime.fromtimestamp(max(moments), UTC)))


@pytest.mark.parametrize("text", ["", "daily", "daily 8:00", "daily 24:00", "weekly 08:00", "weekly mon"])
def test_what_says_no_time_is_none(text: str) -> None:
    assert parse_digest_times(text, ZoneInfo("UTC")) is None


def test_both_kinds_are_read() -> None:
    utc = ZoneInfo("UTC")
    assert parse_digest_times("daily 08:05", utc) == DigestTimes(None, time(8, 5), utc)
    assert parse_digest_times("weekly sun 23:59", utc) == DigestTimes(6, time(23, 59), utc)
