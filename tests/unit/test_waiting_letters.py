"""Which dead letters wait, as the records of their topic tell."""

from streams.metrics.pipeline import Metrics
from streams.monitoring.dead_letters import OTHER_REASON, WaitingLetters


def counts(letters: WaitingLetters) -> dict[str, int]:
    return {reason: count for reason, count in letters.counts.items() if count}


def test_a_letter_waits_until_its_tombstone() -> None:
    letters = WaitingLetters()
    letters.apply(b"events:0:1", "malformed")
    letters.apply(b"events:0:2", "malformed")
    letters.apply(b"events:0:1", None)

    assert counts(letters) == {"malformed": 1}


def test_a_letter_that_comes_again_counts_once_with_its_last_reason() -> None:
    letters = WaitingLetters()
    letters.apply(b"events:0:1", "malformed")
    letters.apply(b"events:0:1", "invalid-data")

    assert counts(letters) == {"invalid-data": 1}


def test_a_tombstone_of_a_letter_that_compaction_removed_changes_nothing() -> None:
    letters = WaitingLetters()
    letters.apply(b"events:0:1", None)
    letters.apply(None, None)

    assert counts(letters) == {}


def test_a_reason_that_milepost_does_not_give_has_no_label_of_its_own() -> None:
    letters = WaitingLetters()
    letters.apply(b"1", "made up")
    letters.apply(b"2", "unknown")

    assert counts(letters) == {OTHER_REASON: 2}


def test_beyond_the_limit_letters_count_and_never_too_few() -> None:
    letters = WaitingLetters(limit=2)
    for number in range(3):
        letters.apply(b"%d" % number, "malformed")
    assert (letters.is_incomplete, counts(letters)) == (True, {"malformed": 3})

    for number in range(3):
        letters.apply(b"%d" % number, None)
    assert counts(letters) == {"malformed": 1}


def test_every_reason_is_exposed_from_zero_and_nothing_where_another_worker_does() -> None:
    metrics = Metrics("0")
    metrics.set_dead_letters_waiting({"malformed": 2, OTHER_REASON: 1})
    gauge = "milepost_dead_letters_waiting"
    assert metrics.registry.get_sample_value(gauge, {"reason": "malformed"}) == 2
    assert metrics.registry.get_sample_value(gauge, {"reason": "unstorable"}) == 0

    metrics.set_dead_letters_waiting(None)
    assert metrics.registry.get_sample_value(gauge, {"reason": "malformed"}) is None
