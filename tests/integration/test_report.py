"""`milepost report`, out of real ledgers."""

import json
from datetime import date

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from tests.helpers.events import cancellation, date_report, dependency_declaration, event_database, retraction_event
from tests.helpers.oracle import JsonEvent

MON, TUE, WED = "2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z", "2026-03-04T09:00:00Z"

#: A gate that slips in March, what waits for it, and what else is said in the week.
STORY: list[JsonEvent] = [
    date_report("plan-gate", "park/opened", "PLN", "2026-05-01", time="2026-01-01T09:00:00Z"),
    date_report("plan-lot", "lot-1/launched", "PLN", "2026-06-01", time="2026-01-01T09:00:00Z"),
    dependency_declaration("link", "lot-1/launched", "park/opened", 31, time="2026-01-01T09:00:00Z"),
    date_report("plan-permit", "lot-1/permitted", "PLN", "2026-03-06", time="2026-01-01T09:00:00Z"),
    date_report("plan-lease", "lot-1/leased", "PLN", "2026-03-20", time="2026-01-01T09:00:00Z"),
    date_report("slip", "park/opened", "EST", "2026-05-11", time=MON, reason="heating-late", remark="the pipes"),
    date_report("permit", "lot-1/permitted", "ACT", "2026-03-03", time=TUE),
    date_report("wrong", "lot-1/leased", "EST", "2026-07-01", time=TUE),
    retraction_event("undo", "lot-1", "wrong", time=WED),
    date_report("idea", "lot-2/launched", "PLN", "2026-12-01", time=WED),
    cancellation("no", "lot-1/leased", time="2026-03-05T09:00:00Z"),
]


def run_report(url: str, *arguments: str) -> str:
    result = CliRunner().invoke(app.app, ["report", *arguments, "--database", url])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def story_url(database_url: str) -> str:
    with event_database(database_url) as database:
        database.record_and_recalculate(STORY, date(2026, 3, 8))
    return database_url


def test_the_week_of_a_slip_is_reported_in_words(story_url: str) -> None:
    text = run_report(story_url, "north", "--since", "2026-03-02", "--until", "2026-03-08")
    assert text.splitlines()[:2] == [
        "north: 2 Mar 2026 to 8 Mar 2026",
        "1 achieved, 3 moved, 2 newly late, 1 new, 1 cancelled and 1 retracted.",
    ]
    assert (
        "lot-1/permitted was achieved, 3 days earlier than said before (6 Mar 2026), 3 days before its baseline" in text
    )
    assert "2 Mar 2026  park/opened: 1 May 2026 → 11 May 2026, 10 days later" in text
    assert "Said by office on 2 Mar 2026, 09:00 UTC: heating-late. the pipes" in text
    assert "lot-1/launched: 1 Jun 2026 → 11 Jun 2026, 10 days later" in text
    assert "It holds up 1 milestone now." in text
    assert "lot-1/leased estimated for 1 Jul 2026" in text


def test_a_week_without_claims_has_no_rows_and_still_says_what_comes(story_url: str) -> None:
    text = run_report(story_url, "north", "--since", "2026-02-16", "--until", "2026-02-22")
    assert "Nothing was said, and nothing became late." in text
    assert "Coming in the next 30 days (2)" in text


def test_the_report_as_json_has_every_row_with_its_cause(story_url: str) -> None:
    report = json.loads(
        run_report(story_url, "north", "--since", "2026-03-02", "--until", "2026-03-08", "--format", "json")
    )
    assert (report["since"], report["until"]) == ("2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z")
    [programme] = report["programmes"]
    assert [(row["milestone"], row["from"], row["to"], row["id"]) for row in programme["moved"]] == [
        ("opened", "2026-05-01", "2026-05-11", "slip"),
        ("launched", "2026-06-01", "2026-06-11", "slip"),
        ("leased", "2026-03-20", "2026-07-01", "wrong"),
    ]
    assert programme["moved"][0]["moves"] == ["lot-1/launched"]
    assert [(row["own_from"], row["own_to"]) for row in programme["achieved"]] == [("2026-03-06", "2026-03-03")]
    assert [(row["retracted"]["id"], row["rows"][0]["to"]) for row in programme["retracted"]] == [
        ("wrong", "2026-03-20")
    ]


def test_a_programme_that_no_event_names_is_an_error(story_url: str) -> None:
    result = CliRunner().invoke(app.app, ["report", "south", "--database", story_url])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no programme 'south'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--since", "yesterday"], "not an RFC 3339 timestamp"),
        (["--until", "2026-02-30"], "day is out of range"),
        (["--since", "2026-03-02", "--until", "2026-03-01"], "no time in it"),
        (["--since", "0001-01-01"], "1990 to 2100"),
        (["--until", "9999-12-31"], "1990 to 2100"),
        (["--format", "pdf"], "pdf"),
    ],
)
def test_a_span_that_makes_no_sense_is_wrong_usage(sqlite_url: str, arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(app.app, ["report", *arguments, "--database", sqlite_url])
    assert result.exit_code == 2
    assert reason in result.output.replace("\n", " ")
