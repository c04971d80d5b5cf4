"""The board on both databases: what its pages and its API say of the demo's story, and of names that mean harm."""

import gzip
import json
import re
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from http.client import HTTPResponse
from typing import Any, Final

import msgspec
import pytest

from deploy.demo.story import PROGRAMME, SEZ_PARK, TENANTS, build_story
from models.domain.claims import MilestoneKey
from models.domain.events import (
    Classifier,
    DependencyDeclared,
    Event,
    EventRetracted,
    MilestoneCancelled,
    MilestoneReported,
    Predecessor,
    ProgrammeRegistered,
    ProjectRegistered,
)
from models.domain.timestamps import Instant
from models.views.explanation import explanation_to_json, read_explanation
from models.views.queries import MilestoneQuery
from models.views.status import read_status
from models.views.status import status_to_json as status_as_json
from streams.web import schemas
from streams.web.freshness import FreshnessSchema
from streams.web.pipeline_status import LocalPipelineReader, PipelineSchema
from tests.helpers.board import BoardServer, running_board, send_request
from tests.helpers.databases import BACKENDS, DatabaseFactory
from tests.helpers.workers import wait_until

DAY: Final = date(2026, 11, 23)
GATE: Final = f"{SEZ_PARK}/park-commissioned"
GATE_NAMES: Final = ("SEZ industrial park", "Park commissioned")
LAUNCH: Final = "tomographic-scanners/production-launched"
HERE: Final = f"/programmes/{PROGRAMME}"
PAGES: Final = ("/", HERE, f"{HERE}/trend", f"{HERE}/milestones/{LAUNCH}", f"{HERE}/gates/{GATE}", "/pipeline")
#: What is asked, and the class that answers.
OPERATIONS: Final[dict[str, type[msgspec.Struct]]] = {
    "/api/programmes": schemas.ProgrammeListSchema,
    f"/api{HERE}": schemas.ProgrammeSchema,
    f"/api{HERE}/milestones": schemas.MilestoneListSchema,
    f"/api{HERE}/milestones/{LAUNCH}": schemas.ComparedExplanationSchema,
    f"/api{HERE}/gates/{GATE}": schemas.SuccessorListSchema,
    f"/api{HERE}/moves": schemas.MoveListSchema,
    "/api/pipeline": PipelineSchema,
    "/api/freshness": FreshnessSchema,
}
UNCACHED: Final = ("/pipeline", "/api/pipeline", "/api/freshness")


@pytest.fixture(scope="module", params=BACKENDS)
def board(request: pytest.FixtureRequest, databases: DatabaseFactory) -> Iterator[BoardServer]:
    """Give a board of the whole story."""
    with databases.new_database(request.param) as url, running_board(url, DAY) as here:
        whole = build_story(DAY)
        here.record_events(whole.opening)
        for event in (whole.slip_event, whole.mistaken_event, whole.retraction_event):
            here.record_events([event])
        yield here


@pytest.fixture
def empty(sqlite_url: str) -> Iterator[BoardServer]:
    """Give a board of a database that nobody told anything."""
    with running_board(sqlite_url, DAY) as here:
        yield here


def registered(programme: str, name: str, day: int = 1) -> Event:
    data = ProgrammeRegistered(name=name)
    return Event(
        source="//board.example",
        id=f"{programme}/{sum(map(ord, name))}",
        programme=programme,
        project="",
        time=Instant(f"2026-11-{day:02}T00:00:00"),
        data=data,
    )


# What pages say


def test_the_first_page_says_which_gate_slipped_and_whom_it_holds_up(board: BoardServer) -> None:
    page = board.get("/")

    assert page.status == 200
    first, last = page.text.index(GATE.replace("/", "<wbr>/<wbr>")), page.text.index("milestones by state".capitalize())
    assert "42 days late" in page.text[first:last]
    assert "moves <strong>7 launches, USD 310 million and 1,240 jobs</strong>" in page.text[first:last]
    # The other moves a milestone of its own project.
    assert "2 gates hold up 8 milestones" in page.text
    for tenant in TENANTS:
        held = f"{HERE}/milestones/{tenant.project}/production-launched"
        assert (held in page.text[first:last]) == (tenant.park == SEZ_PARK)


def test_money_has_all_its_digits_under_the_pointer(board: BoardServer) -> None:
    assert '<p class="verdict" title="USD 310,000,000">' in board.get("/").text
    assert '<p class="verdict" title="USD 310,000,000">' in board.get(f"{HERE}/gates/{GATE}").text
    assert '<span title="USD 1,500,000,000">USD 1.5 billion</span>' in board.get(HERE).text


def test_the_page_of_a_milestone_says_what_it_holds_up(board: BoardServer) -> None:
    held_up = "<dt>Holds up</dt><dd>7 launches, USD 310 million and 1,240 jobs</dd>"

    assert held_up in board.get(f"{HERE}/milestones/{GATE}").text
    assert "Holds up" not in board.get(f"{HERE}/milestones/{SEZ_PARK}/construction-started").text


def test_the_api_says_what_a_gate_holds_up(board: BoardServer) -> None:
    held_up = {"projects": 7, "investment": {"USD": 310_000_000}, "jobs": 1240}

    answer = board.get(f"/api{HERE}/gates/{GATE}").json["gate"]
    assert (answer["dependents"], answer["moved"], answer["held_up"]) == (7, 7, held_up)
    [root, other] = board.get(f"/api{HERE}").json["hold_ups"]
    assert (root["moved"], root["held_up"], len(root["held"])) == (7, held_up, 7)
    assert (other["moved"], other["held_up"]) == (1, {"projects": 0, "investment": {}, "jobs": 0})
    [programme] = board.get("/api/programmes").json["programmes"]
    assert programme["hold_ups"] == [root, other]


def test_the_timeline_has_every_milestone_with_its_driver(board: BoardServer) -> None:
    text = board.get(HERE).text

    assert set(re.findall(r'data-name="([^"]+)"', text)) == {
        f"{row.project}/{row.milestone}"
        for row in read_status(board.recorder.engine, MilestoneQuery(DAY, PROGRAMME)).rows
    }
    assert text.count(f'data-driver="{GATE}"') == 7


def reported(number: int, milestone: str, classifier: Classifier, day: str) -> Event:
    """Give the report of a milestone `project/milestone` of the north."""
    project, _, slug = milestone.partition("/")
    return north(number, project, MilestoneReported(slug, classifier, date.fromisoformat(day)))


def north(number: int, project: str, data: MilestoneReported | MilestoneCancelled | DependencyDeclared) -> Event:
    said_at = Instant(f"2026-11-01T00:{number:02}:00")
    return Event(
        source="//board.example", id=f"e-{number}", programme="north", project=project, time=said_at, data=data
    )


def test_pages_and_api_have_one_order_of_rows(empty: BoardServer) -> None:
    in_order = [
        *(("lot-2/hall-9", "2026-12-01"), ("lot-2/hall-10", "2026-12-01"), ("lot-2/design-completed", "2026-12-02")),
        *(("lot-10/site-leased", "2026-01-01"), ("lot-10/design-completed", "2026-12-09")),
    ]
    # A gate that delays others stands where any other milestone would.
    events = [reported(number, name, Classifier.PLANNED, day) for number, (name, day) in enumerate(sorted(in_order))]
    events.append(reported(20, "lot-10/design-completed", Classifier.ESTIMATED, "2027-03-01"))
    gate = Predecessor("lot-10", "design-completed")
    events += [north(21 + lot, f"lot-{lot}", DependencyDeclared("built", gate)) for lot in (10, 2)]
    events += [reported(40 + lot, f"lot-{lot}/built", Classifier.PLANNED, "2026-12-31") for lot in (10, 2)]
    empty.record_events(events)
    names = [name for name, _ in in_order]
    names = [*names[:3], "lot-2/built", *names[3:], "lot-10/built"]

    assert re.findall(r'data-name="([^"]+)"', empty.get("/programmes/north").text) == names
    page = empty.get("/api/programmes/north/milestones").json["milestones"]
    assert [f"{row['project']}/{row['milestone']}" for row in page] == names
    waiting = empty.get("/api/programmes/north/gates/lot-10/design-completed").json["waiting"]
    assert [row["milestone"]["project"] for row in waiting] == ["lot-2", "lot-10"]
    [root] = empty.get("/api/programmes/north").json["hold_ups"]
    assert [row["project"] for row in root["held"]] == ["lot-2", "lot-10"]


def test_a_cancelled_milestone_has_its_claims_on_every_page_and_no_forecast(empty: BoardServer) -> None:
    events = [
        reported(1, "quay/opened", Classifier.PLANNED, "2026-12-01"),
        reported(2, "quay/opened", Classifier.ACTUAL, "2026-10-03"),
        reported(3, "dock/opened", Classifier.PLANNED, "2026-12-01"),
        north(4, "dock", DependencyDeclared("opened", Predecessor("quay", "opened"), 9)),
    ]
    empty.record_events(events)
    empty.record_events(
        [north(5, "quay", MilestoneCancelled("opened")), north(6, "dock", MilestoneCancelled("opened"))]
    )

    for milestone in ("quay/opened", "dock/opened"):
        row = empty.get(f"/api/programmes/north/milestones/{milestone}").json
        assert [row[name] for name in ("forecast", "slip_days", "float_days", "driver")] == [None] * 4
        assert row["state"] == "cancelled"
    [dock, quay] = empty.get("/api/programmes/north/milestones").json["milestones"]
    assert (quay["baseline"], quay["actual"], quay["forecast"]) == ("2026-12-01", "2026-10-03", None)
    assert (dock["planned"], dock["forecast"], dock["driver"]) == ("2026-12-01", None, None)
    page = empty.get("/programmes/north/milestones/quay/opened").text
    assert "Why there is no forecast" in page
    assert '<dt>Actual</dt><dd><time datetime="2026-10-03">' in page
    assert '<time datetime="2026-12-01">' in page
    assert "It is cancelled: it has no forecast, and nothing waits for it." in page
    assert "What was forecast, and when that was said" in page
    gate = empty.get("/programmes/north/gates/quay/opened").text
    assert "Nobody waits for it." in gate
    assert '<span>actual <time datetime="2026-10-03">' in gate
    timeline = empty.get("/programmes/north").text
    lanes = timeline[timeline.index('<table class="lanes">') :]
    assert timeline.count('class="baseline-mark" x=') == 3
    # Its folded project shows the mark too.
    assert re.findall(r'<td class="lane">.*?mark cancelled.*?</td>', lanes, re.DOTALL)
    assert lanes.count('class="mark cancelled"') <= timeline.count('class="mark cancelled"') == 2
    assert "data-driver" not in timeline
    assert '<rect class="bar' not in timeline[timeline.index('<table class="lanes">') :]
    moved = empty.get("/api/programmes/north/moves").json["moves"]
    assert [(move["to"], move["slip_days"], move["driver"], move["state"]) for move in moved[:2]] == [
        (None, None, None, "cancelled")
    ] * 2
    assert "cancelled" in empty.get("/programmes/north/trend").text


@pytest.mark.parametrize(
    ("show", "states"),
    [("late", {"overdue", "blocked", "slipping"}), ("open", {"overdue", "blocked", "slipping", "planned"})],
)
def test_the_timeline_can_be_kept_to_some_states(board: BoardServer, show: str, states: set[str]) -> None:
    rows = re.findall(r'<tr class="(\w+)[^"]*" data-name', board.get(f"{HERE}?show={show}").text)

    assert set(rows) == states


def test_an_overdue_milestone_is_never_green_and_shows_the_day_that_passed(empty: BoardServer) -> None:
    empty.record_events(
        [
            # Early against its first plan, and its day has passed.
            reported(1, "pier/opened", Classifier.PLANNED, "2026-12-20"),
            reported(2, "pier/opened", Classifier.ESTIMATED, "2026-11-20"),
        ]
    )
    for path in ("/programmes/north", "/"):
        text = empty.get(path).text
        assert "20 Nov 2026" in text
        assert 'class="early"' not in text
    assert re.search(r'class="overdue-date"[^>]*>due <time datetime="2026-11-20"', empty.get("/programmes/north").text)


@pytest.mark.parametrize(
    ("said", "headline"),
    [
        (
            [("a/x", Classifier.PLANNED, "2026-11-20"), ("a/y", Classifier.PLANNED, "2027-01-01")],
            "1 milestone is overdue",
        ),
        (
            [("a/x", Classifier.PLANNED, "2027-01-01"), ("a/x", Classifier.ESTIMATED, "2027-02-01")],
            "1 milestone comes late",
        ),
        ([("a/x", Classifier.PLANNED, "2027-01-01")], "Everything is on time"),
        ([("a/x", Classifier.ACTUAL, "2026-11-01")], "Everything is achieved"),
    ],
)
def test_the_headline_says_the_worst_that_is_true(
    empty: BoardServer, said: list[tuple[str, Classifier, str]], headline: str
) -> None:
    empty.record_events([reported(number, *report) for number, report in enumerate(said, 1)])

    text = empty.get("/").text
    assert re.search(r"<h1[^>]*>\s*" + headline, text)
    assert f"{headline}." in text


def test_a_trend_of_a_programme_that_is_done_shows_what_was_achieved_last(empty: BoardServer) -> None:
    empty.record_events(
        [
            reported(1, "a/x", Classifier.PLANNED, "2026-10-01"),
            reported(2, "a/x", Classifier.ACTUAL, "2026-11-01"),
        ]
    )

    assert "a/x" in empty.get("/programmes/north/trend").text.split("data-trend=")[1]


def test_what_comes_next_is_named_on_the_first_page_and_on_the_programmes(board: BoardServer) -> None:
    for path in ("/", HERE):
        text = board.get(path).text
        assert "Due in 30 days" in text
        assert re.search(r"<b>\d+ of \d+</b> milestones achieved", text)


def test_a_project_has_a_page_of_its_own(board: BoardServer) -> None:
    text = board.get(f"{HERE}?project={SEZ_PARK}").text

    assert set(re.findall(r'data-name="([^/"]+)/', text)) == {SEZ_PARK}
    assert "SEZ industrial park" in text
    assert f'href="{HERE}?show=late&amp;project={SEZ_PARK}"' in text
    missing = board.get(f"{HERE}?project=nowhere")
    assert (missing.status, "There is no project nowhere" in missing.text) == (404, True)


def test_why_names_the_gate_and_the_event_that_moved_it(board: BoardServer) -> None:
    text = board.get(f"{HERE}/milestones/{LAUNCH}").text

    gate = ": ".join(f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}" for name in GATE_NAMES)
    assert f"It waits for {gate}, and comes at least 120 days after it." in text
    assert "heating-network-late" in text
    assert f"{HERE}/milestones/{GATE}" in text
    # Dates have one style on pages, and no line ends within one.
    assert re.search(r'said <span class="day">\d+ \w+ \d{4}, \d\d:\d\d UTC</span> by', text)
    assert not re.search(r"(planned|estimated|actual) \d{4}-", text)


def test_a_gate_that_moves_nothing_has_no_chart_of_days(empty: BoardServer) -> None:
    empty.record_events(build_story(DAY).opening)

    text = empty.get(f"{HERE}/gates/{GATE}").text

    assert "7 milestones of 7 projects wait for it" in text
    assert "data-bars" not in text


def test_the_gate_shows_by_how_much_each_moved_with_it(board: BoardServer) -> None:
    page = board.get(f"{HERE}/gates/{GATE}").text

    assert "42 days late</strong>: moves <strong>7 launches, USD 310 million and 1,240 jobs</strong>" in page
    assert "7 milestones of 7 projects wait for it" in page
    for tenant in (tenant for tenant in TENANTS if tenant.park == SEZ_PARK):
        row = page[page.index(f"{HERE}/milestones/{tenant.project}/production-launched") :]
        assert (
            row[: row.index("</tr>")].count(f"+{42 - tenant.buffer_days} d") == 2
        )  # from its baseline, and with the gate


def test_the_trend_has_the_line_of_the_gate_from_its_first_plan_over_the_slip(board: BoardServer) -> None:
    text = board.get(f"{HERE}/trend").text
    lines = json.loads(re.search(r'data-trend="([^"]*)"', text)[1].replace("&#34;", '"'))  # type: ignore[index]

    [gate] = [line for line in lines if all(name in line["name"] for name in GATE_NAMES)]
    opens, slips_to = DAY + timedelta(days=45), DAY + timedelta(days=87)
    assert gate["points"][0][1] == str(opens)
    assert gate["points"][-1] == [str(DAY), str(slips_to)]
    assert [point[0] for point in gate["points"]] == sorted(point[0] for point in gate["points"])


def test_a_trend_of_chosen_milestones_has_their_lines_alone(board: BoardServer) -> None:
    text = board.get(f"{HERE}/trend?milestone={LAUNCH}&milestone={GATE}").text

    assert [name in text for name in (LAUNCH, GATE)] == [True, True]
    lines = json.loads(re.search(r'data-trend="([^"]*)"', text)[1].replace("&#34;", '"'))  # type: ignore[index]
    assert ["Tomographic scanners" in lines[0]["name"], GATE_NAMES[1] in lines[1]["name"]] == [True, True]
    assert len(lines) == 2


def test_an_empty_board_says_how_to_begin(empty: BoardServer) -> None:
    assert "No programme yet" in empty.get("/").text
    assert empty.get("/api/programmes").json == {"total": 0, "next": None, "programmes": []}


def test_a_programme_without_milestones_is_shown(empty: BoardServer) -> None:
    empty.record_events([registered("north", "The north")])

    assert "No date is known" in empty.get("/").text
    assert "No milestone is named in this programme yet." in empty.get("/programmes/north").text
    assert "Nothing has moved yet." in empty.get("/programmes/north/trend").text


def test_the_pipeline_shows_why_the_worker_is_not_ready_and_what_it_counted(empty: BoardServer) -> None:
    empty.not_ready_reasons["kafka"] = "does not answer"
    empty.metrics.source_seen("//sez.example", 1_790_000_000)
    empty.metrics.rejected.labels("malformed").inc(3)
    empty.metrics.position.labels("milestone.events", "0").set(5)
    empty.metrics.log_end.labels("milestone.events", "0").set(9)

    text = empty.get("/pipeline").text

    assert "This worker is not ready" in text
    assert "does not answer" in text
    assert "//sez.<wbr>example" in text
    assert "<b>3</b> malformed" in text
    found = empty.get("/api/pipeline").json
    assert found["pipeline"]["partitions"] == [
        {"topic": "milestone.events", "partition": 0, "position": 5, "log_end": 9, "lag_seconds": None}
    ]
    assert "127.0.0.1:1" in found["letters_unknown"]


def test_the_pipeline_names_the_fields_of_a_source_that_nobody_reads(empty: BoardServer) -> None:
    empty.metrics.count_source_events("//sez.example", "accepted", 3)
    empty.metrics.count_unknown_fields("//sez.example", "lag", 3)
    empty.metrics.count_unknown_fields("//sez.example", "<b>x</b>")

    text = empty.get("/pipeline").text

    assert "<bdi>`lag`: did you mean `lag_days`?</bdi>" in text
    assert "3 events" in text
    assert "<b>x</b>" not in text
    [source] = empty.get("/api/pipeline").json["pipeline"]["sources"]
    assert source["unknown_fields"] == {"lag": 3, "<b>x</b>": 1}


def test_the_pipeline_says_how_many_dead_letters_wait_although_none_is_among_the_newest(
    empty: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalPipelineReader, "_read_dead_letters", lambda _: ([], None))
    assert "None among the newest 200 records of the topic" in empty.get("/pipeline").text

    empty.metrics.set_dead_letters_waiting({"malformed": 1})
    text = empty.get("/pipeline").text
    assert "1 dead letter waits, none of them among the newest" in text
    assert "<b>1</b> <bdi>malformed</bdi>" in text
    assert empty.get("/api/pipeline").json["pipeline"]["waiting"] == {"malformed": 1}

    empty.metrics.set_dead_letters_waiting({})
    assert "None: nothing that was rejected waits." in empty.get("/pipeline").text


def test_the_pipeline_shows_retractions_whose_event_is_not_there(empty: BoardServer) -> None:
    data = EventRetracted(retracts="not-there", reason="incorrect_data")
    empty.record_events(
        [
            Event(
                source="//<i>office",
                id="r-1",
                programme="north",
                project="plant",
                time=Instant("2026-11-01T00:00:00"),
                data=data,
            )
        ]
    )

    text = empty.get("/pipeline").text

    assert "Retractions without their event" in text
    assert "<bdi>//&lt;i&gt;office</bdi>" in text
    assert [row["retracts"] for row in empty.get("/api/pipeline").json["unmatched_retractions"]] == ["not-there"]


def test_the_runbook_is_a_page_with_an_anchor_for_each_alert(empty: BoardServer) -> None:
    page = empty.get("/runbook")

    assert page.status == 200
    assert '<h2 id="gateslipping">' in page.text
    assert "{% raw %}" not in page.text
    assert empty.get("/runbook?x=1").status == 400


# What the API says


def test_the_api_says_of_milestones_what_status_says(board: BoardServer) -> None:
    said = json.loads(status_as_json(read_status(board.recorder.engine, MilestoneQuery(DAY, PROGRAMME)).rows))

    page = board.get(f"/api{HERE}/milestones?limit=1000").json

    assert page["milestones"] == said
    assert (page["total"], page["next"], page["data_date"]) == (len(said), None, str(DAY))


def test_pages_of_milestones_follow_one_another(board: BoardServer) -> None:
    found, where = [], f"/api{HERE}/milestones?limit=7"
    while where:
        page = board.get(where).json
        assert len(page["milestones"]) <= 7
        found += page["milestones"]
        where = page["next"]

    assert found == board.get(f"/api{HERE}/milestones?limit=1000").json["milestones"]


def test_pages_of_moves_follow_one_another(board: BoardServer) -> None:
    found: list[Any] = []
    where = f"/api{HERE}/moves?limit=9"
    while where:
        page = board.get(where).json
        found += page["moves"]
        where = page["next"]

    assert found == board.get(f"/api{HERE}/moves?limit=1000").json["moves"]
    assert [move["number"] for move in found] == sorted({move["number"] for move in found}, reverse=True)


def test_the_api_explains_what_the_command_explains(board: BoardServer) -> None:
    key = MilestoneKey(PROGRAMME, *LAUNCH.split("/"))

    said = json.loads(explanation_to_json(read_explanation(board.recorder.engine, key, MilestoneQuery(DAY))))

    assert board.get(f"/api{HERE}/milestones/{LAUNCH}").json == said


def test_the_description_has_every_operation_and_its_answers_are_as_it_says(board: BoardServer) -> None:
    document = board.get("/api/openapi.json").json
    schemas = document["components"]["schemas"]

    assert document["openapi"].startswith("3.1")
    for path, kind in OPERATIONS.items():
        [template] = [name for name in document["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", name), path)]
        operation = document["paths"][template]["get"]
        reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert reference.removeprefix("#/components/schemas/") == kind.__name__
        assert {one["name"] for one in operation["parameters"] if one["in"] == "path"} == set(
            re.findall(r"{(\w+)}", template)
        )
        body = board.get(path).body
        assert isinstance(msgspec.json.decode(body, type=kind), kind)
        assert_described(json.loads(body), {"$ref": reference}, schemas)
    assert set(document["paths"]) - {"/api/stream"} == {
        next(name for name in document["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", name), path))
        for path in OPERATIONS
    }
    assert set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))) == set(schemas)


KINDS_OF_JSON: Final[dict[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def assert_described(value: object, schema: dict[str, Any], schemas: dict[str, Any], where: str = "$") -> None:
    """Hold a value against a schema, as far as schemas of the description go."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        [its] = [one for one in schema["anyOf"] if (one == {"type": "null"}) == (value is None)]
        assert_described(value, its, schemas, where)
    elif "enum" in schema:
        assert value in schema["enum"], where
    else:
        assert isinstance(value, KINDS_OF_JSON[schema["type"]]), (where, value, schema)
        if isinstance(value, list):
            for number, one in enumerate(value):
                assert_described(one, schema["items"], schemas, f"{where}[{number}]")
        elif isinstance(value, dict) and "properties" in schema:
            assert set(schema["required"]) <= set(value) <= set(schema["properties"]), where
            for name, one in value.items():
                assert_described(one, schema["properties"][name], schemas, f"{where}.{name}")


# How they answer


@pytest.mark.parametrize("path", [path for path in (*PAGES, *OPERATIONS) if path not in UNCACHED])
def test_what_has_not_changed_is_not_sent_again(board: BoardServer, path: str) -> None:
    first = board.get(path)

    again = board.get(path, If_None_Match=first.headers["Etag"])

    assert (first.status, again.status, again.body) == (200, 304, b"")


@pytest.mark.parametrize(
    ("page", "request_path", "status"),
    [
        ("/", "/?offset=x", 400),
        (HERE, f"{HERE}?show=x", 400),
        (HERE, f"{HERE}?offset=-1", 400),
        (f"{HERE}/trend", f"{HERE}/trend?before=0", 400),
        (f"{HERE}/trend", f"{HERE}/trend?milestone=a/b", 404),
        (HERE, f"{HERE}/milestones/a/b", 404),
        (HERE, f"{HERE}/gates/a/b", 404),
        ("/api/programmes", "/api/programmes?limit=0", 400),
        (f"/api{HERE}", f"/api{HERE}/milestones?limit=x", 400),
        (f"/api{HERE}", f"/api{HERE}/milestones/a/b", 404),
        (f"/api{HERE}", f"/api{HERE}/gates/{GATE}?offset=x", 400),
        (f"/api{HERE}", f"/api{HERE}/moves?before=x", 400),
    ],
)
def test_an_invalid_request_with_a_matching_entity_tag_gets_its_error(
    board: BoardServer, page: str, request_path: str, status: int
) -> None:
    entity_tag = board.get(page).headers["Etag"]

    for tag in (entity_tag, "*"):
        assert board.get(request_path, If_None_Match=tag).status == status


def test_a_change_makes_another_answer(empty: BoardServer) -> None:
    empty.record_events([registered("north", "The north")])
    before = {path: empty.get(path).headers["Etag"] for path in ("/", "/programmes/north", "/api/programmes")}

    empty.record_events([registered("north", "Another north", day=2)])

    for path, tag in before.items():
        found = empty.get(path, If_None_Match=tag)
        while found.status == 304:  # what all are drawn of is looked at once a second
            found = empty.get(path, If_None_Match=tag)
        assert "Another north" in found.text


@pytest.mark.parametrize("path", [*PAGES, *OPERATIONS, "/nowhere", "/programmes/nowhere", "/api/nowhere"])
def test_every_response_forbids_the_browser_to_load_anything_from_elsewhere(board: BoardServer, path: str) -> None:
    headers = board.get(path).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", HERE, f"/api{HERE}/milestones"])
def test_large_answers_are_packed_for_those_who_take_that(board: BoardServer, path: str) -> None:
    packed = board.get(path, Accept_Encoding="gzip")

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == board.get(path).body


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/nowhere", "There is no such page."),
        ("/programmes/nowhere", "There is no programme nowhere."),
        (f"{HERE}/milestones/a/b", f"There is no milestone a/b in programme {PROGRAMME}."),
        (f"{HERE}/gates/a/b", f"There is no milestone a/b in programme {PROGRAMME}."),
        (f"{HERE}/trend?milestone=a", "A milestone is named project/milestone."),
        ("/static/000000000000/board.js", "There is no such page."),
        ("/static/000000000000/..%2F..%2Fboard.py", "There is no such page."),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(board: BoardServer, path: str, sentence: str) -> None:
    page = board.get(path)

    assert page.status == 404
    assert sentence in re.sub(r"</?bdi>", "", page.text)
    if path.startswith("/programmes"):
        problem = board.get(f"/api{path}")
        assert (problem.status, "error" in problem.json) == (404, True)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "offset=-1", "limit=", f"offset={10**30}", "limit=٣"]
)
def test_a_list_without_bounds_cannot_be_asked_for(board: BoardServer, query: str) -> None:
    name = query.partition("=")[0]
    answer = board.get(f"/api{HERE}/milestones?{query.replace('٣', '%D9%A3')}")

    assert answer.status == 400
    assert answer.json["error"].startswith(f"{name} is a number from ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(board: BoardServer, method: str) -> None:
    for path in ("/", HERE, f"/api{HERE}", "/api/stream"):
        request = urllib.request.Request(f"{board.address}{path}", method=method, data=b"{}")  # noqa: S310 - its own address
        assert send_request(request).status == 405


def test_without_its_tables_it_says_so_and_comes_back_with_them(empty: BoardServer) -> None:
    with empty.recorder.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE checkpoints RENAME TO gone")
    try:
        found = empty.get("/api/programmes")
        while found.status in {200, 304}:  # what was read is good for a second
            found = empty.get("/api/programmes")
        assert (found.status, found.json) == (
            503,
            {"error": "The database does not answer; the page comes back with it."},
        )
        assert empty.get("/").status == 503
    finally:
        with empty.recorder.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO checkpoints")
    assert empty.get("/").status == 200


def test_more_than_it_can_bear_are_turned_away(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.web.guard.MAX_CONCURRENT_REQUESTS", 0)
    monkeypatch.setattr("streams.web.sse.MAX_SUBSCRIBERS", 0)

    with running_board(sqlite_url, DAY) as board:
        page, problem, stream = board.get("/"), board.get("/api/programmes"), board.get("/api/stream")

    assert (page.status, page.headers["Retry-After"]) == (503, "1")
    assert problem.json == {"error": "Too many are asking at once."}
    assert (stream.status, stream.json) == (503, {"error": "Too many are listening at once."})


def test_a_bug_of_a_page_is_logged_and_ends_nothing(
    board: BoardServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("streams.web.view_models.select_trend_milestones", None)
        page = board.get(f"{HERE}/trend?before=999")

    assert (page.status, "This page has a bug" in page.text) == (500, True)
    assert "NoneType" in caplog.text
    assert board.get(f"{HERE}/trend").status == 200


def test_dependencies_that_close_a_cycle_are_named(empty: BoardServer) -> None:
    def depends(number: int, milestone: str, after: str) -> Event:
        return Event(
            source="//board.example",
            id=f"depends-{number}",
            programme="north",
            project="quay",
            time=Instant(f"2026-11-0{number}T00:00:00"),
            data=DependencyDeclared(milestone=milestone, after=Predecessor("quay", after)),
        )

    empty.record_events([depends(1, "b", "a"), depends(2, "a", "b")])

    assert "quay/a does not wait for quay/b" in empty.get("/programmes/north").text
    assert empty.get("/api/programmes/north").json["set_aside"] == [
        {"project": "quay", "milestone": "a", "after_project": "quay", "after_milestone": "b"}
    ]


# Live


def test_the_stream_announces_a_programme_that_is_recalculated(board: BoardServer) -> None:
    with urllib.request.urlopen(f"{board.address}/api/stream", timeout=30) as stream:  # noqa: S310 - its own address
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.readline() == b"retry: 2000\n"
        kind, before = next_event(stream)
        assert kind == b"turn"  # what was there before is no news, but has a name
        board.record_events([registered("east", "The east")])
        kind, data = next_event(stream)
        turn, after = next_event(stream)

    assert (kind, turn) == (b"drawn", b"turn")
    notice = msgspec.json.decode(data, type=schemas.ProgrammeUpdateSchema)
    assert (notice.programme, notice.data_date) == ("east", DAY)
    assert notice.revision >= 1
    names = [msgspec.json.decode(each, type=schemas.VersionSchema).version for each in (before, after)]
    assert names[0] != names[1]
    wait_until(lambda: f'data-version="{names[1]}"' in board.get("/").text, "the page follows, after its cooldown")


def test_the_stream_of_one_programme_begins_with_its_version(board: BoardServer) -> None:
    with urllib.request.urlopen(f"{board.address}/api/stream?programme={PROGRAMME}", timeout=30) as stream:  # noqa: S310 - its own address
        kind, data = next_event(stream)

    assert kind == b"drawn"
    notice = msgspec.json.decode(data, type=schemas.ProgrammeUpdateSchema)
    assert notice.programme == PROGRAMME
    version = f'data-version="{notice.revision} {notice.data_date}"'
    wait_until(lambda: version in board.get(HERE).text, "the page follows, after its cooldown")


def next_event(stream: HTTPResponse) -> tuple[bytes, bytes]:
    """Return the next event of a stream that tells of programmes: its type, and what it carries."""
    while not (line := stream.readline()).startswith((b"event: drawn", b"event: turn")):
        assert line, "the stream ended"
    return line.removeprefix(b"event: ").strip(), stream.readline().removeprefix(b"data: ").strip()


# Names that mean harm


HOSTILE_TEXTS: Final = (
    '<script>alert(1)</script><img src=x onerror="alert(1)">',
    "\"' onmouseover='alert(1)' x=\"",
    "{{ 7 * 7 }}{% raw %}",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe \N{ARABIC LETTER ALEF}\N{ARABIC LETTER BEH}",
    "\0\x1b[31m\N{LINE SEPARATOR}",
    "x" * 200,
)


def test_names_stand_first_and_slugs_behind(board: BoardServer, empty: BoardServer) -> None:
    slug = GATE.replace("/", "<wbr>/<wbr>")
    label = f'<bdi>{GATE_NAMES[0]}</bdi>: <bdi>{GATE_NAMES[1]}</bdi></span> <small class="slug">{slug}</small>'
    for path in ("/", HERE, f"{HERE}/milestones/{LAUNCH}"):
        assert label in board.get(path).text, path
    for path in (f"{HERE}/milestones/{GATE}", f"{HERE}/gates/{GATE}"):
        page = board.get(path).text
        assert f"<bdi>{GATE_NAMES[0]}</bdi>: <bdi>{GATE_NAMES[1]}</bdi></h1>" in page
        assert f"<span>{slug}</span>" in page
    # What nobody gave a name is called by its slugs, once.
    empty.record_events([reported(1, "quay/lot-7", Classifier.PLANNED, "2027-01-01")])
    assert empty.get("/").text.count("quay<wbr>/<wbr>lot-7") == 1
    assert 'class="slug"' not in empty.get("/programmes/north").text


@pytest.mark.parametrize("name", [*HOSTILE_TEXTS, " \t\N{NO-BREAK SPACE}"])
def test_a_name_of_a_milestone_is_shown_as_it_is_and_does_nothing(empty: BoardServer, name: str) -> None:
    launch = reported(2, "quay/launch", Classifier.PLANNED, "2026-12-01")
    gate = MilestoneReported("permit-approved", Classifier.PLANNED, date(2026, 12, 1), name=name)
    late = MilestoneReported("permit-approved", Classifier.ESTIMATED, date(2027, 2, 1), name=name)
    waits = DependencyDeclared("launch", Predecessor("quay", "permit-approved"))
    empty.record_events([launch, north(1, "quay", gate), north(3, "quay", waits)])
    empty.record_events([north(4, "quay", late)])

    here = "/programmes/north"
    name_of_the_catalogue = "Permit approved"
    for path in ("/", here, f"{here}/trend", f"{here}/milestones/quay/launch", f"{here}/gates/quay/permit-approved"):
        page = empty.get(path)
        assert page.status == 200
        assert not re.search(r"<(?:img|script)(?![^>]*\bsrc=\"/static/)", page.text)
        # Text is harmless within an attribute too: a quotation mark does not end it.
        assert not re.search(r"""<(?:[^>"]|"[^"]*")*\son\w+=""", page.text)
        assert not re.search("[\0\x1b\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}]", page.text)
        # A name that nobody sees is none.
        assert (name_of_the_catalogue in page.text) == (not name.strip()), path
    [row] = [row for row in empty.get(f"/api{here}/milestones").json["milestones"] if row["milestone"] != "launch"]
    assert row["name"] == name


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_a_name_is_shown_as_it_is_and_does_nothing(empty: BoardServer, name: str) -> None:
    quay = Event(
        source="//board.example",
        id="quay",
        programme="north",
        project="quay",
        time=Instant("2026-11-01T00:00:00"),
        data=ProjectRegistered(name=name),
    )
    empty.record_events([registered("north", name), quay])

    for path in ("/", "/programmes/north", "/programmes/north/trend"):
        page = empty.get(path)
        assert page.status == 200
        assert not re.search(r"<(?:img|script)(?![^>]*\bsrc=\"/static/)", page.text)
        assert not re.search(r"<[^>]+\son\w+=", page.text)
        assert not re.search("[\0\x1b\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}]", page.text)
        assert "49" not in re.findall(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)[0]
    assert empty.get("/api/programmes/north").json["name"] == name
