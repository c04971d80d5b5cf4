"""The timeline of a large programme: what is shown at first, filters, order, folded projects and a zoom."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

import pytest

from models.domain.events import Classifier, Event, MilestoneReported, ProjectRegistered
from models.domain.timestamps import Instant
from tests.helpers.board import BoardServer, running_board

TODAY: Final = date(2026, 11, 23)
HERE: Final = "/programmes/north"


def said(number: int, project: str, data: MilestoneReported | ProjectRegistered, day: date, source: str) -> Event:
    return Event(
        source=source,
        id=str(number),
        programme="north",
        project=project,
        time=Instant(f"{day}T09:00:00"),
        data=data,
    )


def ten_years() -> Iterator[Event]:
    """Tell of 120 projects with four milestones each: most are done, the last are to come, and a few are late."""
    number = 0
    for lot in range(120):
        project, start = f"lot-{lot}", date(2017, 1, 1) + timedelta(30 * lot)
        source = "//office.example" if lot % 2 else "//site.example"
        kind = "park" if lot % 10 == 0 else "participant"
        yield said(number := number + 1, project, ProjectRegistered(name=f"The Lot {lot}", kind=kind), start, source)
        for step in range(4):
            planned = start + timedelta(90 * (step + 1))
            plan = MilestoneReported(f"step-{step}", Classifier.PLANNED, planned)
            yield said(number := number + 1, project, plan, start, source)
            # The last step of every tenth is told by nobody.
            if planned < TODAY and not (lot % 10 == 0 and step == 3 and lot > 80):
                actual = MilestoneReported(f"step-{step}", Classifier.ACTUAL, planned + timedelta(lot % 3))
                yield said(number := number + 1, project, actual, planned + timedelta(lot % 3), source)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardServer]:
    with running_board(f"sqlite:///{tmp_path_factory.mktemp('board')}/m.db", TODAY) as here:
        here.record_events(list(ten_years()))
        yield here


def rows(board: BoardServer, query: str = "") -> list[str]:
    response = board.get(f"{HERE}{query}")
    assert response.status == 200, response.text
    return re.findall(r'<tr class="[^"]*" data-name="([^"]+)"', response.text)


def states(board: BoardServer, query: str) -> set[str]:
    return set(re.findall(r'<tr class="(\w+)[^"]*" data-name', board.get(f"{HERE}{query}").text))


def counts(board: BoardServer, query: str = "") -> dict[str, int]:
    found = re.findall(r">(\w+) <span>([\d,]+)</span></a>", board.get(f"{HERE}{query}").text)
    return {name: int(number.replace(",", "")) for name, number in found}


def test_at_first_what_is_open_and_what_happened_lately_is_shown(board: BoardServer) -> None:
    shown = rows(board)

    assert len(shown) == counts(board)["current"] < counts(board)["all"] == 480
    assert set(rows(board, "?show=open")) < set(shown)
    # Achieved a few days ago, and years ago.
    assert "lot-117/step-0" in shown
    assert "lot-3/step-0" not in shown


def test_a_programme_in_which_nothing_is_current_is_shown_as_a_whole(board: BoardServer) -> None:
    assert len(rows(board, "?day=2017-01-20&as_of=2017-01-20")) == 4
    assert len(rows(board, "?as_of=2026-11-20&day=2100-12-31&q=lot-1")) > 0


@pytest.mark.parametrize(
    ("query", "project", "number"),
    [
        ("?q=lot+33", "lot-33", 4),
        ("?q=LOT-33%2Fstep-1", "lot-33", 1),
        ("?project=lot-40&show=all", "lot-40", 4),
        ("?project=lot-40&source=%2F%2Fsite.example", "lot-40", 4),
        ("?project=lot-40&source=%2F%2Foffice.example", "lot-40", 0),
        ("?project=lot-40&kind=park", "lot-40", 4),
        ("?project=lot-40&kind=participant", "lot-40", 0),
        ("?project=lot-40&state=achieved", "lot-40", 4),
        ("?project=lot-40&state=overdue", "lot-40", 0),
        ("?q=nothing+like+that", "", 0),
    ],
)
def test_filters_apply_together(board: BoardServer, query: str, project: str, number: int) -> None:
    shown = rows(board, query)
    assert len(shown) == number
    assert {name.split("/")[0] for name in shown} <= {project}
    if not number:
        assert "No milestone is like that." in board.get(f"{HERE}{query}").text


def test_a_kind_and_a_state_select_milestones_of_all_projects(board: BoardServer) -> None:
    assert {name.split("/")[0] for name in rows(board, "?kind=park&state=overdue")} == {"lot-90", "lot-100"}
    assert states(board, "?state=overdue") == {"overdue"}


def test_the_worst_stand_first_and_without_projects(board: BoardServer) -> None:
    text = board.get(f"{HERE}?sort=worst&show=all").text
    assert rows(board, "?sort=worst&show=all")[:2] == ["lot-90/step-3", "lot-100/step-3"]
    assert '<details class="project"' not in text
    assert len(rows(board, "?sort=worst&show=all")) == 480


def test_a_zoom_shows_what_lies_in_its_span_alone(board: BoardServer) -> None:
    text = board.get(f"{HERE}?show=all&from=2020-01-01&to=2020-06-30").text
    shown = re.findall(r'data-name="([^"]+)"', text)
    first, last = date(2020, 1, 1), date(2020, 6, 30)
    expected = {
        f"lot-{lot}/step-{step}"
        for lot in range(120)
        for step in range(4)
        for planned in [date(2017, 1, 1) + timedelta(30 * lot + 90 * (step + 1))]
        if planned <= last and planned + timedelta(lot % 3) >= first
    }
    assert set(shown) == expected
    ticks = re.findall(r'<text class="tick[^>]*>([^<]+)</text>', text)
    assert all("2020" in tick for tick in ticks)
    assert 'class="today"' not in text[text.index('class="lane-head"') :], "today lies beyond"


def test_a_project_is_folded_when_a_page_is_long_and_nothing_of_it_is_late(board: BoardServer) -> None:
    text = board.get(f"{HERE}?show=all").text
    unfolded = re.findall(r'<details class="project" id="project-([^"]+)" open>', text)
    folded = re.findall(r'<details class="project" id="project-([^"]+)">', text)
    assert unfolded == ["lot-90", "lot-100"]
    assert len(folded) == 118
    assert re.findall(r'id="project-([^"]+)" open', board.get(f"{HERE}?project=lot-3").text) == ["lot-3"]


def test_links_keep_the_filters_and_the_past(board: BoardServer) -> None:
    text = board.get(f"{HERE}?q=lot&kind=park&day=2026-01-01").text
    links = re.findall(rf'href="({HERE}\?show=late[^"]*)"', text)
    assert links == [f"{HERE}?show=late&amp;q=lot&amp;kind=park&amp;day=2026-01-01"]
    assert '<input type="hidden" name="day" value="2026-01-01">' in text
    assert '<input type="search" name="q" maxlength="255" value="lot">' in text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *(("?state=late", 400), ("?sort=x", 400), ("?show=x", 400), ("?from=x", 400), ("?to=2101-01-01", 400)),
        *(("?from=2026-01-02&to=2026-01-01", 400), (f"?q={'x' * 256}", 400), ("?project=nobody", 404)),
        *(("?kind=x", 200), ("?source=x", 200), ("?q=&state=&from=&to=&sort=&project=&kind=&source=", 200)),
    ],
)
def test_values_that_make_no_sense_are_refused(board: BoardServer, query: str, status: int) -> None:
    assert board.get(f"{HERE}{query}").status == status
    assert board.get(f"{HERE}/trend{query}").status == status


def test_the_trend_takes_the_filters_and_says_who_said_it(board: BoardServer) -> None:
    text = board.get(f"{HERE}/trend?project=lot-90").text
    assert "//site.example" in text
    assert "//office.example" not in text[text.index('id="trend"') :]
    assert set(re.findall(r"lot-(\d+)<wbr>", text)) == {"90"}
    [line] = [text[match.end() :].split('"', 1)[0] for match in re.finditer('data-trend="', text)]
    assert "&#34;sources&#34;:[&#34;//site.example&#34;" in line
