"""What if, on the board: pages and API with assumed dates say so, show what moves, and change nothing."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.demo.story import PROGRAMME, SEZ_PARK, build_story
from tests.helpers.board import BoardServer, running_board
from tests.helpers.databases import BACKENDS, DatabaseFactory
from tests.helpers.recorder import order_independent_rows
from tests.integration.test_board import DAY, GATE, HERE, LAUNCH, registered

LATER: Final = DAY + timedelta(days=120)
EARLIER: Final = DAY + timedelta(days=10)
ASSUMED: Final = f"assume={GATE}@{LATER}"
PAGES: Final = ("/", HERE, f"{HERE}/trend", f"{HERE}/milestones/{LAUNCH}", f"{HERE}/gates/{GATE}")
API: Final = (
    "/api/programmes",
    f"/api{HERE}",
    f"/api{HERE}/milestones",
    f"/api{HERE}/milestones/{LAUNCH}",
    f"/api{HERE}/gates/{GATE}",
    f"/api{HERE}/moves",
)


@pytest.fixture(scope="module", params=BACKENDS)
def board(request: pytest.FixtureRequest, databases: DatabaseFactory) -> Iterator[BoardServer]:
    """Give a board of the story after the park has slipped."""
    with databases.new_database(request.param) as url, running_board(url, DAY) as here:
        whole = build_story(DAY)
        here.record_events([*whole.opening, whole.slip_event])
        yield here


def milestones(board: BoardServer, query: str) -> dict[str, dict[str, Any]]:
    answer = board.get(f"/api{HERE}/milestones?limit=1000&{query}")
    assert answer.status == 200, answer.text
    return {f"{row['project']}/{row['milestone']}": row for row in answer.json["milestones"]}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_with_an_assumed_date_says_so_above_all_else_and_keeps_it_in_its_links(
    board: BoardServer, path: str
) -> None:
    assert "Assumed" not in board.get(path).text
    page = board.get(f"{path}?{ASSUMED}").text

    assert "<title>What if: " in page
    banner = page.index('<p class="picture-banner is-assumed" role="note"><strong>Assumed, not reported:</strong>')
    assert banner < page.index("<h1")
    assert "Nobody said so, and nothing of it is recorded." in page[banner : page.index("<h1")]
    assert f'<a href="{path}">Show what was said</a>' in page
    assert f"/milestones/{LAUNCH}?{ASSUMED}" in page or path.endswith(LAUNCH)


@pytest.mark.parametrize("path", API)
def test_an_answer_with_an_assumed_date_says_so(board: BoardServer, path: str) -> None:
    assert "assumed" not in board.get(path).json
    assert board.get(f"{path}?{ASSUMED}").json["assumed"] is True


def test_the_api_has_what_the_command_says(board: BoardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE", board.recorder.engine.url.render_as_string(hide_password=False))
    arguments = ["status", PROGRAMME, "--json", "--data-date", str(DAY), "--assume", f"{GATE}={LATER}"]
    result = CliRunner().invoke(app.app, arguments, prog_name="milepost")
    assert (result.exit_code, result.stderr) == (0, "")
    by_command = {f"{row['project']}/{row['milestone']}": row for row in json.loads(result.stdout)}
    assert milestones(board, ASSUMED) == by_command
    assert all(row["assumed"] for row in by_command.values())


def test_a_gate_that_comes_later_moves_more_and_one_that_comes_earlier_holds_up_nothing(board: BoardServer) -> None:
    before = order_independent_rows(board.recorder.engine)
    as_said = milestones(board, "")

    later = milestones(board, ASSUMED)
    assert later[GATE]["forecast"] == str(LATER)
    assert later[GATE]["forecast_as_said"] == as_said[GATE]["forecast"]
    assert later[GATE]["moved"] == 7
    for name, row in later.items():
        if row["driver"] == GATE:
            assert row["forecast"] > as_said[name]["forecast"]

    earlier = milestones(board, f"assume={GATE}@{EARLIER}")
    assert (earlier[GATE]["moved"], earlier[GATE]["held_up"]) == (0, {"projects": 0, "investment": {}, "jobs": 0})
    assert order_independent_rows(board.recorder.engine) == before


def test_the_page_of_the_gate_lists_who_moves_by_how_much_and_what_is_then_at_stake(board: BoardServer) -> None:
    page = board.get(f"{HERE}/gates/{GATE}?{ASSUMED}").text
    result = page[page.index('id="what-if"') : page.index('id="successors"')]

    assert "7 launches, USD 310 million and 1,240 jobs" in result
    moved = [name for name, row in milestones(board, ASSUMED).items() if row["forecast"] != row["forecast_as_said"]]
    assert len(moved) == 8
    for name in moved:
        assert f"/milestones/{name}?{ASSUMED}" in result
    days = (LATER - date.fromisoformat(milestones(board, "")[GATE]["forecast"])).days
    assert f"+{days} d" in result
    nothing = board.get(f"{HERE}/gates/{GATE}?assume={GATE}@{EARLIER}").text
    assert "holds up nothing" in nothing


def test_why_says_that_the_date_is_assumed(board: BoardServer) -> None:
    page = board.get(f"{HERE}/milestones/{GATE}?{ASSUMED}").text
    assert "assumed: nobody said so" in page
    assert "The ledger does not hold" not in page
    answer = board.get(f"/api{HERE}/milestones/{GATE}?{ASSUMED}").json
    [estimate] = [event for event in answer["chain"][0]["events"] if event["role"] == "estimated"]
    assert estimate["source"] == "nobody: this is assumed"
    assert (estimate["date"], estimate["time"]) == (answer["chain"][0]["own_date"], None)
    assert answer["chain"][0]["own_date"] == str(LATER)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401 - of the base class
        return None


def redirection(board: BoardServer, path: str) -> tuple[int, str | None]:
    try:
        urllib.request.build_opener(_NoRedirect).open(f"{board.address}{path}")
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Location"]
    raise AssertionError("it redirects")


def test_the_day_of_the_form_becomes_a_link_that_can_be_sent(board: BoardServer) -> None:
    gate = f"{HERE}/gates/{GATE}"
    assert f'<form class="what-if" method="get" action="{gate}">' in board.get(gate).text
    other = f"assume={LAUNCH}@{LATER}"
    for asked, link in {
        f"on={LATER}": ASSUMED,
        f"on={LATER}&day={DAY}": f"day={DAY}&{ASSUMED}",
        f"on={LATER}&assume={GATE}@{EARLIER}&{other}": f"{other}&{ASSUMED}",
    }.items():
        assert redirection(board, f"{gate}?{asked}") == (303, f"{gate}?{link}")
    assert board.get(f"{gate}?on=").status == 200
    answer = board.get(f"{gate}?on=soon")
    assert (answer.status, "on is not a day like 2026-12-31" in answer.text) == (400, True)


def test_what_is_achieved_has_no_field(board: BoardServer) -> None:
    assert 'class="what-if"' not in board.get(f"{HERE}/gates/{SEZ_PARK}/construction-started").text


@pytest.mark.parametrize("path", [*PAGES, *API])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (f"{SEZ_PARK}/construction-started@{LATER}", "was achieved on"),
        (f"{SEZ_PARK}/nothing@{LATER}", "milestone"),
        ("nonsense", "assume is not a milestone and a day like quay/permit-approved@2026-12-31"),
        (f"{GATE}@2101-01-01", "assume is not a day of the years 1990 to 2100"),
        ("x" * 200, "assume is longer than 140 characters"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}<script>", "assume is not a milestone"),
    ],
)
def test_what_makes_no_sense_is_refused(board: BoardServer, path: str, value: str, reason: str) -> None:
    answer = board.get(f"{path}?assume={quote(value)}", if_none_match="*")
    assert (answer.status, reason in answer.text) == (400, True), answer.text


def test_twenty_dates_can_be_assumed_and_not_one_more(board: BoardServer) -> None:
    names = [name for name, row in milestones(board, "").items() if row["state"] not in {"achieved", "cancelled"}]
    query = "&".join(f"assume={name}@{LATER}" for name in names[:20])
    assert {milestones(board, query)[name]["estimated"] for name in names[:20]} == {str(LATER)}
    answer = board.get(f"/api{HERE}?{query}&assume={names[20]}@{LATER}")
    assert (answer.status, "21 dates are assumed, at most 20 can be" in answer.text) == (400, True)
    twice = board.get(f"/api{HERE}?{ASSUMED}&assume={GATE}@{EARLIER}")
    assert (twice.status, f"two dates are assumed of {GATE}" in twice.text) == (400, True)


def test_the_stream_and_the_metrics_assume_nothing(board: BoardServer) -> None:
    for path in ("/api/stream", "/metrics", "/metrics/milestones", "/pipeline", "/api/pipeline"):
        assert board.get(f"{path}?{ASSUMED}").status == 400


def test_the_first_page_of_several_programmes_finds_the_one_that_is_meant(sqlite_url: str) -> None:
    with running_board(sqlite_url, DAY) as here:
        whole = build_story(DAY)
        here.record_events([*whole.opening, registered("south", "The South")])
        assert here.get(f"/?{ASSUMED}").status == 200
        assert here.get(f"{HERE.replace(PROGRAMME, 'nowhere')}?{ASSUMED}").status == 404
        answer = here.get(f"/?assume=nobody/nothing@{LATER}")
        assert (answer.status, "no programme has a milestone of the assumed ones" in answer.text) == (400, True)
