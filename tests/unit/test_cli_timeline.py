"""A programme over time, as a terminal shows it: exact where a line is short, and for any width and any date."""

import io
import re
import sys
from collections.abc import Sequence
from datetime import date, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cli import timeline as drawing
from deploy.cli.console import STATE_STYLES
from deploy.cli.status import print_status
from deploy.cli.timeline import ASCII_GLYPHS, UNICODE_GLYPHS, render_timeline
from models.domain.impact import NO_IMPACT
from models.domain.schedule import State
from models.views.status import StatusReport, StatusRow

TODAY = date(2026, 11, 25)
#: What a timeline is drawn with.
DRAWN = set("".join(UNICODE_GLYPHS)) - {"…"}


def row(  # noqa: PLR0913 - the columns of a row that are drawn
    milestone: str,
    baseline: str | None = None,
    forecast: str | None = None,
    actual: str | None = None,
    state: State = State.PLANNED,
    project: str = "quay",
) -> StatusRow:
    days = [None if day is None else date.fromisoformat(day) for day in (baseline, forecast or actual, actual)]
    return StatusRow(
        "north",
        project,
        milestone,
        None,
        days[0],
        None,
        None,
        days[2],
        days[1],
        None,
        None,
        state,
        None,
        1,
        0,
        *NO_IMPACT,
    )


def rendered(rows: Sequence[StatusRow], width: int = 60, on: date = TODAY) -> list[str]:
    lines = render_timeline(rows, on, width)
    assert max((line.cell_len for line in lines), default=0) <= width
    return [line.plain.rstrip() for line in lines]


def test_every_milestone_has_a_line_under_its_project_over_one_axis() -> None:
    rows = [
        row("permit-approved", "2026-08-01", actual="2026-09-01", state=State.ACHIEVED),
        row("park-commissioned", "2027-01-09", "2027-03-20", state=State.SLIPPING),
        row("opened", "2027-05-01", "2027-04-01", project="wharf"),
        row("unheard-of", project="wharf", state=State.UNKNOWN),
    ]
    assert rendered(rows) == [
        "                                2026-11-25",
        "quay                                 │",
        "  permit-approved   ◇━━━●            │",
        "  park-commissioned                  │     ◇━━━━━━━━━◆",
        "wharf                                │",
        "  opened                             │                 ◆───◇",
        "  unheard-of                         │",
        "                    ─────────┬────────────┬─────────────────",
        "                             2026-10      2027-01",
    ]


def test_what_is_far_away_stands_beside_the_axis_and_presses_nothing_together() -> None:
    rows = [
        row("a", "2026-10-01", "2027-02-01"),
        row("b", "2026-11-25", "2026-11-25"),
        row("c", "1990-01-01", "9999-12-31"),
        row("d", "1990-01-01", actual="1991-01-01"),
        row("e", "2100-12-31", "2026-12-30"),
    ]
    assert rendered(rows, 40) == [
        "               2026-11-25",
        "quay                │",
        "  a   ◇━━━━━━━━━━━━━┿━━━━━━━━━━━━━━━━◆",
        "  b                 ◆",
        "  c ◀◇━━━━━━━━━━━━━━┿━━━━━━━━━━━━━━━━━◆▶",
        "  d ◀●              │",
        "  e                 │        ◆────────◇▶",
        "      ────────┬──────────────┬────────",
        "              2026-11        2027-01",
    ]


def test_one_milestone_is_shown_on_an_axis_of_weeks() -> None:
    assert rendered([row("opened", "2026-11-25", "2026-11-25")], 70) == [
        "                                  2026-11-25",
        "quay                                   │",
        "  opened                               ◆",
        "         ───────────┬──────────────┬──────────────┬───────────────────",
        "                    2026-11-16     2026-11-23     2026-11-30",
    ]


def test_a_cancelled_milestone_is_shown_by_its_claims_without_a_bar() -> None:
    done = row("a", "2026-11-01", actual="2026-12-20", state=State.CANCELLED)
    rows = [
        msgspec.structs.replace(done, forecast=None),
        row("b", "2026-12-01", state=State.CANCELLED),
        row("c", "2026-12-01", "2026-12-20"),
    ]
    [a, b, c] = rendered(rows)[2:5]
    assert [a.count(glyph) for glyph in "◇●◆━─"] == [1, 1, 0, 0, 0]
    assert [b.count(glyph) for glyph in "◇●◆━─"] == [1, 0, 0, 0, 0]
    assert (a.index("●"), b.index("◇")) == (c.index("◆"), c.index("◇"))


def test_where_nothing_has_a_date_or_there_is_no_room_nothing_is_printed() -> None:
    assert rendered([]) == []
    assert rendered([row("a"), row("b", state=State.UNKNOWN)]) == []
    assert rendered([row("opened", "2026-11-25")], 30) == []


@pytest.mark.parametrize("state", State)
def test_a_bar_has_the_colour_of_its_state_and_is_never_struck_through(state: State) -> None:
    [bar] = render_timeline([row("opened", "2026-12-25", "2027-12-25", state=state)], TODAY, 60)[2:3]
    [style] = {str(span.style) for span in bar.spans if "◆" in bar.plain[span.start : span.end]}
    assert style == STATE_STYLES[state].replace(" strike", "")


def test_a_terminal_that_knows_nothing_but_ascii_gets_nothing_else() -> None:
    rows = [row("a", "1990-01-01", "2027-01-01"), row("x" * 64, "2027-01-01", "2026-12-01", project="y" * 64)]
    rows += [row("b", "2026-01-01", actual="2026-02-01")]
    lines = [*render_timeline(rows, TODAY, 60, ASCII_GLYPHS), *drawing.render_legend(rows, ASCII_GLYPHS)]
    assert "".join(line.plain for line in lines).isascii()


def test_long_names_lose_their_middle_for_they_differ_at_either_end() -> None:
    rows = [row(f"foundations-of-the-northern-hall-phase-{phase}", "2026-12-01", "2026-12-01") for phase in (1, 2)]
    first, second = rendered(rows, 80)[2:4]
    assert (first.split()[0], second.split()[0]) == ("foundations-of…n-hall-phase-1", "foundations-of…n-hall-phase-2")


_DAYS = st.none() | st.dates() | st.dates(date(2020, 1, 1), date(2035, 1, 1))
_SLUGS = st.sampled_from(("a", "permit-approved", "x" * 64))


@given(
    st.lists(st.tuples(_SLUGS, _SLUGS, _DAYS, _DAYS, st.booleans()), max_size=6),
    st.dates() | st.just(TODAY),
    st.integers(1, 250),
)
def test_any_dates_on_any_day_fit_into_any_width_and_every_date_is_there(
    told: list[tuple[str, str, date | None, date | None, bool]], on: date, width: int
) -> None:
    rows = [
        StatusRow(
            "n",
            project,
            slug,
            None,
            first,
            None,
            None,
            last if done else None,
            last,
            None,
            None,
            State.PLANNED,
            None,
            1,
            0,
            *NO_IMPACT,
        )
        for project, slug, first, last, done in told
    ]
    lines = rendered(rows, width, on)
    bars = iter(line for line in lines[1:-2] if line.startswith("  "))
    for shown in rows if lines else []:
        text = next(bars)
        assert not shown.forecast or (UNICODE_GLYPHS.actual if shown.actual else UNICODE_GLYPHS.forecast) in text
        assert not shown.baseline or {UNICODE_GLYPHS.baseline, UNICODE_GLYPHS.forecast, UNICODE_GLYPHS.actual} & set(
            text
        )
        assert shown.forecast or shown.baseline or not set(text) & DRAWN - {UNICODE_GLYPHS.data_date}


def test_hundreds_of_milestones_have_a_line_each() -> None:
    days = [TODAY + timedelta(days=3 * number) for number in range(600)]
    rows = [row(f"m-{number}", day.isoformat(), day.isoformat()) for number, day in enumerate(days)]
    lines = rendered(rows, 120)
    assert len(lines) == 600 + 4
    columns = [line.index(UNICODE_GLYPHS.forecast) for line in lines[2:-2]]
    assert columns == sorted(columns)


# In a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seen(rows: Sequence[StatusRow], monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for name, value in {"COLUMNS": "80", "TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    print_status(StatusReport(TODAY, rows, []), is_terminal=True)
    monkeypatch.undo()
    return terminal.getvalue()


def test_a_terminal_gets_a_table_and_a_timeline_a_programme_and_the_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row("opened", "2026-12-01", "2027-01-01", state=State.SLIPPING),
        StatusRow(
            "south", "a", "x", None, None, None, None, TODAY, TODAY, None, None, State.ACHIEVED, None, 7, 0, *NO_IMPACT
        ),
    ]
    text = re.sub(r"\x1b\[[0-9;]*m", "", seen(rows, monkeypatch))
    order = (
        *("north, revision 1", "  opened", "2026-12-01", "quay", "◇━"),
        *("south, revision 7", "  x", "2026-11-25", "achieved", "●", "◇ baseline  ◆ forecast"),
    )
    place = 0
    for part in order:
        place = text.index(part, place)
    assert text.count("baseline  ◆") == 1
    assert text.splitlines()[-1] == "achieved  slipping"
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("width", "left_out"), [(80, "planned, estimated, actual"), (100, "planned, estimated"), (140, "")]
)
def test_a_date_stays_on_one_line_and_a_narrow_terminal_says_which_columns_it_leaves_out(
    width: int, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline, planned, estimated, actual, forecast = days = [TODAY + timedelta(days=number) for number in range(5)]
    driver = "sez-industrial-park/park-commissioned"
    rows = [
        StatusRow(
            "north",
            "quay",
            "production-launched",
            None,
            baseline,
            planned,
            estimated,
            actual,
            forecast,
            35,
            -35,
            State.SLIPPING,
            driver,
            1,
            0,
            *NO_IMPACT,
        )
    ]
    text = re.sub(r"\x1b\[[0-9;]*m", "", seen(rows, monkeypatch, COLUMNS=str(width)))
    table = text[: text.index("2026-11-25\n")]
    dates = {date.fromisoformat(found) for found in re.findall(r"\d{4}-\d\d-\d\d", table)}
    assert dates == {80: {baseline, forecast}, 100: {baseline, actual, forecast}, 140: set(days)}[width]
    assert ("have no room for" in text) == bool(left_out)
    assert left_out in text
    assert max(map(len, text.splitlines())) <= width


def test_without_colours_their_key_would_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = seen([row("opened", "2026-12-01", "2027-01-01")], monkeypatch, NO_COLOR="1")
    assert "beyond" in text.splitlines()[-1]


def test_where_nothing_is_printed_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "baseline" not in seen([row("opened", state=State.UNKNOWN)], monkeypatch)
