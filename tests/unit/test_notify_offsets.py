"""What a group remembers: whoever takes over repeats what is open, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from streams.notify.offsets import MAX_METADATA_BYTES, GroupNotes, OffsetTracker, decode_offsets

NOTES = GroupNotes("0123456789abcdef", 1_796_000_000)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[int], set[int], dict[int, float]]:
    """Offsets with gaps, as transactions leave them; which of them are delivered; since when others fail."""
    start = draw(st.integers(0, 1 << 40))
    steps = draw(st.lists(st.integers(1, 5), max_size=80))
    offsets = [start]
    for step in steps:
        offsets.append(offsets[-1] + step)
    delivered = set(draw(st.lists(st.sampled_from(offsets), max_size=80)))
    still = [offset for offset in offsets if offset not in delivered]
    failing = draw(st.dictionaries(st.sampled_from(still), st.integers(10**9, 2 * 10**9), max_size=10)) if still else {}
    return start, offsets, delivered, {offset: float(since) for offset, since in failing.items()}


@given(histories(), st.integers(0, 80))
def test_whoever_takes_over_repeats_exactly_what_is_open(
    history: tuple[int, list[int], set[int], dict[int, float]], read_again: int
) -> None:
    start, offsets, delivered, failing = history
    tracker = OffsetTracker(start)
    assert all(tracker.begin(offset) for offset in offsets)
    assert not any(tracker.begin(offset) for offset in offsets)
    for offset in delivered:
        tracker.finish(offset)
    for offset, since in failing.items():
        tracker.fail(offset, since)
    expected = {offset: failing.get(offset, 0.0) for offset in offsets if offset not in delivered}

    # Twice: the second process may die before it has read all of it again.
    second, notes = decode_offsets(*tracker.encode(NOTES))
    assert notes == NOTES
    assert second.pending() == expected
    for offset in offsets[:read_again]:
        second.begin(offset)
    third, _ = decode_offsets(*second.encode(NOTES))
    assert third.next_offset == min(expected, default=offsets[-1] + 1)
    assert {offset for offset in offsets if third.begin(offset)} == {*expected}
    assert third.open == expected
    assert third.begin(offsets[-1] + 1)


@given(histories(), st.integers(0, 200))
def test_where_the_list_is_too_long_more_is_repeated_and_nothing_is_lost(
    history: tuple[int, list[int], set[int], dict[int, float]], max_bytes: int
) -> None:
    start, offsets, delivered, _ = history
    tracker = OffsetTracker(start)
    for offset in offsets:
        tracker.begin(offset)
    for offset in delivered:
        tracker.finish(offset)
    committed, text = tracker.encode(GroupNotes(), max_bytes)
    after, _ = decode_offsets(committed, text)
    repeated = {offset for offset in offsets if offset >= committed and after.begin(offset)}
    assert repeated >= {*offsets} - delivered


def test_ten_thousand_open_offsets_fit_into_what_a_broker_keeps() -> None:
    tracker = OffsetTracker(1 << 40)
    for offset in range(10_000):
        tracker.begin((1 << 40) + 100 * offset)
        tracker.fail((1 << 40) + 100 * offset, 1_796_000_000.0 + offset)
    committed, text = tracker.encode(NOTES)
    assert committed == 1 << 40
    assert MAX_METADATA_BYTES // 2 < len(text) <= MAX_METADATA_BYTES


def test_what_another_program_wrote_beside_an_offset_says_nothing() -> None:
    for text in ("", "aiokafka", "[]", '{"end": "x"}', '{"open": [-1]}', '{"end": 5, "open": [1e999]}'):
        tracker, notes = decode_offsets(7, text)
        assert (tracker.next_offset, tracker.pending(), notes) == (7, {}, GroupNotes())
        assert tracker.begin(7)


def test_what_the_log_has_no_more_is_forgotten() -> None:
    tracker = OffsetTracker(0)
    for offset in range(3):
        tracker.begin(offset)
    after, _ = decode_offsets(*tracker.encode(GroupNotes()))
    assert after.begin(2)
    assert {*after.pending()} == {2}
