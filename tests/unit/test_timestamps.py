"""Points in time: every digit counts, and text sorts like time."""

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.timestamps import (
    Instant,
    day_of,
    epoch_seconds,
    instant_from_epoch_ms,
    make_stamp,
    parse_instant,
    parse_stamp,
)
from tests.helpers.event_generators import TIMES
from tests.helpers.oracle import seconds_since_day_zero as oracle

NOON = "2026-03-10T12:00:00"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-03-10T12:00:00Z", NOON),
        ("2026-03-10t12:00:00z", NOON),
        ("2026-03-10T12:00:00+00:00", NOON),
        ("2026-03-10T12:00:00-00:00", NOON),
        ("2026-03-10T14:00:00+02:00", NOON),
        ("2026-03-10T06:30:00-05:30", NOON),
        ("2026-03-11T11:59:00+23:59", NOON),
        ("2026-03-09T12:01:00-23:59", NOON),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00"),
        ("2024-02-28T23:30:00-01:00", "2024-02-29T00:30:00"),
        ("2026-03-10T12:00:00.0Z", NOON),
        ("2026-03-10T12:00:00.000000000000Z", NOON),
        ("2026-03-10T12:00:00.50Z", f"{NOON}.5"),
        ("2026-03-10T12:00:00.05Z", f"{NOON}.05"),
        ("2026-03-10T12:00:00.1234567890123456789Z", f"{NOON}.1234567890123456789"),
        ("2026-03-10T14:00:00.25+02:00", f"{NOON}.25"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
        ("0001-01-01T01:00:00+01:00", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999"),
        ("9999-12-31T22:59:59-01:00", "9999-12-31T23:59:59"),
    ],
)
def test_every_spelling_of_an_instant_has_one_canonical_form(text: str, canonical: str) -> None:
    assert parse_instant(text) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
        ("2016-12-31T23:59:60.75Z", "2017-01-01T00:00:00.75"),
        ("2017-01-01T05:29:60+05:30", "2017-01-01T00:00:00"),
        ("2016-12-31T18:59:60-05:00", "2017-01-01T00:00:00"),
        ("2015-06-30T23:59:60Z", "2015-07-01T00:00:00"),
        ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00"),
    ],
)
def test_a_leap_second_is_the_instant_that_follows_it(text: str, canonical: str) -> None:
    assert parse_instant(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-30T23:59:60Z",
        "2024-02-28T23:59:60Z",
        "2016-12-31T22:59:60Z",
        "2016-12-31T23:58:60Z",
        "2016-12-31T23:59:60+01:00",
        "2017-01-01T00:00:60Z",
        "9999-12-31T23:59:60Z",
    ],
)
def test_there_is_no_leap_second_but_at_the_end_of_a_month_in_utc(text: str) -> None:
    with pytest.raises(ValueError, match="no leap second there"):
        parse_instant(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"])
def test_a_year_outside_of_1_to_9999_in_utc_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match="outside of the years 1 to 9999 in UTC"):
        parse_instant(text)


@pytest.mark.parametrize("text", [f"{NOON}+24:00", f"{NOON}-24:00", f"{NOON}+00:60", f"{NOON}+99:99"])
def test_an_offset_has_less_than_24_hours_and_less_than_60_minutes(text: str) -> None:
    with pytest.raises(ValueError, match="no such offset"):
        parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-03-10",
        NOON,  # no offset
        f"{NOON} Z",
        f" {NOON}Z",
        f"{NOON}Z ",
        f"{NOON}Z\n",
        f"{NOON}Z\0",
        f"{NOON}.Z",
        f"{NOON},5Z",
        f"{NOON}.5.5Z",
        f"{NOON}+02",
        f"{NOON}+0200",
        f"{NOON}+2:00",
        f"{NOON}+02:00:00",
        f"{NOON}ZZ",
        f"{NOON}UTC",
        f"{NOON}\N{MINUS SIGN}02:00",
        "2026-03-10 12:00:00Z",
        "2026-03-10T12:00Z",
        "20260310T120000Z",
        "2026-W11-2T12:00:00Z",
        "26-03-10T12:00:00Z",
        "02026-03-10T12:00:00Z",
        "+2026-03-10T12:00:00Z",
        "-2026-03-10T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-00-10T12:00:00Z",
        "2026-13-10T12:00:00Z",
        "2026-03-00T12:00:00Z",
        "2026-03-32T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-04-31T12:00:00Z",
        "2026-03-10T24:00:00Z",
        "2026-03-10T23:60:00Z",
        "2026-03-10T23:59:61Z",
        "2026-03-10T1２:00:00Z",  # noqa: RUF001 - a full-width digit is the point
        "٢٠٢٦-03-10T12:00:00Z",
        f"{NOON}.٣Z",
        "1773144000",
    ],
)
def test_what_rfc_3339_does_not_allow_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_instant(text)


def test_the_reason_shows_no_more_than_the_beginning_of_a_text() -> None:
    with pytest.raises(ValueError, match="not an RFC 3339 timestamp") as error:
        parse_instant("x" * 100_000)
    assert len(str(error.value)) < 200


_clock = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
_fractions = st.just("") | st.text("0123456789", min_size=1, max_size=25).map(".{}".format)
_offsets = st.sampled_from(("Z", "z", "-00:00")) | st.tuples(
    st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59)
).map(lambda parts: f"{parts[0]}{parts[1]:02}:{parts[2]:02}")


@st.composite
def timestamps(draw: st.DrawFn) -> str:
    """Any RFC 3339 timestamp, many of them close to another."""
    day = draw(st.sampled_from((date(2026, 3, 10), date(2026, 3, 11))) | st.dates(date(1, 1, 2), date(9999, 12, 30)))
    hours, minutes, seconds = draw(st.just((12, 0, 0)) | _clock)
    return f"{day.isoformat()}T{hours:02}:{minutes:02}:{seconds:02}{draw(_fractions)}{draw(_offsets)}"


_any_time = st.sampled_from(TIMES) | timestamps()


@settings(max_examples=500)
@given(_any_time, _any_time)
def test_canonical_texts_sort_like_exact_time_and_are_equal_exactly_when_the_times_are(one: str, other: str) -> None:
    ours = parse_instant(one), parse_instant(other)
    exact = oracle(one), oracle(other)
    assert (ours[0] < ours[1], ours[0] == ours[1]) == (exact[0] < exact[1], exact[0] == exact[1])


@settings(max_examples=200)
@given(_any_time)
def test_a_canonical_text_names_the_same_instant_again(text: str) -> None:
    instant = parse_instant(text)
    assert parse_instant(f"{instant}Z") == instant
    assert oracle(f"{instant}Z") == oracle(text)
    assert day_of(instant).toordinal() == oracle(text) // 86400


def test_milliseconds_since_the_epoch_are_an_instant() -> None:
    assert instant_from_epoch_ms(0) == "1970-01-01T00:00:00"
    assert instant_from_epoch_ms(1_773_144_000_000) == NOON
    assert instant_from_epoch_ms(1_773_144_000_250) == f"{NOON}.25"
    assert instant_from_epoch_ms(1_773_144_000_001) == f"{NOON}.001"
    assert instant_from_epoch_ms(-1) == "1969-12-31T23:59:59.999"


@settings(max_examples=200)
@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_millisecond_of_the_calendar_is_converted_exactly(milliseconds: int) -> None:
    epoch = oracle("1970-01-01T00:00:00Z")
    assert oracle(f"{instant_from_epoch_ms(milliseconds)}Z") - epoch == Fraction(milliseconds, 1000)


def test_an_instant_in_seconds_is_exact_to_the_microsecond() -> None:
    assert epoch_seconds(Instant(NOON)) == 1_773_144_000
    assert epoch_seconds(Instant(f"{NOON}.5")) == 1_773_144_000.5
    assert epoch_seconds(Instant(f"{NOON}.123456789012345")) == 1_773_144_000.123456
    assert epoch_seconds(Instant("1969-12-31T23:59:59")) == -1
    assert epoch_seconds(Instant("0001-01-01T00:00:00")) == -62_135_596_800


def test_a_stamp_comes_apart_into_what_it_was_made_of() -> None:
    stamp = make_stamp(Instant(f"{NOON}.25"), "/Über/büro 🏗", "id with spaces")
    assert parse_stamp(stamp) == (f"{NOON}.25", "/Über/büro 🏗", "id with spaces")


_without_control = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(" !-.:/0129Aa~\xa0\uffff🏗"), min_size=1
)


@settings(max_examples=500)
@given(*[st.tuples(_any_time, _without_control, _without_control)] * 2)
def test_stamps_sort_by_instant_then_source_then_id(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    stamps = [make_stamp(parse_instant(time), source, name) for time, source, name in (one, other)]
    exact = [(oracle(time), source, name) for time, source, name in (one, other)]
    assert (stamps[0] < stamps[1], stamps[0] == stamps[1]) == (exact[0] < exact[1], exact[0] == exact[1])


def test_of_two_sources_of_which_one_begins_like_the_other_the_shorter_sorts_first() -> None:
    instant = parse_instant(f"{NOON}Z")
    later = parse_instant(f"{NOON}.000000000000000000001Z")
    assert make_stamp(instant, "a", "z") < make_stamp(instant, "a ", "a") < make_stamp(later, "a", "a")
