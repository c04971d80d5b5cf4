"""Where things stand on a page's timeline."""

from datetime import date, timedelta

import pytest

from models.domain.schedule import compute_schedule
from streams.web.timeline import fit_percent_axis, lay_out_lanes
from tests.helpers.networks import TODAY, cancel_milestone, estimate_date, facts_of, plan_date, report_actual

EARLY, LATE = plan_date(1, "a/one", -100), plan_date(2, "b/two", 300)


def test_every_date_and_today_lie_within_the_axis() -> None:
    shown = compute_schedule(facts_of(EARLY, LATE), TODAY).statuses
    on = fit_percent_axis(shown, TODAY)

    at = [on.to_percent(TODAY + timedelta(days=days)) for days in (-100, 0, 300)]

    assert at == sorted(at)
    assert all(0 < one < 100 for one in at)


def test_one_milestone_far_away_does_not_press_the_rest_together() -> None:
    shown = compute_schedule(facts_of(EARLY, LATE, plan_date(3, "c/far", 20_000)), TODAY).statuses
    on = fit_percent_axis(shown, TODAY)

    assert on == fit_percent_axis(shown[:2], TODAY)
    assert on.to_percent(TODAY + timedelta(days=20_000)) == 100


def test_a_past_of_long_ago_is_shown_where_it_was() -> None:
    days = [-5000, -4800, -4300, -2800]
    shown = compute_schedule(facts_of(*(report_actual(i, f"a/m{i}", d) for i, d in enumerate(days, 1))), TODAY).statuses
    on = fit_percent_axis(shown, TODAY)

    at = [on.to_percent(TODAY + timedelta(days=day)) for day in (*days, 0)]

    assert at == sorted(set(at))
    assert all(0 < one < 100 for one in at)


@pytest.mark.parametrize("days", [0, 1, 40, 400, 3000, 7000, 14_000])
def test_an_axis_has_a_few_ticks_whatever_it_spans(days: int) -> None:
    shown = compute_schedule(
        facts_of(plan_date(1, "a/one", -days // 2), plan_date(2, "b/two", days // 2)), TODAY
    ).statuses
    ticks = fit_percent_axis(shown, TODAY).ticks()

    assert 1 <= len(ticks) <= 10
    assert [tick.percent for tick in ticks] == sorted({tick.percent for tick in ticks})


def test_the_days_at_both_ends_of_time_can_be_shown() -> None:
    for today in (date.min, date.max):
        assert 0 <= fit_percent_axis([], today).to_percent(today) <= 100


def test_a_bar_leads_from_the_earlier_of_both_dates_to_the_later() -> None:
    shown = compute_schedule(
        facts_of(
            plan_date(1, "a/late", 10),
            estimate_date(2, "a/late", 30),
            plan_date(3, "b/early", 30),
            report_actual(4, "b/early", -20),
        ),
        TODAY,
    )
    on = fit_percent_axis(shown.statuses, TODAY)

    late, early = lay_out_lanes(shown.statuses, on)

    assert late.baseline_percent is not None
    assert late.forecast_percent is not None
    assert late.slip_span == pytest.approx(
        (late.baseline_percent, late.forecast_percent - late.baseline_percent), abs=0.01
    )
    assert late.is_late
    assert early.baseline_percent is not None
    assert early.forecast_percent is not None
    assert early.slip_span == pytest.approx(
        (early.forecast_percent, early.baseline_percent - early.forecast_percent), abs=0.01
    )
    assert not early.is_late


def test_a_cancelled_milestone_has_the_marks_of_its_claims_and_no_bar() -> None:
    done = [plan_date(1, "a/done", 10), report_actual(2, "a/done", 70), cancel_milestone(3, "a/done")]
    open_ = [plan_date(4, "b/open", 10), estimate_date(5, "b/open", 70)]
    gone = [plan_date(6, "c/gone", 10), estimate_date(7, "c/gone", 70), cancel_milestone(8, "c/gone")]
    shown = compute_schedule(facts_of(*done, *open_, *gone), TODAY).statuses

    first, second, third = lay_out_lanes(shown, fit_percent_axis(shown, TODAY))

    assert first[1:3] == second[1:3]
    assert third[1:3] == (second.baseline_percent, None)
    assert [first.slip_span, third.slip_span] == [None, None]
    assert second.slip_span is not None
    alone = fit_percent_axis(shown[:1], TODAY)
    assert 0 < alone.to_percent(TODAY + timedelta(days=70)) < 100
