"""Other pictures than the present, on both databases: another day, and what was known at a time."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import msgspec
import pytest

from models.domain.events import (
    Classifier,
    DependencyDeclared,
    Event,
    EventRetracted,
    MilestoneReported,
    Predecessor,
    ProgrammeRegistered,
)
from models.domain.timestamps import Instant
from models.views.queries import MilestoneQuery, parse_as_of
from models.views.status import read_status
from models.views.status import status_to_json as status_as_json
from tests.helpers.board import BoardServer, HttpResponse, running_board
from tests.helpers.databases import BACKENDS, DatabaseFactory

TODAY: Final = date(2026, 11, 23)
HERE: Final = "/programmes/north"
PAGES: Final = (
    "/",
    HERE,
    f"{HERE}/trend",
    f"{HERE}/milestones/lot-1/built",
    f"{HERE}/gates/lot-1/built",
)
API: Final = (
    "/api/programmes",
    f"/api{HERE}",
    f"/api{HERE}/milestones",
    f"/api{HERE}/milestones/lot-1/built",
    f"/api{HERE}/gates/lot-1/built",
    f"/api{HERE}/moves",
)


def said(at: str, number: int, data: Any, project: str = "lot-1", programme: str = "north") -> Event:  # noqa: ANN401 - data of any type
    return Event(
        source="//past.example", id=str(number), programme=programme, project=project, time=Instant(at), data=data
    )


def built(day: str, classifier: Classifier = Classifier.ESTIMATED) -> MilestoneReported:
    return MilestoneReported("built", classifier, date.fromisoformat(day))


EVENTS: Final = (
    said("2025-01-10T09:00:00", 1, built("2026-03-01", Classifier.PLANNED)),
    said("2025-01-10T10:00:00", 2, built("2026-05-01", Classifier.PLANNED), "lot-2"),
    said("2025-02-01T09:00:00", 3, built("2026-06-15")),
    said("2025-03-01T09:00:00", 4, built("2026-02-01")),
    said("2025-03-05T09:00:00.5", 5, EventRetracted("4", "incorrect_data")),
    said("2025-06-01T00:00:00", 6, ProgrammeRegistered(name="The South"), "", "south"),
    said("2026-06-20T09:00:00", 7, built("2026-06-18", Classifier.ACTUAL)),
)


@pytest.fixture(scope="module", params=BACKENDS)
def board(request: pytest.FixtureRequest, databases: DatabaseFactory) -> Iterator[BoardServer]:
    with databases.new_database(request.param) as url, running_board(url, TODAY) as here:
        here.record_events(EVENTS)
        here.record_events([dependency_declaration_at("2025-01-11T00:00:00")])
        yield here


def dependency_declaration_at(at: str) -> Event:
    return said(at, 8, DependencyDeclared("built", Predecessor("lot-1", "built"), 10), "lot-2")


def milestones(board: BoardServer, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = board.get(f"/api{HERE}/milestones?{query}").json["milestones"]
    return rows


@pytest.mark.parametrize(
    ("day", "as_of"),
    [
        (None, "2025-01-10T09:30:00Z"),
        (None, "2025-02-15"),
        ("2025-02-15", "2025-02-15"),
        ("2025-03-02", "2025-03-02T10:00:00+01:00"),
        ("2027-01-01", None),
        ("2026-06-10", "2026-06-10"),
        ("2026-06-10", None),
        (None, "2099-01-01"),
    ],
)
def test_the_api_shows_the_same_picture_as_the_command_line(
    board: BoardServer, day: str | None, as_of: str | None
) -> None:
    query = MilestoneQuery(
        TODAY if day is None else date.fromisoformat(day),
        "north",
        as_of=None if as_of is None else parse_as_of(as_of),
    )
    expected = status_as_json(read_status(board.recorder.engine, query).rows)
    given = "&".join(f"{name}={value}" for name, value in (("day", day), ("as_of", as_of)) if value)
    response = board.get(f"/api{HERE}/milestones?{given.replace('+', '%2B')}")
    assert response.status == 200, response.text
    assert response.json["milestones"] == msgspec.json.decode(expected)


def test_every_page_and_operation_takes_a_day_and_a_time(board: BoardServer) -> None:
    for path in (*PAGES, *API):
        present = board.get(path)
        past = board.get(f"{path}?day=2025-02-15&as_of=2025-02-15")
        assert past.status == 200, (path, past.text)
        assert past.headers["Etag"] != present.headers["Etag"], path
        assert past.body != present.body, path


def test_a_page_says_which_past_it_shows_and_its_links_stay_there(board: BoardServer) -> None:
    query = "day=2025-02-15&as_of=2025-02-15"
    for path in PAGES:
        text = board.get(f"{path}?{query}").text
        assert "Not the present" in text
        assert "data-programme" not in text, "a past is not live"
        links = re.findall(r'href="(/(?:programmes[^"?]*)?(?:[?][^"]*)?)"', text)
        staying = [link for link in links if query in link.replace("&amp;", "&")]
        assert staying
        # Reports and calendars are of no picture.
        others = [link for link in links if link not in staying and not link.endswith(("/report", "/calendar.ics"))]
        # To the present, and to the days that the page offers.
        assert len(others) == 7, others
        for link in staying:
            assert board.get(link.replace("&amp;", "&")).status == 200, link
        assert "Not the present" not in board.get(path).text


def test_times_with_the_same_newest_stamp_have_one_entity_tag(board: BoardServer) -> None:
    def tag(as_of: str) -> str:
        return board.get(f"/api{HERE}?as_of={as_of}").headers["Etag"]

    assert tag("2025-03-05T09:00:00.5Z") == tag("2025-03-05T09:00:01Z") == tag("2025-04-01") == tag("2025-09-09")
    assert tag("2025-03-05T09:00:00.4Z") != tag("2025-03-05T09:00:00.5Z")
    # The other programme's event is between the two.
    assert (
        board.get("/api/programmes?as_of=2025-04-01").headers["Etag"]
        == board.get("/api/programmes?as_of=2025-05-01").headers["Etag"]
    )
    assert (
        board.get("/api/programmes?as_of=2025-04-01").headers["Etag"]
        != board.get("/api/programmes?as_of=2025-09-09").headers["Etag"]
    )


def test_a_client_that_has_a_past_gets_it_once(board: BoardServer) -> None:
    for path in (HERE, f"/api{HERE}/moves", "/"):
        first = board.get(f"{path}?as_of=2025-04-01")
        again = board.get(f"{path}?as_of=2025-04-02", If_None_Match=first.headers["Etag"])
        assert (again.status, again.body) == (304, b"")


def test_the_history_of_a_past_ends_there(board: BoardServer) -> None:
    def said_until(query: str) -> list[str]:
        return [move["said"] for move in board.get(f"/api{HERE}/moves{query}").json["moves"]]

    whole = said_until("")
    assert said_until("?as_of=2025-03-01T08:00:00Z") == [said for said in whole if said <= "2025-03-01T08:00:00Z"] != []
    first = board.get(f"/api{HERE}/moves?limit=1&as_of=2025-03-02").json
    assert first["moves"][0]["said"] == "2025-03-01T09:00:00Z"
    assert "as_of=2025-03-02" in first["next"]
    assert board.get(first["next"]).json["moves"][0]["number"] == first["moves"][0]["number"] - 1
    assert "20 Jun 2026" not in board.get(f"{HERE}/trend?as_of=2025-03-02").text
    assert "20 Jun 2026" in board.get(f"{HERE}/trend").text


def test_the_overview_of_a_past_has_the_programmes_that_there_were(board: BoardServer) -> None:
    def named(query: str) -> dict[str, dict[str, int]]:
        rows = board.get(f"/api/programmes{query}").json["programmes"]
        return {row["programme"]: row["states"] for row in rows}

    assert named("") == {"north": {"overdue": 1, "achieved": 1}, "south": {}}
    assert named("?as_of=2025-04-01&day=2025-04-01") == {"north": {"slipping": 1, "blocked": 1}}
    assert named("?as_of=2024-01-01") == {}
    assert "No programme yet" in board.get("/?as_of=2024-01-01").text


def test_before_its_first_event_there_is_no_programme(board: BoardServer) -> None:
    for path in (*PAGES[1:], *API[1:]):
        response = board.get(f"{path}?as_of=2025-01-10T08:59:59Z")
        assert response.status == 404, path
        assert "no programme north as of 2025-01-10T08:59:59Z" in response.text


def test_rows_say_what_moved_between_two_pictures(board: BoardServer) -> None:
    rows = {row["project"]: row for row in milestones(board, "day=2025-04-01&as_of=2025-04-01&compare=2025-01-20")}
    assert rows["lot-1"]["forecast"] == "2026-06-15"
    assert rows["lot-1"]["compared"] == {
        "forecast": "2026-03-01",
        "slip_days": 0,
        "state": "planned",
        "moved_days": 106,
    }
    assert rows["lot-2"]["compared"]["moved_days"] == 55
    assert all("compared" not in row for row in milestones(board, "day=2025-04-01"))


def test_what_was_not_named_then_is_new_and_what_is_named_no_more_is_gone(board: BoardServer) -> None:
    rows = {row["project"]: row for row in milestones(board, "compare=2025-01-10T09:30:00Z")}
    assert rows["lot-1"]["compared"] == {
        "forecast": "2026-03-01",
        "slip_days": 0,
        "state": "planned",
        "moved_days": 109,
    }
    assert rows["lot-2"]["compared"] == {"forecast": None, "slip_days": None, "state": None, "moved_days": None}
    past = board.get(f"/api{HERE}/milestones?as_of=2025-01-10T09:30:00Z&compare=2026-01-01").json
    assert [(gone["project"], gone["milestone"]) for gone in past["gone"]] == [("lot-2", "built")]
    assert past["as_of"] == "2025-01-10T09:00:00Z"
    # Before its first event, there was no programme: all is new.
    first = milestones(board, "compare=2024-12-31")
    assert {row["compared"]["state"] for row in first} == {None}


def test_pages_show_what_moved(board: BoardServer) -> None:
    query = "day=2025-04-01&as_of=2025-04-01&compare=2025-01-20"
    text = board.get(f"{HERE}?{query}").text
    assert "Compared</strong> with <time" in text
    assert "+106 d" in text
    assert "was planned" in text
    assert f"{HERE}?day=2025-04-01&amp;as_of=2025-04-01" in text, "a link ends the comparison"
    assert "2 milestones achieved, 2 planned" in text
    for path in PAGES:
        page = board.get(f"{path}?{query}")
        assert page.status == 200, (path, page.text)
        assert page.headers["Etag"] != board.get(f"{path}?day=2025-04-01&as_of=2025-04-01").headers["Etag"]
    assert "+106 d" in board.get(f"{HERE}/milestones/lot-1/built?{query}").text
    states = board.get("/api/programmes?compare=2025-04-01").json["programmes"]
    assert [(row["programme"], row["states_compared"]) for row in states] == [
        ("north", {"blocked": 1, "slipping": 1}),
        ("south", {}),
    ]


def test_an_explanation_says_what_the_milestone_was_in_the_compared_picture(board: BoardServer) -> None:
    path = f"/api{HERE}/milestones/lot-1/built"
    assert board.get(f"{path}?day=2025-04-01&as_of=2025-04-01&compare=2025-01-20").json["compared"] == {
        "forecast": "2026-03-01",
        "slip_days": 0,
        "state": "planned",
        "moved_days": 106,
    }
    assert board.get(f"{path}?compare=2024-12-31").json["compared"] == dict.fromkeys(
        ("forecast", "slip_days", "state", "moved_days")
    )
    assert "compared" not in board.get(path).json


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("compare=2025-03-02", ["2026-06-20T09:00:00Z", "2026-06-20T09:00:00Z", "2025-03-05T09:00:00.5Z"]),
        ("as_of=2025-04-01&compare=2025-02-15", ["2025-03-05T09:00:00.5Z", "2025-03-01T09:00:00Z"]),
        # What lies between is the same whichever of the two comes first.
        ("as_of=2025-02-15&compare=2025-04-01", ["2025-03-05T09:00:00.5Z", "2025-03-01T09:00:00Z"]),
        ("as_of=2025-02-15&compare=2025-02-20", []),
    ],
)
def test_what_moved_between_two_pictures_is_what_was_said_between_them(
    board: BoardServer, query: str, said: list[str]
) -> None:
    def listed(limit: int) -> list[dict[str, Any]]:
        path, found = f"/api{HERE}/moves?limit={limit}&{query}", list[dict[str, Any]]()
        while path:
            answer = board.get(path).json
            found += answer["moves"]
            path = answer["next"]
        return found

    moves = listed(100)
    assert [move["said"] for move in moves if move["project"] == "lot-1"] == sorted(set(said), reverse=True)
    assert listed(1) == moves
    page = board.get(f"{HERE}/trend?{query}").text
    assert page.count("<tr><td") == len(moves)
    assert "What moved since <time" in page


def test_every_answer_to_a_comparison_says_what_was_then(board: BoardServer) -> None:
    query = "day=2025-04-01&as_of=2025-04-01&compare=2025-02-15"
    for path in API:
        compared, alone = board.get(f"{path}?{query}"), board.get(f"{path}?day=2025-04-01&as_of=2025-04-01")
        assert compared.status == 200, path
        assert compared.json != alone.json, path


def test_today_is_the_present(board: BoardServer) -> None:
    assert board.get(f"/api{HERE}?day={TODAY}").headers["Etag"] == board.get(f"/api{HERE}").headers["Etag"]


@pytest.mark.parametrize(
    "query",
    [
        *("day=1989-12-31", "day=2101-01-01", "day=2025-02-30", "day=x", "day=20250101", "day=2025-01-01T00:00:00Z"),
        *("as_of=x", "as_of=2025-01-01T00:00:00", "as_of=2025-13-01", "as_of=2025-01-01T00:00:00.%s1Z" % ("0" * 60)),
        *("day=2025-01-01&day=2025-01-01", "as_of=%00", "day=%F0%9F%98%80"),
        *("compare=x", "compare=1989-12-31", "compare=2101-01-01T00:00:00Z", "compare=2025-01-01T00:00:00"),
    ],
)
def test_what_is_no_day_or_time_is_refused(board: BoardServer, query: str) -> None:
    for path in (*PAGES, *API):
        response = board.get(f"{path}?{query}")
        assert response.status == 400, (path, response.text)


def test_an_empty_field_of_a_form_is_absent_and_an_empty_value_for_a_program_is_refused(board: BoardServer) -> None:
    assert board.get(f"{HERE}?day=&as_of=").headers["Etag"] == board.get(HERE).headers["Etag"]
    assert board.get(f"/api{HERE}?day=").status == 400


def test_pipeline_stream_and_metrics_take_no_day(board: BoardServer) -> None:
    board_paths = ("/pipeline", "/runbook", "/api/pipeline", "/api/stream", "/api/openapi.json")
    for path in (*board_paths, "/metrics/milestones", "/live"):
        response: HttpResponse = board.get(f"{path}?day=2025-01-01")
        assert response.status == 400, path
