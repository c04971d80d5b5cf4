"""The events of a source are counted by outcome; made-up sources share a label, and the board says when one floods."""

import pytest
from prometheus_client import generate_latest

from streams.metrics.pipeline import (
    MAX_SOURCES,
    MAX_UNKNOWN_FIELDS,
    OTHER_FIELD,
    OTHER_SOURCE,
    OUTCOMES,
    Metrics,
)
from streams.web.pipeline_status import MIN_EVENTS_TO_FLOOD, PipelineCounts, count_samples, read_pipeline_status
from tests.helpers.workers import MetricsPage

METRIC = "milepost_source_events_total"


def page_of(metrics: Metrics) -> MetricsPage:
    return MetricsPage(generate_latest(metrics.registry).decode())


def test_every_outcome_of_a_source_is_there_from_its_first_event_on() -> None:
    metrics = Metrics("0")
    metrics.count_source_events("//office.example", "accepted", 3)
    page = page_of(metrics)

    assert {outcome: page.value(METRIC, source="//office.example", outcome=outcome) for outcome in OUTCOMES} == {
        "accepted": 3,
        "duplicate": 0,
        "rejected": 0,
    }


def test_what_names_no_source_is_other() -> None:
    metrics = Metrics("0")
    metrics.count_source_events(None, "rejected")

    assert page_of(metrics).value(METRIC, source=OTHER_SOURCE, outcome="rejected") == 1


def test_made_up_sources_share_a_name_and_take_none_from_those_that_were_heard() -> None:
    metrics = Metrics("0")
    for number in range(10 * MAX_SOURCES):
        metrics.count_source_events(f"made-up-{number}", "rejected")
    metrics.source_seen("honest", 1.0)
    metrics.count_source_events("honest", "accepted")
    page = page_of(metrics)

    names = {labels["source"] for labels in page.labels(METRIC)}
    assert len(names) == MAX_SOURCES + 2
    assert names >= {OTHER_SOURCE, "honest"}
    assert page.value(METRIC, source=OTHER_SOURCE, outcome="rejected") == 9 * MAX_SOURCES
    assert page.value(METRIC) == 10 * MAX_SOURCES + 1
    assert page.labels("milepost_source_last_event_timestamp_seconds") == [{"source": "honest"}]


def test_sources_beyond_the_hundredth_share_a_name_though_they_were_heard() -> None:
    metrics = Metrics("0")
    for number in range(10 * MAX_SOURCES):
        metrics.source_seen(f"//{number}.example", 1.0)
        metrics.count_source_events(f"//{number}.example", "accepted")

    names = {labels["source"] for labels in page_of(metrics).labels(METRIC)}
    assert len(names) == MAX_SOURCES + 1
    assert OTHER_SOURCE in names


@pytest.mark.parametrize(
    ("accepted", "rejected", "expected"),
    [
        (0, 0, False),
        (0, MIN_EVENTS_TO_FLOOD - 1, False),
        (0, MIN_EVENTS_TO_FLOOD, True),
        (50, 50, False),
        (50, 51, True),
        (500, 501, True),
        (501, 500, False),
    ],
)
def test_a_source_floods_when_more_than_half_of_a_hundred_events_or_more_were_rejected(
    accepted: int,
    rejected: int,
    expected: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    metrics = Metrics("0")
    metrics.count_source_events("//office.example", "accepted", accepted)
    metrics.count_source_events("//office.example", "rejected", rejected)

    [source] = read_pipeline_status(metrics.registry, {}).sources
    assert source.is_flooding is expected


def test_each_source_is_judged_by_itself() -> None:
    metrics = Metrics("0")
    metrics.count_source_events("bad", "rejected", 200)
    metrics.count_source_events("good", "accepted", 200)

    sources = read_pipeline_status(metrics.registry, {}).sources
    assert {source.source: source.is_flooding for source in sources} == {"bad": True, "good": False}


def test_control_characters_of_a_source_are_spelled_out() -> None:
    metrics = Metrics("tests")
    metrics.count_source_events("ua\0b\x1b[31m\nc", "rejected")

    assert 'source="ua\\\\x00b\\\\x1b[31m\\\\nc"' in generate_latest(metrics.registry).decode()


UNKNOWN_FIELDS = "milepost_source_unknown_fields_total"


def test_the_unknown_fields_of_a_source_are_counted_by_name_the_first_ten_of_them() -> None:
    metrics = Metrics("0")
    for number in range(2 * MAX_UNKNOWN_FIELDS):
        metrics.count_unknown_fields("//office", f"field-{number}", 3)
    page = page_of(metrics)

    assert page.value(UNKNOWN_FIELDS, source="//office", field="field-0") == 3
    assert page.value(UNKNOWN_FIELDS, source="//office", field=OTHER_FIELD) == 3 * MAX_UNKNOWN_FIELDS
    assert len(page.labels(UNKNOWN_FIELDS)) == MAX_UNKNOWN_FIELDS + 1


def test_sources_beyond_the_hundredth_share_a_name_for_their_unknown_fields() -> None:
    metrics = Metrics("0")
    for number in range(2 * MAX_SOURCES):
        metrics.source_seen(f"//{number}.example", 1.0)
        metrics.count_source_events(f"//{number}.example", "accepted")
        metrics.count_unknown_fields(f"//{number}.example", "lag")
    page = page_of(metrics)

    assert len(page.labels(UNKNOWN_FIELDS)) == MAX_SOURCES + 1
    assert page.value(UNKNOWN_FIELDS, source=OTHER_SOURCE, field="lag") == MAX_SOURCES


def test_the_pipeline_status_has_the_unknown_fields_of_each_source_the_most_frequent_first() -> None:
    metrics = Metrics("0")
    metrics.count_source_events("//office", "accepted", 5)
    metrics.count_source_events("//other", "accepted", 5)
    metrics.count_unknown_fields("//office", "colour")
    metrics.count_unknown_fields("//office", "lag", 4)

    sources = {source.source: source for source in read_pipeline_status(metrics.registry, {}).sources}
    assert [*sources["//office"].unknown_fields.items()] == [("lag", 4), ("colour", 1)]
    assert sources["//other"].unknown_fields == {}


def test_the_unknown_fields_that_several_workers_counted_are_added() -> None:
    counts = PipelineCounts()
    for worker in (Metrics("0"), Metrics("0")):
        worker.count_source_events("//office", "accepted", 5)
        worker.count_unknown_fields("//office", "lag", 2)
        counts.add(count_samples(sample for family in worker.registry.collect() for sample in family.samples))

    [source] = counts.to_status({}).sources
    assert source.unknown_fields == {"lag": 4}
