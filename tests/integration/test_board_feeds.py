"""`calendar.ics` and `status.csv`: read back by other programs, with names that try to be more than names."""

import csv
import io
import logging
from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

import pytest
from ical.calendar import Calendar
from ical.calendar_stream import IcsCalendarStream
from typer.testing import CliRunner

from deploy.cli import app
from models.domain.events import (
    Classifier,
    DependencyDeclared,
    Event,
    EventData,
    MilestoneCancelled,
    MilestoneReported,
    Predecessor,
    ProgrammeRegistered,
    ProjectRegistered,
)
from models.domain.timestamps import Instant
from tests.helpers.board import BoardServer, running_board

TODAY: Final = date(2026, 3, 8)
KEY: Final = "a-key-of-some-length/&?"
CALENDAR, CSV = "/programmes/north/calendar.ics", "/programmes/north/status.csv"
FORMULA: Final = '=HYPERLINK("http://evil.example";"x"), \n+1'
HOSTILE: Final = (
    "END:VCALENDAR\r\nBEGIN:VALARM; \\n,",
    "\N{RIGHT-TO-LEFT OVERRIDE}\x00\x1b[31m" + "\N{GRINNING FACE}" * 60,
)


def said(number: int, project: str, data: EventData, at: str = "2026-01-01T09:00:00.25") -> Event:
    return Event(source="office", id=str(number), programme="north", project=project, time=Instant(at), data=data)


def report(milestone: str, classifier: Classifier, day: str, name: str | None = None) -> MilestoneReported:
    return MilestoneReported(milestone, classifier, date.fromisoformat(day), name=name)


EVENTS: Final = (
    said(1, "", ProgrammeRegistered(name=HOSTILE[0])),
    said(2, "park", ProjectRegistered(name=HOSTILE[1])),
    said(3, "park", report("opened", Classifier.PLANNED, "2026-05-01", FORMULA)),
    said(4, "park", report("opened", Classifier.ESTIMATED, "2026-05-11"), "2026-02-02T10:00:00"),
    said(5, "lot-1", report("launched", Classifier.PLANNED, "2026-05-05", "-1+1")),
    said(6, "lot-1", DependencyDeclared("launched", Predecessor("park", "opened"), 0)),
    said(7, "lot-1", report("permitted", Classifier.PLANNED, "2026-03-01", "@SUM(1)")),
    said(8, "lot-1", report("leased", Classifier.PLANNED, "2026-02-10", "\t=1")),
    said(9, "lot-1", report("leased", Classifier.ACTUAL, "2026-02-07"), "2026-02-08T09:00:00"),
    said(10, "lot-1", report("painted", Classifier.PLANNED, "2026-06-01")),
    said(11, "lot-1", MilestoneCancelled("painted"), "2026-02-08T09:00:00"),
    said(12, "lot-2", DependencyDeclared("dreamt", Predecessor("lot-2", "imagined"), 0)),
    said(13, "lot-2", report("far", Classifier.PLANNED, "2100-12-31", "+2")),
)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardServer]:
    url = f"sqlite:///{tmp_path_factory.mktemp('feeds') / 'board.db'}"
    with running_board(url, TODAY, board_url="https://milepost.example") as here:
        here.record_events(EVENTS)
        yield here


@pytest.fixture(scope="module")
def board_with_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardServer]:
    url = f"sqlite:///{tmp_path_factory.mktemp('feeds') / 'board.db'}"
    with running_board(url, TODAY, feed_key=KEY) as here:
        here.record_events(EVENTS)
        yield here


def read_calendar(board: BoardServer) -> Calendar:
    response = board.get(CALENDAR)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/calendar; charset=utf-8")
    return IcsCalendarStream.calendar_from_ics(response.text)


def test_open_and_achieved_milestones_with_a_date_are_all_day_events(board: BoardServer) -> None:
    events = read_calendar(board).events
    assert {event.uid: (event.dtstart, event.dtend) for event in events} == {
        "north/park/opened@milepost": (date(2026, 5, 11), date(2026, 5, 12)),
        "north/lot-1/launched@milepost": (date(2026, 5, 11), date(2026, 5, 12)),
        # Overdue: today at the earliest.
        "north/lot-1/permitted@milepost": (date(2026, 3, 8), date(2026, 3, 9)),
        "north/lot-1/leased@milepost": (date(2026, 2, 7), date(2026, 2, 8)),
        "north/lot-2/far@milepost": (date(2100, 12, 31), date(2101, 1, 1)),
    }


def test_an_event_says_when_it_was_rendered_and_what_was_said_last(board: BoardServer) -> None:
    [event] = [event for event in read_calendar(board).events if "park" in (event.uid or "")]
    assert event.sequence == (TODAY - date(2020, 1, 1)).days
    assert event.last_modified == datetime.fromisoformat("2026-02-02T10:00:00Z")
    assert str(event.url) == "https://milepost.example/programmes/north/milestones/park/opened"


def test_the_calendar_is_the_same_as_long_as_nothing_is_said_on_the_same_day(board: BoardServer) -> None:
    assert board.get(CALENDAR).body == board.get(CALENDAR).body


def test_lines_of_the_calendar_are_folded_and_hold_no_control_characters(board: BoardServer) -> None:
    body = board.get(CALENDAR).body
    lines = body.split(b"\r\n")
    assert lines[-1] == b""
    assert max(map(len, lines)) <= 75
    text = body.replace(b"\r\n", b"").decode()
    assert all(character.isprintable() for character in text)
    assert body.count(b"END:VCALENDAR\r\n") == 1
    assert b"\r\nBEGIN:VALARM" not in body


def test_hostile_names_are_read_back_as_texts(board: BoardServer) -> None:
    calendar = read_calendar(board)
    summaries = {event.uid: event.summary for event in calendar.events}
    assert "=HYPERLINK" in (summaries["north/park/opened@milepost"] or "")
    assert "(10 days late)" in (summaries["north/park/opened@milepost"] or "")
    assert "was due 1 Mar 2026" in (summaries["north/lot-1/permitted@milepost"] or "")
    assert len(calendar.events) == 5


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_cells_of_the_table_are_no_formulas_and_numbers_stay_numbers(board: BoardServer) -> None:
    response = board.get(CSV)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    rows = {row["milestone"]: row for row in rows_of(response.text)}
    assert [row["milestone"] for row in rows_of(response.text)][:2] == ["leased", "permitted"]
    # An empty line for a dependency's ends without a name.
    assert {name: row["name"] for name, row in rows.items() if row["name"]} == {
        "leased": "'\\t=1",
        "permitted": "'@SUM(1)",
        "launched": "'-1+1",
        "opened": '\'=HYPERLINK("http://evil.example";"x"), \\n+1',
        "far": "'+2",
    }
    assert (rows["leased"]["slip_days"], rows["opened"]["slip_days"], rows["opened"]["float_days"]) == (
        "-3",
        "10",
        "-10",
    )
    assert (rows["opened"]["dependents"], rows["opened"]["moved"]) == ("1", "1")
    assert response.body.endswith(b"\r\n")


def test_the_command_prints_the_table_of_the_page(board: BoardServer) -> None:
    url = board.recorder.engine.url.render_as_string(hide_password=False)
    arguments = ["status", "north", "--csv", "--data-date", TODAY.isoformat(), "--database", url]
    result = CliRunner().invoke(app.app, arguments)
    assert result.stdout_bytes == board.get(CSV).body
    assert CliRunner().invoke(app.app, [*arguments, "--json"]).exit_code == 2


def test_what_is_assumed_says_so_in_a_column_of_its_own(board: BoardServer) -> None:
    rows = rows_of(board.get(f"{CSV}?assume=park/opened@2026-06-01").text)
    assert {row["assumed"] for row in rows} == {"assumed"}
    [opened] = [row for row in rows if row["milestone"] == "opened"]
    assert (opened["forecast"], opened["forecast_as_said"]) == ("2026-06-01", "2026-05-11")
    assert "assumed" not in rows_of(board.get(CSV).text)[0]


def test_the_calendar_takes_no_other_picture(board: BoardServer) -> None:
    assert board.get(f"{CALENDAR}?day=2026-01-01").status == 400


@pytest.mark.parametrize("path", [CALENDAR, CSV])
@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", f"?key={KEY[:-1]}", "?key=%C3%BC", "?key=%00"])
def test_without_the_key_nothing_is_told_not_even_what_exists(
    board_with_key: BoardServer, path: str, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert board_with_key.get(f"{path}{query}").status == 403
    assert board_with_key.get(f"{path.replace('north', 'nowhere')}{query}").status == 403
    assert KEY[:-1] not in caplog.text


@pytest.mark.parametrize("link", ["calendar.ics", "status.csv"])
def test_the_page_links_to_the_feeds_with_their_key(board_with_key: BoardServer, link: str) -> None:
    page = board_with_key.get("/programmes/north").text
    path = f"/programmes/north/{link}?key=a-key-of-some-length/%26%3F"
    assert f'href="{path}"' in page
    assert board_with_key.get(path).status == 200


def test_without_a_key_set_the_feeds_are_as_open_as_the_board(board: BoardServer) -> None:
    assert board.get(f"{CALENDAR}?key=whatever").status == 200
    assert 'href="https://milepost.example/programmes/north/calendar.ics"' in board.get("/programmes/north").text
