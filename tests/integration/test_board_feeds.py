"""`calendar.ics` and `status.csv`: read back by other programs, with names that try to be more than names."""

import csv
import io
import logging
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
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
    EventRetracted,
    MilestoneCancelled,
    MilestoneReported,
    Predecessor,
    ProgrammeRegistered,
    ProjectRegistered,
)
from models.domain.timestamps import Instant
from models.settings import Settings, SettingsError
from streams.web.feed_key import FeedKey
from tests.helpers.board import BoardServer, running_board
from tests.helpers.workers import wait_until

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
    Event(
        source="office",
        id="idle",
        programme="idle",
        project="",
        time=Instant("2026-01-01T09:00:00"),
        data=ProgrammeRegistered(name="Nothing yet"),
    ),
    said(13, "lot-2", report("far", Classifier.PLANNED, "2100-12-31", " \N{NO-BREAK SPACE}+2")),
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
        "far": "' \\xa0+2",
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


def test_beside_another_time_each_row_of_the_table_says_what_moved_as_the_api_does(board: BoardServer) -> None:
    columns = ("compared_forecast", "compared_slip_days", "compared_state", "moved_days")
    for query in ("compare=2026-01-15", "compare=2025-01-01", "compare=2026-02-05&assume=park/opened@2026-06-01"):
        rows = {row["milestone"]: row for row in rows_of(board.get(f"{CSV}?{query}").text)}
        answer = board.get(f"/api/programmes/north/milestones?{query}").json
        expected = {
            milestone["milestone"]: ["" if value is None else str(value) for value in milestone["compared"].values()]
            for milestone in answer["milestones"]
        }
        assert {name: [row[column] for column in columns] for name, row in rows.items()} == expected
    assert rows["opened"]["moved_days"] == "21"
    assert "moved_days" not in rows_of(board.get(CSV).text)[0]


def test_a_milestone_that_only_the_other_time_has_is_a_row_of_its_names_and_what_it_was(board: BoardServer) -> None:
    def say(number: int, milestone: str, at: str = "2026-01-01T09:00:00", data: EventData | None = None) -> Event:
        told = data or report(milestone, Classifier.PLANNED, "2026-05-01", "=1")
        return msgspec.structs.replace(said(number, "lot", told, at), programme="past")

    board.record_events(
        (
            say(101, "vanished"),
            say(102, "zinc"),
            say(103, "", "2026-02-09T09:00:00", EventRetracted("101", "incorrect_data")),
        )
    )

    table = "/programmes/past/status.csv"
    gone, kept = rows_of(board.get(f"{table}?compare=2026-01-15").text)

    assert {name: text for name, text in gone.items() if text} == {
        "programme": "past",
        "project": "lot",
        "milestone": "vanished",
        "name": "'=1",
        "compared_forecast": "2026-05-01",
        "compared_slip_days": "0",
        "compared_state": "planned",
    }
    assert (kept["milestone"], kept["state"], kept["moved_days"]) == ("zinc", "planned", "0")
    assert [row["milestone"] for row in rows_of(board.get(table).text)] == ["zinc"]


def test_a_programme_without_milestones_has_a_table_of_no_rows(board: BoardServer) -> None:
    answer = board.get("/programmes/idle/status.csv?compare=2026-01-15")
    assert (answer.status, rows_of(answer.text)) == (200, [])
    assert board.get("/programmes/idle/status.csv?assume=park/opened@2026-06-01").status == 400


def test_a_calendar_without_events_is_valid_too(board: BoardServer) -> None:
    answer = board.get("/programmes/idle/calendar.ics")
    assert answer.status == 200
    assert IcsCalendarStream.calendar_from_ics(answer.text).events == []
    # RFC 5545, 3.6: one or more components.
    assert answer.text.count("BEGIN:") > 1
    assert "BEGIN:VTIMEZONE" not in board.get(CALENDAR).text


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


def test_a_new_key_in_the_file_counts_without_a_restart_and_a_broken_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "feed.key"
    file.write_text(f"{KEY}\n")
    other = "another-key-of-some-length"
    with running_board(f"sqlite:///{tmp_path / 'board.db'}", TODAY, feed_key_file=file) as board:
        board.record_events(EVENTS)
        before = board.get("/programmes/north")
        assert "key=a-key-of-some-length/" in before.text
        file.write_text(other)
        wait_until(lambda: f"key={other}" in board.get("/programmes/north").text, "the page has the new key")
        page = board.get("/programmes/north")
        assert "key=a-key-of-some-length/" not in page.text
        assert page.headers["Etag"] != before.headers["Etag"]
        assert board.get(f"{CALENDAR}?key={other}").status == 200
        assert board.get(f"{CALENDAR}?key={quote(KEY)}").status == 403
        file.write_text("")
        wait_until(lambda: "has a key of less than 16 characters" in caplog.text, "the fault is logged")
        assert board.get(f"{CALENDAR}?key={other}").status == 200
        assert board.get(f"{CALENDAR}?key=").status == 403
        assert other not in caplog.text


def test_a_key_that_anybody_could_guess_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "feed.key"
    file.write_text("\n")
    with pytest.raises(SettingsError, match=r"feed_key_file: .* has a key of less than 16 characters"):
        FeedKey(Settings(feed_key_file=file))


@pytest.mark.parametrize("page", ["/", "/programmes/north", "/programmes/north/trend", "/programmes/north/report"])
def test_every_page_on_which_people_look_at_a_programme_links_to_its_feeds(
    board_with_key: BoardServer, page: str
) -> None:
    text = board_with_key.get(page).text
    header = text.partition("</header>")[2]
    for link in ("calendar.ics", "status.csv"):
        assert f'href="/programmes/north/{link}?key=a-key-of-some-length/%26%3F"' in header
