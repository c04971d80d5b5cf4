"""Where things stand on a page's timeline."""

from datetime import date, timedelta

import pytest

from models.domain.schedule import picture
from streams.web.timeline import axis, lanes
from tests.networks import TODAY, achieved, estimated, facts_of, planned

EARLY, LATE = planned(1, "a/one", -100), planned(2, "b/two", 300)


def test_every_date_and_today_lie_within_the_axis() -> None:
    shown = picture(facts_of(EARLY, LATE), TODAY).standings
    on = axis(shown, TODAY)

    at = [on.at(TODAY + timedelta(days=days)) for days in (-100, 0, 300)]

    assert at == sorted(at)
    assert all(0 < one < 100 for one in at)


def test_one_milestone_far_away_does_not_press_the_rest_together() -> None:
    shown = picture(facts_of(EARLY, LATE, planned(3, "c/far", 20_000)), TODAY).standings
    on = axis(shown, TODAY)

    assert on == axis(shown[:2], TODAY)
    assert on.at(TODAY + timedelta(days=20_000)) == 100


@pytest.mark.parametrize("days", [0, 1, 40, 400, 3000, 7000])
def test_an_axis_has_a_few_ticks_whatever_it_spans(days: int) -> None:
    shown = picture(facts_of(planned(1, "a/one", -days // 2), planned(2, "b/two", days // 2)), TODAY).standings
    ticks = axis(shown, TODAY).ticks()

    assert 1 <= len(ticks) <= 10
    assert [tick.at for tick in ticks] == sorted({tick.at for tick in ticks})


def test_the_days_at_both_ends_of_time_can_be_drawn() -> None:
    for today in (date.min, date.max):
        assert 0 <= axis([], today).at(today) <= 100


def test_a_bar_leads_from_the_earlier_of_both_dates_to_the_later() -> None:
    shown = picture(
        facts_of(
            planned(1, "a/late", 10), estimated(2, "a/late", 30), planned(3, "b/early", 30), achieved(4, "b/early", -20)
        ),
        TODAY,
    )
    on = axis(shown.standings, TODAY)

    late, early = lanes(shown.standings, on)

    assert late.ghost is not None
    assert late.mark is not None
    assert late.bar == pytest.approx((late.ghost, late.mark - late.ghost), abs=0.01)
    assert late.is_late
    assert early.ghost is not None
    assert early.mark is not None
    assert early.bar == pytest.approx((early.mark, early.ghost - early.mark), abs=0.01)
    assert not early.is_late
