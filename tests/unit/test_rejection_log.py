"""A flood of rejected events does not flood the log; the first of them, and how many there were, are said."""

import logging
from collections.abc import Callable

import pytest

from streams.agents.record import RejectionLog
from streams.limited_log import MAX_LOGGED, WINDOW_SECONDS


class Later:
    """Calls when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        self.asked.append((seconds, call))

    def come(self) -> None:
        [(seconds, call)] = self.asked
        assert seconds == WINDOW_SECONDS
        self.asked.clear()
        call()


@pytest.fixture
def later() -> Later:
    return Later()


def test_the_first_are_said_one_by_one_and_the_others_by_their_number(
    later: Later, caplog: pytest.LogCaptureFixture
) -> None:
    log = RejectionLog(later)
    with caplog.at_level(logging.WARNING, "milepost.record"):
        for number in range(MAX_LOGGED + 1000):
            log.log(f"events:0:{number}", "malformed" if number % 4 else "too-large", "why")
        assert caplog.messages == [
            f"rejected events:0:{number}: {'malformed' if number % 4 else 'too-large'}: why"
            for number in range(MAX_LOGGED)
        ]
        later.come()

    assert caplog.messages[MAX_LOGGED:] == [
        "rejected 1000 more events within 60 s: 750 malformed, 250 too-large; `milepost dead-letters list` shows them"
    ]


def test_a_few_are_summed_up_by_nobody_and_the_next_are_first_again(
    later: Later, caplog: pytest.LogCaptureFixture
) -> None:
    log = RejectionLog(later)
    with caplog.at_level(logging.WARNING, "milepost.record"):
        for _ in range(2):
            for number in range(MAX_LOGGED):
                log.log(f"events:0:{number}", "malformed", "why")
            later.come()

    assert len(caplog.messages) == 2 * MAX_LOGGED
