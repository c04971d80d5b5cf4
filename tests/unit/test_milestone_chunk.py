"""The lines of milestones, and the chunks that keep them compressed."""

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from models.database.slip_causes import SlipCause
from models.domain.events import Money
from models.domain.impact import NO_IMPACT, HeldUp, Impact
from models.domain.schedule import MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import make_stamp, parse_instant
from streams.metrics.milestone_chunk import CHUNK_SIZE, MilestoneChunk, render_chunks
from streams.metrics.milestones import (
    MILESTONE_FAMILIES,
    MilestoneMetrics,
    collect_milestone_metrics,
    render_milestone,
)

DAY = date(2026, 11, 23)


def test_lines_stand_in_the_order_of_the_families_with_their_names_and_labels() -> None:
    start = date(2027, 1, 1)
    driver, money = MilestoneRef("plant", "gate"), Money(5, "EUR")
    key, dates = ("north", "plant", "site-leased"), (start, start, start, start, start)
    stamp = make_stamp(parse_instant("2026-11-23T09:00:00Z"), "//office.example", "1")
    status = MilestoneStatus(*key, *dates, 3, 4, State.SLIPPING, driver, 2, stamp, money, None)
    impact = Impact(2, HeldUp(1, {"EUR": Decimal("2.5"), "USD": Decimal(1)}, 10))
    metrics = collect_milestone_metrics(status, SlipCause('//a"b', "late\nagain"), impact)
    rendered = render_milestone(metrics)

    for family, lines in zip(MILESTONE_FAMILIES, rendered, strict=True):
        [parsed] = text_string_to_metric_families(f"# TYPE {family.name} {family.type}\n{lines.decode()}")
        assert parsed.name == family.name
        assert {tuple(sample.labels) for sample in parsed.samples} == {family.labels}
    assert metrics.series_count == b"".join(rendered).count(b"\n")


def milestone(number: int, days: int | None) -> MilestoneMetrics:
    """Return an open milestone, forecast some days late; without a date it is a gate."""
    day = None if days is None else DAY + timedelta(days=days)
    key, dates = ("north", f"p{number % 7}", f"m{number:03d}"), (None, None, day, None, day)
    status = MilestoneStatus(*key, *dates, days, None, State.PLANNED, None, int(day is None), None, None, None)
    impact = Impact(2, HeldUp(1, {"USD": Decimal(number)}, 5)) if day is None else NO_IMPACT
    return collect_milestone_metrics(status, None, impact)


def lines_of(chunks: tuple[MilestoneChunk, ...]) -> list[list[bytes]]:
    """Return the lines of each family, sorted: their order says nothing."""
    return [
        sorted(line for chunk in chunks for line in chunk.family_lines(index).splitlines())
        for index in range(len(MILESTONE_FAMILIES))
    ]


def rendered_lines(milestones: list[MilestoneMetrics]) -> list[list[bytes]]:
    rendered = [render_milestone(metrics) for metrics in milestones]
    return [
        sorted(line for lines in rendered for line in lines[index].splitlines())
        for index in range(len(MILESTONE_FAMILIES))
    ]


@given(
    st.lists(
        st.dictionaries(st.integers(0, 400), st.one_of(st.none(), st.integers(0, 3)), max_size=300),
        min_size=1,
        max_size=4,
    )
)
def test_chunks_have_the_lines_of_their_milestones_whatever_came_before(stages: list[dict[int, int | None]]) -> None:
    chunks: tuple[MilestoneChunk, ...] = ()
    known: dict[tuple[int, int | None], MilestoneMetrics] = {}
    for stage in stages:
        milestones = [known.setdefault(item, milestone(*item)) for item in sorted(stage.items())]
        chunks = render_chunks(milestones, chunks)
        assert lines_of(chunks) == rendered_lines(milestones)


@given(st.integers(1, 3 * CHUNK_SIZE), st.data())
def test_a_change_leaves_the_other_chunks_as_they_are(count: int, data: st.DataObject) -> None:
    milestones = [milestone(number, 1) for number in range(count)]
    before = render_chunks(milestones)
    number = data.draw(st.integers(0, count - 1))
    milestones[number] = milestone(number, 2)
    after = render_chunks(milestones, before)

    assert sum(new is not old for new, old in zip(after, before, strict=True)) == 1
    assert lines_of(after) == rendered_lines(milestones)


@given(st.lists(st.dictionaries(st.integers(0, 40), st.integers(0, 3)), max_size=5))
def test_changes_that_nobody_read_between_two_scrapes_are_on_the_page(stages: list[dict[int, int]]) -> None:
    milestones = [milestone(number, 1) for number in range(41)]
    chunks = render_chunks(milestones)
    for stage in stages:
        for number, days in stage.items():
            milestones[number] = milestone(number, days)
        chunks = render_chunks(milestones, chunks)

    assert lines_of(chunks) == rendered_lines(milestones)
    assert lines_of(chunks) == rendered_lines(milestones)


def test_a_programme_without_milestones_has_no_chunk() -> None:
    assert render_chunks([]) == ()
    assert render_chunks([], render_chunks([milestone(1, 1)])) == ()


def test_the_lines_of_many_milestones_take_a_tenth_of_their_text() -> None:
    milestones = [milestone(number, number % 100) for number in range(2_000)]
    text = sum(len(lines) for metrics in milestones for lines in render_milestone(metrics))
    compressed = sum(len(family) for chunk in render_chunks(milestones) for family in chunk.compressed_families)
    assert compressed < text / 8
