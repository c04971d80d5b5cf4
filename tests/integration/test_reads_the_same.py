"""States, dates and numbers read the same wherever they stand.

Both programmes are looked at: the demo's sample and ten years of releases; at present, on a past day, and with an
assumed date. What `milepost status` says is compared with each page, with the API and with the report.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.demo.story import PROGRAMME, build_story
from models.domain.cloudevents import decode
from models.domain.events import Event
from tests.helpers.board import BoardServer, running_board
from tests.helpers.event_generators import structured_record

TODAY: Final = date(2026, 11, 23)
RELEASES: Final = Path(__file__).parents[2] / "docs" / "examples" / "python-releases.jsonl"
GATE: Final = "sez-industrial-park/park-commissioned"
NOTHING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
#: Of each state so many milestones have their own page read.
PAGES_OF_A_STATE: Final = 2


class Picture(NamedTuple):
    """A programme and which picture of it; `past` and `assumed` are empty at present."""

    programme: str
    past: str = ""
    assumed: str = ""

    @property
    def options(self) -> list[str]:
        """What the command line takes."""
        past = ["--data-date", self.past, "--as-of", self.past] if self.past else ["--data-date", str(TODAY)]
        return [*past, *(["--assume", self.assumed.replace("@", "=")] if self.assumed else [])]

    @property
    def query(self) -> str:
        """What the board takes."""
        given = [f"day={self.past}&as_of={self.past}"] if self.past else []
        return "&".join([*given, *([f"assume={self.assumed}"] if self.assumed else [])])

    @property
    def path(self) -> str:
        """The page of the programme."""
        return f"/programmes/{self.programme}"


PICTURES: Final = (
    Picture(PROGRAMME),
    Picture(PROGRAMME, past="2026-10-30"),
    Picture(PROGRAMME, assumed=f"{GATE}@2027-06-30"),
    Picture("python"),
    Picture("python", past="2014-02-26"),
    Picture("python", past="2014-01-20", assumed="python-3.4/final@2014-12-01"),
)


class Board(NamedTuple):
    """The board, and the database for the command line."""

    server: BoardServer
    url: str

    def page(self, path: str, query: str = "") -> str:
        """Return a page."""
        response = self.server.get(f"{path}?{query}" if query else path)
        assert response.status == 200, (path, query, response.text)
        return response.text

    def command(self, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """Return what a command says as JSON."""
        result = CliRunner().invoke(app.app, [*arguments, "--database", self.url], prog_name="milepost")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    url = f"sqlite:///{tmp_path_factory.mktemp('same') / 'milepost.db'}"
    with running_board(url, TODAY) as server:
        server.record_events(build_story(TODAY).events)
        decoded = (decode(*structured_record(json.loads(line))) for line in RELEASES.read_text("utf-8").splitlines())
        server.record_events([event for event in decoded if isinstance(event, Event)])
        yield Board(server, url)


class _Text(HTMLParser):
    """The text of a piece of a page; a day is its date."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._is_day = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "time":
            self.texts.append(dict(attrs)["datetime"] or "")
            self._is_day = True

    def handle_endtag(self, tag: str) -> None:
        self._is_day = self._is_day and tag != "time"

    def handle_data(self, data: str) -> None:
        if not self._is_day:
            self.texts.append(data)


def text_of(markup: str) -> str:
    parser = _Text()
    parser.feed(markup)
    return " ".join("".join(parser.texts).split())


def dated(row: dict[str, Any], due: dict[str, str]) -> str:
    """Return how a row's date reads: of what nobody reported as done, the day that has passed."""
    name = f"{row['project']}/{row['milestone']}"
    return f"due {due[name]}" if row["state"] == "overdue" else row["forecast"] or NOTHING


def slipped(row: dict[str, Any]) -> str:
    days = row["slip_days"]
    if not days:
        return NOTHING if days is None else "0"
    text = f"+{days:,} d" if days > 0 else f"{MINUS}{-days:,} d"
    return f"≥ {text}" if row["state"] == "overdue" else text


def cells_of(row: str) -> list[str]:
    return [text_of(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]


def own_days(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the day that was said last of each milestone; of these, no plan is newer than an estimate."""
    return {f"{row['project']}/{row['milestone']}": row["estimated"] or row["planned"] for row in rows}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda each: "-".join(filter(None, each)))
def test_a_milestone_reads_the_same_on_every_page_in_the_api_and_in_the_report(board: Board, picture: Picture) -> None:
    rows = board.command("status", picture.programme, "--json", *picture.options)
    due = own_days(rows)
    by_name = {f"{row['project']}/{row['milestone']}": row for row in rows}
    assert len({row["state"] for row in rows}) > 1, "the picture has something to compare"

    found = board.server.get(f"/api{picture.path}/milestones?limit=1000&{picture.query}".rstrip("&")).json
    assert found["milestones"] == rows
    states = dict(Counter(row["state"] for row in rows))
    assert board.server.get(f"/api{picture.path}?{picture.query}".rstrip("?")).json["states"] == states

    # The timeline has all of them.
    timeline = board.page(picture.path, f"show=all&{picture.query}".rstrip("&"))
    shown = re.findall(r'<tr class="[^"]*" data-name="([^"]+)"[^>]*>(.*?)</tr>', timeline, re.DOTALL)
    assert {name: tuple(cells_of(row)[:3]) for name, row in shown} == {
        name: (row["state"], dated(row, due), slipped(row)) for name, row in by_name.items()
    }
    assert_counts(timeline, states)

    # The page of a milestone, some of each state; and of a gate, with those that wait for it.
    by_state = groupby(sorted(rows, key=lambda row: str(row["state"])), key=lambda row: row["state"])
    for row in (row for _, of_state in by_state for row in list(of_state)[:PAGES_OF_A_STATE]):
        name = f"{row['project']}/{row['milestone']}"
        page = board.page(f"{picture.path}/milestones/{name}", picture.query)
        facts = {text_of(term): text_of(fact) for term, fact in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)}
        assert facts["State"] == row["state"]
        assert facts["Achieved" if row["state"] == "achieved" else "Forecast"] == dated(row, due), name
        assert facts["Slip"] == slipped(row), name
        heading = text_of(re.findall(r"<h3>(.*?)</h3>", page, re.DOTALL)[0])
        assert heading.endswith(f"{dated(row, due)} {row['state']} {slipped(row)}"), name
    gates = [name for name, row in by_name.items() if row["dependents"]][:3]
    for gate in gates:
        page = board.page(f"{picture.path}/gates/{gate}", picture.query)
        assert f'<span class="state {by_name[gate]["state"]}">' in page
        assert dated(by_name[gate], due) in text_of(page)
        table = page.split('id="successors"')[-1] if by_name[gate]["dependents"] else ""
        for link, row_text in re.findall(
            r'<tr[^>]*><th scope="row"><a href="([^"?]*)[^"]*">(.*?)</tr>', table, re.DOTALL
        ):
            waiting = by_name[link.split("/milestones/")[1]]
            state, day, slip = cells_of(row_text)[:3]
            assert (state, day, slip) == (waiting["state"], dated(waiting, due), slipped(waiting))

    assert_overview(board, picture, rows, due)
    if not picture.assumed:
        assert_report(board, picture, by_name, due)


def assert_counts(page: str, states: dict[str, int]) -> None:
    said = text_of(page.split('<ul class="count-list"', 1)[1].split("</ul>", 1)[0].split(">", 1)[1])
    assert said.startswith(f"{states.get('achieved', 0):,} of {sum(states.values()):,} milestone")
    for state, number in states.items():
        assert state == "achieved" or f"{number:,} {state}" in said, (said, state)


def assert_overview(board: Board, picture: Picture, rows: Sequence[dict[str, Any]], due: dict[str, str]) -> None:
    """Look at the programme's part of the overview: counts, gates that hold others up, and what is overdue."""
    page = board.page("/", picture.query)
    if f'aria-labelledby="p-{picture.programme}"' not in page:
        pytest.fail("the overview has the programme")
    part = page.split(f'aria-labelledby="p-{picture.programme}"', 1)[1].split('</section>\n<section class="card"', 1)[0]
    assert_counts(part, dict(Counter(row["state"] for row in rows)))
    text = text_of(part)
    overdue = [row for row in rows if row["state"] == "overdue"]
    assert (f"Overdue {len(overdue)}" in text) == bool(overdue)
    for gate, days in re.findall(
        r'<h3><a href="[^"]*/gates/([^"?]*)[^"]*">.*?<strong class="late">(\d+) days? late', part, re.DOTALL
    ):
        row = next(row for row in rows if f"{row['project']}/{row['milestone']}" == gate)
        assert row["slip_days"] == int(days)
    for name, slip in re.findall(
        r'<li><a href="[^"]*/milestones/([^"?]*)[^"]*">.*?</a> (<span class="late">.*?</span>)</li>', part
    ):
        row = next(row for row in rows if f"{row['project']}/{row['milestone']}" == name)
        assert text_of(slip) == slipped(row).removeprefix("≥ ")
    for name, day in re.findall(
        r'/milestones/([^"?]*)[^"]*">(?:(?!</li>).)*?<span class="due-day"><time datetime="([^"]*)"', part
    ):
        row = next(row for row in rows if f"{row['project']}/{row['milestone']}" == name)
        assert day == dated(row, due).removeprefix("due ")


def assert_report(board: Board, picture: Picture, by_name: dict[str, dict[str, Any]], due: dict[str, str]) -> None:
    """Look at what a report says of the picture at its end, as JSON and as a page."""
    until = picture.past or str(TODAY)
    since = f"{int(until[:4]) - 1}{until[4:]}"
    report = board.command("report", picture.programme, "--since", since, "--until", until, "--format", "json")
    [of_programme] = report["programmes"]
    assert of_programme["data_date"] == until
    for kind in ("overdue", "newly_late", "coming", "gates"):
        for item in of_programme[kind]:
            row = by_name[f"{item['project']}/{item['milestone']}"]
            for field in ("baseline", "forecast", "slip_days", "state", "driver", "dependents", "moved", "held_up"):
                assert field not in item or item[field] == row[field], (kind, item, row)
            assert "due" not in item or item["due"] == due[f"{item['project']}/{item['milestone']}"]
    assert len(of_programme["overdue"]) == sum(row["state"] == "overdue" for row in by_name.values())
    page = board.page(f"{picture.path}/report", f"since={since}&until={until}")
    if of_programme["overdue"]:
        assert f"Overdue {len(of_programme['overdue'])}" in text_of(page)
