"""When a source floods, and under which name it is shown."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from streams.flooding import LEAST, WINDOW, RecentOutcomes
from streams.metrics.pipeline import MAX_SOURCES, OTHER_SOURCE, Metrics
from tests.helpers.workers import MetricsPage

REJECTED, TAKEN = True, False


def floods(outcomes: Sequence[bool]) -> bool:
    recent = RecentOutcomes()
    for rejected in outcomes:
        recent.note([rejected])
    at_once = RecentOutcomes()
    at_once.note(outcomes)
    assert at_once.is_flood is recent.is_flood
    return recent.is_flood


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], False),
        ([REJECTED] * 99, False),
        ([REJECTED] * 100, True),
        ([REJECTED, TAKEN] * 50, False),
        ([REJECTED, TAKEN] * 50 + [REJECTED], True),
        ([REJECTED] * 500 + [TAKEN] * 500, False),
        ([REJECTED] * 501 + [TAKEN] * 499, True),
        ([REJECTED] * 501 + [TAKEN] * 500, False),
        ([REJECTED] * 100_000 + [TAKEN] * 500, False),
        ([TAKEN] * 100_000 + [REJECTED] * 501, True),
    ],
)
def test_a_source_floods_when_more_than_half_of_its_newest_thousand_were_rejected(
    outcomes: list[bool],
    expected: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    assert floods(outcomes) is expected


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 700)), max_size=8))
def test_only_the_newest_thousand_count(runs: list[tuple[bool, int]]) -> None:
    outcomes = [rejected for rejected, count in runs for _ in range(count)]
    newest = outcomes[-WINDOW:]

    assert floods(outcomes) is (len(newest) >= LEAST and newest.count(REJECTED) > newest.count(TAKEN))


def page_of(metrics: Metrics) -> MetricsPage:
    return MetricsPage(generate_latest(metrics.registry).decode())


def shown(metrics: Metrics, source: str) -> float | None:
    return page_of(metrics).value("milepost_source_flooding", source=source)


def test_each_source_is_judged_by_itself_and_comes_back_to_nought() -> None:
    metrics = Metrics("0")
    metrics.count_source_outcomes([("bad", REJECTED), ("good", TAKEN)] * 200)
    assert (shown(metrics, "bad"), shown(metrics, "good")) == (1, 0)

    metrics.count_source_outcomes([("bad", TAKEN)] * 200)
    assert shown(metrics, "bad") == 0


def test_what_names_no_source_is_other() -> None:
    metrics = Metrics("0")
    metrics.count_source_outcomes([(None, REJECTED)] * 100)

    assert shown(metrics, OTHER_SOURCE) == 1


def test_made_up_sources_share_a_name_and_take_none_from_those_that_were_heard() -> None:
    metrics = Metrics("0")
    metrics.count_source_outcomes((f"made-up-{number}", REJECTED) for number in range(10 * MAX_SOURCES))
    metrics.source_seen("honest", 1.0)
    metrics.count_source_outcomes([("honest", TAKEN)])

    names = {labels["source"] for labels in page_of(metrics).labels("milepost_source_flooding")}
    assert len(names) == MAX_SOURCES + 2
    assert names >= {OTHER_SOURCE, "honest"}
    assert shown(metrics, OTHER_SOURCE) == 1
    assert page_of(metrics).labels("milepost_source_last_event_timestamp_seconds") == [{"source": "honest"}]
