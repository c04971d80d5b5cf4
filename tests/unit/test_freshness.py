"""How fresh the board is: the newest event, what is wrong, and since when."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import pytest
from sqlalchemy.exc import OperationalError

from models.database.freshness import Freshness, OutdatedForecasts
from streams.monitoring.freshness import (
    MAX_OUTDATED_SECONDS,
    MAX_UNANSWERED_SECONDS,
    UNKNOWN,
    FreshnessMonitor,
    FreshnessStatus,
    Problem,
    Problems,
)
from streams.web.freshness import format_age, freshness_schema, freshness_text, summarize

NOON: Final = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()


class Observed:
    """What a monitor looks at, and what it publishes."""

    def __init__(self) -> None:
        self.time, self.problems = NOON, dict[str, tuple[str, float | None]]()
        self.database = Freshness(None, {})
        self.error: Exception | None = None
        self.published: list[FreshnessStatus] = []
        self.monitor = FreshnessMonitor(self._ask, self._read, self.published.append, lambda: self.time)

    async def _ask(self) -> Problems:
        return self.problems

    async def _read(self) -> Freshness:
        if self.error is not None:
            raise self.error
        return self.database

    def look(self, after: float = 0.0) -> FreshnessStatus:
        """Look after so many seconds."""
        self.time += after
        asyncio.run(self.monitor.observe())
        return self.monitor.status


def test_nothing_is_said_to_be_well_before_the_first_look() -> None:
    assert Observed().monitor.status == UNKNOWN
    assert summarize(UNKNOWN.problems, NOON) == "The board has just started"


def test_the_age_is_that_of_the_newest_event() -> None:
    observed = Observed()
    assert observed.look() == FreshnessStatus(None, ())
    observed.database = Freshness(int(NOON * 1000) - 90_500, {})
    assert observed.look() == FreshnessStatus(NOON - 90.5, ())
    assert freshness_schema(observed.monitor.status, observed.time).age_seconds == 90.5


def test_only_changes_are_published() -> None:
    observed = Observed()
    for _ in range(3):
        observed.look(2)
    observed.problems = {"kafka": ("does not answer", None)}
    for _ in range(3):
        observed.look(2)
    assert [[problem.name for problem in status.problems] for status in observed.published] == [[], ["kafka"]]


def test_a_problem_keeps_its_beginning_while_it_lasts_and_has_another_when_it_comes_again() -> None:
    observed = Observed()
    observed.problems = {"kafka": ("does not answer: refused", None)}
    observed.look()
    observed.problems = {"kafka": ("does not answer: reset", None)}
    assert observed.look(120).problems == (Problem("kafka", "does not answer: reset", NOON),)
    observed.problems = {}
    assert observed.look(2).problems == ()
    observed.problems = {"kafka": ("does not answer: refused", None)}
    [problem] = observed.look(2).problems
    assert problem.since == NOON + 124


def test_a_beginning_that_is_known_is_taken_as_it_is() -> None:
    observed = Observed()
    observed.problems = {"lag": ("3 records are not read yet", NOON - 600)}
    assert observed.look().problems == (Problem("lag", "3 records are not read yet", NOON - 600),)


def test_a_database_that_refuses_is_a_problem_and_the_age_stays_known() -> None:
    observed = Observed()
    observed.database = Freshness(int(NOON * 1000), {})
    observed.look()
    observed.error = OperationalError("SELECT", {}, Exception("connection refused"))
    status = observed.look(2)
    [(name, reason, since)] = status.problems
    assert (name, since, status.newest_event) == ("database", NOON + 2, NOON)
    assert reason.startswith("does not answer: ")
    assert "connection refused" in reason

    observed.problems = {"database": ("does not answer: as the worker says", None)}
    assert [problem.reason for problem in observed.look(2).problems] == ["does not answer: as the worker says"]


def test_a_database_that_is_silent_is_a_problem_only_after_a_while() -> None:
    observed = Observed()
    observed.look()
    observed.error = TimeoutError()
    assert observed.look(MAX_UNANSWERED_SECONDS).problems == ()
    [(name, reason, _)] = observed.look(1).problems
    assert (name, reason) == ("database", f"does not answer: nothing within {MAX_UNANSWERED_SECONDS + 1:.0f} s")


def test_forecasts_that_lack_the_same_event_for_too_long_are_behind_since_it_was_seen() -> None:
    observed = Observed()
    observed.database = Freshness(1, {"north": OutdatedForecasts(7, 6), "south": OutdatedForecasts(3, 0)})
    assert observed.look().problems == ()
    assert observed.look(MAX_OUTDATED_SECONDS).problems == ()
    [problem] = observed.look(1).problems
    assert problem == Problem("forecasts", "those of programme north and of 1 more lack recorded events", NOON)
    observed.database = Freshness(1, {"north": OutdatedForecasts(9, 8)})
    assert observed.look(2).problems == ()


def test_forecasts_that_follow_a_steady_flow_are_not_behind() -> None:
    observed = Observed()
    for revision in range(200):
        observed.database = Freshness(1, {"north": OutdatedForecasts(revision + 1, revision)})
        assert observed.look(2).problems == ()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *[(0, "less than a minute ago"), (59.9, "less than a minute ago"), (60, "1 min ago"), (3599, "59 min ago")],
        *[(3600, "1 h ago"), (86_399, "23 h ago"), (86_400, "1 d ago"), (86_400 * 1234, "1,234 d ago")],
    ],
)
def test_an_age_has_one_unit(seconds: float, said: str) -> None:
    assert format_age(seconds) == said


def test_the_head_of_a_page_stays_the_same_for_a_minute_of_events() -> None:
    heads = {freshness_text(FreshnessStatus(NOON + second, ()), NOON + second + 0.2) for second in range(59)}
    assert len(heads) == 1


def test_problems_are_summed_up_in_a_few_words() -> None:
    kafka, lag = Problem("kafka", "does not answer: refused", NOON), Problem("lag", "3 records", NOON - 86_400)
    assert summarize((), NOON) == ""
    assert summarize((kafka,), NOON + 60) == "Kafka does not answer since 12:00 UTC"
    assert summarize((kafka, lag), NOON + 60) == "Kafka does not answer since 12:00 UTC, and 1 more"
    assert summarize((lag,), NOON) == "Events wait to be read since 23 Nov, 12:00 UTC"
    of_worker = Problem("10.0.0.7:9100 kafka", "does not answer: refused", NOON)
    assert summarize((of_worker,), NOON) == "10.0.0.7:9100 kafka does not answer since 12:00 UTC"
