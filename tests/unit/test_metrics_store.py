"""Which milestones a worker shows, and when what it shows is out of date."""

import re
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.database.projector import ForecastResult
from models.domain.claims import (
    Claim,
    DependencyClaims,
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProjectClaims,
    ProjectKey,
    Register,
)
from models.domain.events import Money
from models.domain.schedule import compute_schedule
from models.domain.timestamps import Stamp, make_stamp, parse_instant
from streams.metrics.milestones import MILESTONE_FAMILIES, MilestoneMetrics, render_milestone
from streams.metrics.series_share import fair_share
from streams.metrics.store import SERIES_PER_PROGRAMME, MetricsStore, RenderedProgramme

DAY = date(2026, 11, 23)
#: Planned, forecast, float, last event, dependents and seven states.
OPEN = 12
#: On top, where others wait: how many it moves, and their jobs.
GATE = 2
#: Actual and forecast; the rest as above, without a float.
CLOSED = 12
#: Its info, its dependencies set aside, and the info of its one project.
OWN = 3


def stamp(day: date = DAY) -> Stamp:
    return make_stamp(parse_instant(f"{day}T09:00:00Z"), "//office.example", "1")


def open_one() -> MilestoneClaims:
    return MilestoneClaims(planned=Claim(stamp(), date(2027, 1, 1)))


def achieved(days_ago: int = 1) -> MilestoneClaims:
    day = DAY - timedelta(days=days_ago)
    return MilestoneClaims(planned=Claim(stamp(day), day), actual=Claim(stamp(day), day))


def facts_of(programme: str = "north", **milestones: MilestoneClaims) -> Facts:
    return Facts(milestones={MilestoneKey(programme, "plant", slug): its for slug, its in milestones.items()})


def wait_for(facts: Facts, gate: str, *waiting: str) -> Facts:
    """Have milestones wait for a gate."""
    [programme] = {key.programme for key in facts.milestones}
    for slug in waiting:
        key = DependencyKey(programme, "plant", slug, "plant", gate)
        facts.dependencies[key] = DependencyClaims(declared=Register(stamp(), 0))
    return facts


def show(shelf: MetricsStore, facts: Facts, revision: int = 1, day: date = DAY) -> RenderedProgramme:
    [programme] = {key[0] for key in (*facts.milestones, *facts.projects)}
    shown = shelf.render(
        ForecastResult(programme, revision, facts, compute_schedule(facts, day), has_unpublished=False)
    )
    shelf.put(*shelf.fit([shown]))
    return shown


def slugs(shown: RenderedProgramme) -> list[str]:
    return [milestone for _, _, milestone in shown.milestones]


def exposed_slugs(shelf: MetricsStore) -> list[str]:
    page = b"".join(shelf.iter_families()).decode()
    return re.findall(r'^milepost_milestone_dependents\{.*milestone="([^"]+)"', page, re.MULTILINE)


def crowd(programme: str, count: int, actual: int = 0) -> Facts:
    """Give a programme of many milestones, the first of them achieved."""
    names = {f"m{number:03d}": achieved() if number < actual else open_one() for number in range(count)}
    return facts_of(programme, **names)


def page_lines(shown: RenderedProgramme) -> list[bytes]:
    return [shown.family_bytes(index) for index in range(len(MILESTONE_FAMILIES))]


def parsed(shelf: MetricsStore) -> Counter[str]:
    """Return how many series of each programme are exposed."""
    page = b"".join(shelf.iter_families()).decode()
    return Counter(re.findall(r'^milepost_[a-z0-9_]+\{programme="([^"]+)"', page, re.MULTILINE))


def many_projects(programme: str, count: int) -> Facts:
    return Facts(projects={ProjectKey(programme, f"p{number:06d}"): ProjectClaims() for number in range(count)})


class TestShare:
    def test_everything_is_shown_when_there_is_room(self) -> None:
        shelf = MetricsStore(20 * OPEN + OWN, keep_days=90)
        shown = show(shelf, crowd("north", 20))

        assert (shown.exposed, shelf.dropped_series) == (20 * OPEN + OWN, 0)
        assert parsed(shelf) == {"north": 20 * OPEN + OWN}

    def test_where_there_is_no_room_open_milestones_are_kept_first_and_the_rest_is_counted(self) -> None:
        shelf = MetricsStore(10 * OPEN + OWN + 5, keep_days=90)
        show(shelf, crowd("north", 20, actual=10))

        assert exposed_slugs(shelf) == [f"m{number:03d}" for number in range(10, 20)]
        assert shelf.dropped_series == 10 * CLOSED

    def test_gates_are_kept_before_what_else_is_open(self) -> None:
        facts = wait_for(crowd("north", 20), "m019", "m000")
        # A gate without anything else to spare, and an achieved one that something still waits for.
        facts.milestones[MilestoneKey("north", "plant", "m018")] = achieved()
        wait_for(facts, "m018", "m001")
        shelf = MetricsStore(3 * OPEN + 2 * GATE + OWN + 2, keep_days=90)
        show(shelf, facts)

        assert exposed_slugs(shelf) == ["m000", "m018", "m019"]

    def test_a_programme_that_comes_late_cuts_the_large_one_at_once(self) -> None:
        shelf = MetricsStore(20 * OPEN + 2 * OWN, keep_days=90)
        show(shelf, crowd("alpha", 20))
        show(shelf, crowd("zulu", 10))

        assert parsed(shelf) == {"alpha": 10 * OPEN + OWN, "zulu": 10 * OPEN + OWN}
        assert shelf.outdated_programmes({"alpha": 1, "zulu": 1}, DAY) == []

    def test_a_programme_that_was_cut_is_behind_once_another_leaves_room(self) -> None:
        shelf = MetricsStore(30 * OPEN, keep_days=90)
        for programme in ("east", "north"):
            show(shelf, crowd(programme, 20))
        assert shelf.dropped_series > 0
        assert shelf.outdated_programmes({"east": 1, "north": 1}, DAY) == []

        shelf.retain(lambda name: name != "east")

        assert shelf.outdated_programmes({"north": 1}, DAY) == ["north"]
        assert len(show(shelf, crowd("north", 20)).milestones) == 20
        assert shelf.dropped_series == 0

    def test_a_programme_of_very_many_projects_leaves_another_one_whole(self) -> None:
        shelf = MetricsStore(4000, keep_days=90)
        show(shelf, many_projects("alpha", 15_000))
        show(shelf, crowd("zulu", 100))

        counts = parsed(shelf)
        assert counts["zulu"] == 100 * OPEN + OWN
        assert 0.9 * (4000 - counts["zulu"]) < counts["alpha"] <= 4000 - counts["zulu"]
        assert shelf.dropped_series == 15_000 + 2 - counts["alpha"]  # its own two series too

    def test_with_no_room_at_all_nothing_is_shown_and_all_is_counted(self) -> None:
        shelf = MetricsStore(0, keep_days=90)
        show(shelf, crowd("north", 3))

        assert (parsed(shelf), shelf.dropped_series) == ({}, 3 * OPEN + OWN)

    @given(st.lists(st.integers(1, 16), min_size=1, max_size=8), st.integers(0, 800), st.permutations(range(8)))
    def test_each_programme_has_its_share_whatever_its_name_and_all_fit(
        self, sizes: list[int], limit: int, naming: list[int]
    ) -> None:
        pages = []
        for names in (range(len(sizes)), naming[: len(sizes)]):
            programmes = {f"p{name}": size for name, size in zip(names, sizes, strict=True)}
            shelf = MetricsStore(limit, keep_days=90)
            for name, size in programmes.items():
                show(shelf, crowd(name, size))
                assert parsed(shelf).total() <= limit
            pages.append([parsed(shelf)[name] for name in programmes])
        assert pages[0] == pages[1]
        admitted = sizes[: max(1, limit // SERIES_PER_PROGRAMME)]
        share = fair_share(Counter(size * OPEN + OWN for size in admitted), limit)
        for size, shown in zip(admitted, pages[0], strict=False):
            milestones = min(size, (share - OWN) // OPEN)
            assert shown >= (milestones * OPEN + OWN if milestones > 0 else 0)

    def test_a_crowd_of_newcomers_takes_nothing_from_what_is_shown_but_what_their_shares_need(self) -> None:
        shelf = MetricsStore(20_000, keep_days=90)
        show(shelf, crowd("honest", 100))
        for number in range(5000):
            show(shelf, crowd(f"new-{number}", 1))

        counts = parsed(shelf)
        assert counts["honest"] == 100 * OPEN + OWN
        assert len(counts) == 20_000 // SERIES_PER_PROGRAMME
        assert shelf.dropped_series == 4501 * (OPEN + OWN)
        assert shelf.outdated_programmes({"new-4000": 1, "honest": 1}, DAY) == []
        # What is left out takes next to nothing, and is shown as soon as there is a place.
        left_out = shelf._rendered["new-4000"]
        assert (left_out.milestones, left_out.projects, left_out.chunks) == ({}, (), ())
        assert left_out.programme_metrics.projects == ()
        shelf.retain(lambda name: name != "new-7")
        assert shelf.outdated_programmes({"new-4000": 1}, DAY) == ["new-4000"]
        show(shelf, crowd("new-4000", 1))
        assert parsed(shelf)["new-4000"] == OPEN + OWN
        # It goes on to be shown whole when it changes.
        show(shelf, crowd("honest", 101), revision=2)
        assert parsed(shelf)["honest"] == 101 * OPEN + OWN

    def test_a_programme_is_not_cut_again_for_each_newcomer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shelf, cuts = MetricsStore(40_000, keep_days=90), list[str]()
        cut = RenderedProgramme.cut

        def count(rendered: RenderedProgramme, share: int) -> RenderedProgramme:
            cuts.append(rendered.name)
            return cut(rendered, share)

        monkeypatch.setattr(RenderedProgramme, "cut", count)
        show(shelf, many_projects("large", 50_000))
        for number in range(300):
            show(shelf, crowd(f"new-{number}", 1))

        assert 0 < cuts.count("large") < 10

    @given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 500))
    def test_the_share_is_the_largest_that_fits(self, requested: list[int], limit: int) -> None:
        def total(share: int) -> int:
            return sum(min(size, share) for size in requested)

        share = fair_share(Counter(requested), limit)

        assert total(share) <= limit
        assert total(share) == sum(requested) or total(share + 1) > limit


class TestLeaving:
    @pytest.mark.parametrize(("days_ago", "is_shown"), [(0, True), (90, True), (91, False), (4000, False)])
    def test_an_achieved_milestone_leaves_after_so_many_days(self, days_ago: int, is_shown: bool) -> None:  # noqa: FBT001 - a table's column
        shelf = MetricsStore(1000, keep_days=90)
        shown = show(shelf, facts_of(done=achieved(days_ago), still=open_one()))

        assert slugs(shown) == (["done", "still"] if is_shown else ["still"])
        # That is no lack of room.
        assert shelf.dropped_series == 0

    def test_one_that_was_achieved_long_ago_and_reported_today_is_shown(self) -> None:
        done = MilestoneClaims(actual=Claim(stamp(DAY), date(2020, 1, 1)))

        assert slugs(show(MetricsStore(1000, keep_days=90), facts_of(done=done))) == ["done"]

    @pytest.mark.parametrize(("days_ago", "expected"), [(90, ["gone"]), (91, [])])
    def test_a_cancelled_milestone_leaves_too(self, days_ago: int, expected: list[str]) -> None:
        day = DAY - timedelta(days=days_ago)
        gone = MilestoneClaims(planned=Claim(stamp(day - timedelta(days=9)), date(2027, 1, 1)), cancelled=stamp(day))

        assert slugs(show(MetricsStore(1000, keep_days=90), facts_of(gone=gone))) == expected

    @pytest.mark.parametrize(("days_ago", "expected"), [(90, ["one"]), (91, [])])
    def test_the_milestones_of_a_withdrawn_project_leave_after_its_withdrawal(
        self, days_ago: int, expected: list[str]
    ) -> None:
        facts = facts_of(one=MilestoneClaims(planned=Claim(stamp(DAY - timedelta(days=300)), date(2027, 1, 1))))
        facts.projects[ProjectKey("north", "plant")] = ProjectClaims(withdrawn=stamp(DAY - timedelta(days=days_ago)))

        assert slugs(show(MetricsStore(1000, keep_days=90), facts)) == expected

    def test_more_days_than_the_calendar_has_keep_everything(self) -> None:
        assert slugs(show(MetricsStore(1000, keep_days=10**9), facts_of(done=achieved(5000)))) == ["done"]


class TestBehind:
    def test_another_revision_or_another_day_makes_what_is_shown_out_of_date(self) -> None:
        shelf = MetricsStore(1000, keep_days=90)
        show(shelf, crowd("north", 1), revision=2)

        assert shelf.outdated_programmes({"north": 2}, DAY) == []
        assert shelf.outdated_programmes({"north": 3}, DAY) == ["north"]
        # A database that was restored from an older copy
        assert shelf.outdated_programmes({"north": 1}, DAY) == ["north"]
        assert shelf.outdated_programmes({"north": 2}, DAY + timedelta(days=1)) == ["north"]
        assert shelf.outdated_programmes({"north": 2, "south": 1}, DAY) == ["south"]

    def test_only_what_changed_is_rendered_again_and_only_when_it_is_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf = MetricsStore(10_000, keep_days=90)
        facts = crowd("north", 20)
        first = compute_schedule(facts, DAY)
        before = shelf.render(ForecastResult("north", 1, facts, first, has_unpublished=False))
        shelf.put(before)
        rendered: list[str] = []

        def render(metrics: MilestoneMetrics) -> tuple[bytes, ...]:
            rendered.append(metrics.status.milestone)
            return render_milestone(metrics)

        monkeypatch.setattr("streams.metrics.milestone_chunk.render_milestone", render)
        later = Facts(milestones={MilestoneKey("north", "plant", "m007"): achieved()})
        changed = facts.merged_with(later)
        after = shelf.render(
            ForecastResult("north", 2, changed, compute_schedule(changed, DAY, first), has_unpublished=False)
        )

        # What is never read is not rendered: under a steady flow it changes many times between two scrapes.
        assert rendered == []
        assert page_lines(after) != page_lines(before)
        assert rendered == ["m007"]
        page_lines(after)
        assert rendered == ["m007"]
        assert after.programme_lines is before.programme_lines

    def test_a_scrape_sees_one_moment_however_slowly_it_reads(self) -> None:
        shelf = MetricsStore(1000, keep_days=90)
        show(shelf, crowd("north", 1))
        pages = shelf.iter_families()
        read = [next(pages)]
        show(shelf, crowd("north", 5))
        read.extend(pages)

        assert b"m000" in b"".join(read)
        assert b"m004" not in b"".join(read)


def test_a_cancelled_milestone_has_the_series_of_its_claims_and_none_of_forecast_float_or_driver() -> None:
    def families_of(facts: Facts) -> set[str]:
        metrics = show(MetricsStore(1000, keep_days=90), facts).milestones["north", "plant", "late"]
        pairs = zip(MILESTONE_FAMILIES, render_milestone(metrics), strict=True)
        return {family.name.removeprefix("milepost_milestone_") for family, line in pairs if line}

    late = MilestoneClaims(baseline=Claim(stamp(), DAY), planned=Claim(stamp(), DAY), estimated=Claim(stamp(), DAY))
    facts = wait_for(facts_of(gate=open_one(), late=late), "gate", "late")
    before = families_of(facts)
    facts.projects[ProjectKey("north", "plant")] = ProjectClaims(withdrawn=stamp())
    assert before - families_of(facts) == {"forecast_timestamp_seconds", "float_seconds", "driver_info"}
    assert {f"{name}_timestamp_seconds" for name in ("baseline", "planned", "estimated")} <= families_of(facts)


def test_a_gate_says_how_many_it_moves_and_the_money_and_jobs_that_it_holds_up() -> None:
    facts = wait_for(facts_of(gate=open_one(), next=open_one()), "gate", "next")
    late = Claim(stamp(DAY + timedelta(days=1)), date(2027, 2, 1))
    planned = Claim(stamp(), date(2027, 1, 1))
    facts.milestones[MilestoneKey("north", "plant", "gate")] = MilestoneClaims(planned, planned, late)
    waiting = MilestoneKey("north", "shop", "opened")
    facts.milestones[waiting] = MilestoneClaims(planned, planned)
    facts.dependencies[DependencyKey(*waiting, "plant", "gate")] = DependencyClaims(declared=Register(stamp(), 0))
    store = MetricsStore(1000, keep_days=90)

    def impact_lines() -> list[str]:
        page = b"".join(store.iter_families()).decode()
        pattern = r"^milepost_milestone_((?:moved|held_up_\w+)\{.*)$"
        return [line.replace('programme="north",', "") for line in re.findall(pattern, page, re.MULTILINE)]

    gate = 'project="plant",milestone="gate"'
    show(store, facts)
    assert impact_lines() == [f"moved{{{gate}}} 1", f"held_up_jobs{{{gate}}} 0"]

    # A registration moves no milestone, and is shown all the same.
    registration = ProjectClaims(investment=Register(stamp(), Money(0.5, "EUR")), jobs=Register(stamp(), 12))
    shown = show(store, replace(facts, projects={ProjectKey("north", "shop"): registration}), revision=2)
    assert impact_lines() == [
        f"moved{{{gate}}} 1",
        f'held_up_investment{{{gate},currency="EUR"}} 0.5',
        f"held_up_jobs{{{gate}}} 12",
    ]
    for metrics in shown.milestones.values():
        assert metrics.series_count == b"".join(render_milestone(metrics)).count(b"\n")


def test_series_are_counted_as_they_are_rendered() -> None:
    facts = wait_for(facts_of(gate=open_one(), tenant=achieved(), late=open_one()), "gate", "late")
    facts.milestones[MilestoneKey("north", "plant", "gone")] = replace(
        open_one(), cancelled=stamp(DAY + timedelta(days=1))
    )
    facts.milestones[MilestoneKey("north", "plant", "paid")] = MilestoneClaims(
        baseline=Claim(stamp(), DAY), planned=Claim(stamp(), DAY, Money(5, "EUR")), estimated=Claim(stamp(), DAY)
    )
    shown = show(MetricsStore(1000, keep_days=90), facts)

    for metrics in shown.milestones.values():
        assert metrics.series_count == b"".join(render_milestone(metrics)).count(b"\n")
