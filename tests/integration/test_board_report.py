"""The page of a report, and every form of a report with names that try to be more than names."""

import re
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from typing import Final

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from deploy.cli import app
from models.domain.events import Classifier, Event, EventData, MilestoneReported, ProgrammeRegistered, ProjectRegistered
from models.domain.timestamps import Instant
from streams.web import picture_limit
from tests.helpers.board import BoardServer, running_board

TODAY: Final = date(2026, 3, 8)
HOSTILE: Final = (
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png) [link](javascript:alert(1)) **bold** `code`",
    "line\n# heading\n- item\r\n",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\N{LEFT-TO-RIGHT ISOLATE}",
    "&lt;b&gt; <@U123> @everyone https://evil.example www.evil.example",
    "=HYPERLINK(1)\x1b[31m | a | b |",
)


def said(at: str, number: int, data: EventData, project: str = "lot-1") -> Event:
    return Event(
        source=f"//{'<i>' * 3}", id=str(number), programme="north", project=project, time=Instant(at), data=data
    )


def built(day: str, remark: str | None = None) -> MilestoneReported:
    classifier = Classifier.PLANNED if remark is None else Classifier.ESTIMATED
    return MilestoneReported("built", classifier, date.fromisoformat(day), remark=remark)


EVENTS: Final = (
    said("2026-01-01T09:00:00", 1, built("2026-03-20")),
    said("2026-03-01T09:00:00", 2, ProgrammeRegistered(name=HOSTILE[0]), ""),
    *(
        said(f"2026-03-0{number + 2}T09:00:00", 10 + number, built(f"2026-04-0{number + 1}", remark))
        for number, remark in enumerate(HOSTILE)
    ),
    *(said("2026-03-02T09:00:00", 20 + number, ProjectRegistered(name=name)) for number, name in enumerate(HOSTILE)),
)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardServer]:
    url = f"sqlite:///{tmp_path_factory.mktemp('report') / 'board.db'}"
    with running_board(url, TODAY) as here:
        here.record_events(EVENTS)
        yield here


def in_form(board: BoardServer, name: str) -> str:
    url = board.recorder.engine.url.render_as_string(hide_password=False)
    span = ["--since", "2026-03-01", "--until", "2026-03-08"]
    result = CliRunner().invoke(app.app, ["report", "north", *span, "--format", name, "--database", url])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_page_shows_the_span_that_is_asked_for(board: BoardServer) -> None:
    page = board.get("/programmes/north/report?since=2026-03-02&until=2026-03-02").text
    assert "2 Mar 2026" in page
    assert "20 Mar 2026 → 1 Apr 2026" in re.sub("<[^>]+>", "", page)
    assert "2 Apr 2026" not in page


def test_the_page_without_a_span_shows_the_seven_days_before_today_and_today(board: BoardServer) -> None:
    for query in ("", "?since=&until="):
        assert "1 Mar 2026 to 8 Mar 2026" in board.get(f"/programmes/north/report{query}").text


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "until=2026-02-30",
        "since=2026-03-05&until=2026-03-04",
        "since=0001-01-01",
        "until=9999-12-31",
        "day=2026-03-01",
        "since=2026-03-01&since=2026-03-02",
        f"since={'9' * 100}",
    ],
)
def test_a_span_that_makes_no_sense_is_a_bad_request(board: BoardServer, query: str) -> None:
    assert board.get(f"/programmes/north/report?{query}").status == 400


def test_there_is_no_report_of_a_programme_that_no_event_names(board: BoardServer) -> None:
    assert board.get("/programmes/south/report").status == 404


def test_a_report_is_limited_as_other_pictures_are_and_the_present_pages_go_on(
    board: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_limit, "MAX_SECONDS", 0.0)
    found = board.get("/programmes/north/report?since=2026-03-03")
    assert (found.status, found.headers["Retry-After"]) == (503, "1")
    assert board.get("/programmes/north").status == 200


def test_the_programmes_pages_link_to_the_report(board: BoardServer) -> None:
    assert 'href="/programmes/north/report"' in board.get("/programmes/north").text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links.update(value or "" for name, value in attrs if name in {"href", "src"})


def test_hostile_texts_are_no_markup_in_html(board: BoardServer) -> None:
    for html in (in_form(board, "html"), board.get("/programmes/north/report").text):
        parsed = _Tags()
        parsed.feed(html)
        assert not any("evil" in link or "javascript" in link for link in parsed.links)
        assert "img" not in parsed.tags
        assert "alert(1)</script>" not in html
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
        assert "\x1b" not in html


def test_hostile_texts_are_no_markup_in_markdown(board: BoardServer) -> None:
    text = in_form(board, "markdown")
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    parsed = _Tags()
    parsed.feed(rendered)
    assert parsed.tags <= {"h1", "h2", "p", "ul", "li", "strong"}
    assert rendered.count("<h1>") == 1
    # Every text is there, to be read.
    assert "alert(1)" in rendered
    assert "&lt;script&gt;" in rendered


def test_hostile_texts_are_printable_on_one_line_in_plain_text(board: BoardServer) -> None:
    text = in_form(board, "text")
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\n# heading" not in text


def test_the_html_file_loads_nothing(board: BoardServer) -> None:
    parsed = _Tags()
    parsed.feed(in_form(board, "html"))
    assert parsed.links == set()
    assert not parsed.tags & {"script", "link", "iframe"}
