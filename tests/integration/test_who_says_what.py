"""Who says what: in the terminal, on the page of a milestone and in the API, on both databases."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from models.domain.cloudevents import decode
from models.domain.events import Event
from tests.helpers.board import BoardServer, running_board
from tests.helpers.event_generators import structured_record
from tests.helpers.events import date_report, retraction_event
from tests.integration.test_explain import output_of

DAY = date(2026, 3, 10)
PERMIT = "yard/permit-approved"
SAID = (
    date_report("1", PERMIT, "PLN", "2026-04-01", source="//builder.example", time="2026-01-01T10:00:00Z"),
    date_report("2", PERMIT, "EST", "2026-05-01", source="//builder.example", time="2026-02-01T10:00:00Z"),
    date_report("3", PERMIT, "EST", "2026-06-15", source="//office.example", time="2026-02-03T10:00:00Z"),
    date_report("4", PERMIT, "EST", "2027-06-15", source="//office.example", time="2026-02-04T10:00:00Z"),
    retraction_event("5", "yard", "4", source="//office.example", time="2026-02-05T10:00:00Z"),
    date_report("6", "yard/site-leased", "PLN", "2026-04-01", source="//builder.example"),
)


@pytest.fixture
def board(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BoardServer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILEPOST_DATABASE", database_url)
    outcomes = [decode(*structured_record(event)) for event in SAID]
    with running_board(database_url, DAY) as here:
        here.record_events([outcome for outcome in outcomes if isinstance(outcome, Event)])
        yield here


def word(day: str, said: str, event: str, days_later: int, *, counts: bool) -> dict[str, object]:
    return {"date": day, "said": said, "id": event, "counts": counts, "days_later": days_later}


def test_each_source_has_its_newest_dates_and_the_one_said_last_counts(board: BoardServer) -> None:
    answer = board.get(f"/api/programmes/north/milestones/{PERMIT}").json
    builder = {
        "source": "//builder.example",
        "planned": word("2026-04-01", "2026-01-01T10:00:00Z", "1", 0, counts=True),
        "estimated": word("2026-05-01", "2026-02-01T10:00:00Z", "2", -45, counts=False),
        "actual": None,
    }
    estimate = word("2026-06-15", "2026-02-03T10:00:00Z", "3", 0, counts=True)
    office = {"source": "//office.example", "planned": None, "estimated": estimate, "actual": None}
    assert (answer["sources"], answer["sources_differ_days"]) == ([office, builder], 45)
    explained = json.loads(output_of("explain", f"north/{PERMIT}", "--data-date", str(DAY), "--json"))
    assert (explained["sources"], explained["sources_differ_days"]) == ([office, builder], 45)


def test_the_page_and_the_terminal_say_by_how_many_days_they_differ(board: BoardServer) -> None:
    page = board.get(f"/programmes/north/milestones/{PERMIT}").text
    section = page[page.index('id="sources"') :]
    assert "2 sources speak of it, and differ by <strong>45 days</strong>" in section
    assert re.search(r"15 Jun 2026</time></strong> <span class=\"counts-mark\">counts", section)
    assert "\N{MINUS SIGN}45 d" in section
    told = output_of("explain", f"north/{PERMIT}", "--data-date", str(DAY))
    lines = [line.strip() for line in told.splitlines()]
    [start] = [place for place, line in enumerate(lines) if "sources speak" in line]
    assert lines[start:] == [
        "2 sources speak of it: they differ by 45 days; of each kind, the date that was said last counts.",
        "source: //office.example",
        "estimated 2026-06-15, said 2026-02-03T10:00:00Z: counts",
        "source: //builder.example",
        "planned 2026-04-01, said 2026-01-01T10:00:00Z: counts",
        "estimated 2026-05-01, said 2026-02-01T10:00:00Z: -45 d",
    ]
    assert "sources speak" not in output_of("explain", "north/yard/site-leased")
    assert "One source speaks of it." in board.get("/programmes/north/milestones/yard/site-leased").text


def test_what_was_said_later_is_not_known_before(board: BoardServer) -> None:
    for as_of, differ in (("2026-02-02", None), ("2026-02-04T12:00:00Z", 410), ("2026-02-05T12:00:00Z", 45)):
        answer = board.get(f"/api/programmes/north/milestones/{PERMIT}?as_of={as_of}").json
        assert answer["sources_differ_days"] == differ, as_of


def test_the_timeline_can_be_kept_to_what_sources_disagree_about(board: BoardServer) -> None:
    page = board.get("/programmes/north?show=disagree").text
    assert re.findall(r'data-name="([^"]+)"', page) == [PERMIT]
    assert 'aria-current="true">sources disagree' in page
    assert re.findall(r'data-name="([^"]+)"', board.get("/programmes/north?show=disagree&as_of=2026-02-02").text) == []
