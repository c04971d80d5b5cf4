"""`milepost report`, out of real ledgers."""

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from models.database.claims import load_facts
from models.database.engine import read_transaction
from models.database.queries import has_programme
from models.database.recorder import Recorder
from tests.helpers.event_generators import random_events
from tests.helpers.events import cancellation, date_report, dependency_declaration, event_database, retraction_event
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine

RELEASES = Path(__file__).parents[2] / "docs" / "examples" / "python-releases.jsonl"
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


def test_names_stand_first_and_slugs_behind_them(sqlite_url: str) -> None:
    named = date_report("named", "lot-3/permit-approved", "PLN", "2026-04-01", time=MON)
    with event_database(sqlite_url) as database:
        database.record_and_recalculate([named], date(2026, 3, 8))
    text = run_report(sqlite_url, "north", "--since", "2026-03-02", "--until", "2026-03-08")
    assert "lot-3: Permit approved (lot-3/permit-approved)" in text


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


def test_a_programme_exists_as_soon_as_the_facts_name_it_and_no_longer(database_url: str) -> None:
    names, log = [f"programme-{number}" for number in range(40)], TopicLog()
    with migrated_engine(database_url) as engine:
        recorder = Recorder(engine)
        recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})
        for event in random_events(8, 120, programmes=len(names), with_dependencies=True):
            recorder.record(event_batch([log.append(event)]), fail_on_rejection)
            with read_transaction(engine) as connection:
                existing = load_facts(connection, names).existing_programmes()
                assert {name for name in names if has_programme(connection, name)} == existing
        assert 10 < len(existing) < len(names)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--since", "yesterday"], "not an RFC 3339 timestamp"),
        (["--until", "2026-02-30"], "not a day that there is: '2026-02-30'"),
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


#: Three weeks of the real past of Python, worked out by hand from docs/examples/python-releases.jsonl: of each section
#: the project, the milestone, and the dates that the claims have.
PAST_WEEKS: dict[tuple[str, str], dict[str, list[tuple[str | None, ...]]]] = {
    # Both were said on Tuesday, at once; the release came on the last day of the week.
    ("2015-09-07", "2015-09-13"): {
        "achieved": [
            ("python-3.5", "release-candidate-2", "2015-08-23", "2015-08-25"),
            ("python-3.5", "release-candidate-3", "2015-09-06", "2015-09-07"),
        ],
        "coming": [("python-3.5", "final", "2015-09-13")],
    },
    # Moved by four days on Monday, and achieved on Tuesday as was said then. Nobody reported the beginning of 3.8.
    ("2018-12-10", "2018-12-16"): {
        "achieved": [
            ("python-3.6", "3.6.8-candidate", "2018-12-11", "2018-12-11"),
            ("python-3.7", "3.7.2-candidate-1", "2018-12-11", "2018-12-11"),
        ],
        "moved": [
            ("python-3.6", "3.6.8-candidate", "2018-12-07", "2018-12-11"),
            ("python-3.7", "3.7.2-candidate-1", "2018-12-07", "2018-12-11"),
        ],
        "overdue": [("python-3.8", "development-begins", "2018-01-29")],
        "coming": [("python-3.6", "3.6.8-final", "2018-12-20"), ("python-3.7", "3.7.2-final", "2018-12-20")],
    },
    # A security release: on Wednesday all is put off by two weeks, on Friday the releases are out and the candidates
    # that were to follow are cancelled.
    ("2021-02-15", "2021-02-21"): {
        "achieved": [
            ("python-3.6", "3.6.13-final", "2021-02-15", "2021-02-15"),
            ("python-3.7", "3.7.10-final", "2021-02-15", "2021-02-15"),
            ("python-3.8", "3.8.8rc1", "2021-02-01", "2021-02-16"),
            ("python-3.9", "3.9.2-candidate-1", "2021-02-01", "2021-02-16"),
            ("python-3.8", "3.8.8", "2021-03-01", "2021-02-19"),
            ("python-3.9", "3.9.2-final", "2021-03-01", "2021-02-19"),
        ],
        "moved": [
            ("python-3.8", "3.8.8", "2021-02-15", "2021-03-01"),
            ("python-3.8", "3.8.9rc1", "2021-04-05", "2021-04-19"),
            ("python-3.8", "3.8.9", "2021-04-19", "2021-05-03"),
            ("python-3.9", "3.9.2-final", "2021-02-15", "2021-03-01"),
            ("python-3.9", "3.9.3-candidate-1", "2021-04-05", "2021-04-19"),
            ("python-3.9", "3.9.3-final", "2021-04-19", "2021-05-03"),
        ],
        "new": [
            ("python-3.9", "3.9.3", None, "2021-05-03"),
            ("python-3.9", "3.9.4", None, "2021-06-28"),
            ("python-3.9", "3.9.5", None, "2021-08-30"),
            ("python-3.9", "3.9.6", None, "2021-11-01"),
            ("python-3.9", "3.9.7", None, "2022-01-03"),
            ("python-3.9", "3.9.8", None, "2022-02-28"),
            ("python-3.9", "3.9.9", None, "2022-05-02"),
        ],
        "cancelled": [
            ("python-3.8", "3.8.9rc1", "2021-04-19", None),
            ("python-3.9", "3.9.3-candidate-1", "2021-04-19", None),
            ("python-3.9", "3.9.3-final", "2021-05-03", None),
        ],
    },
}


@pytest.fixture(scope="module")
def releases_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('releases') / 'milepost.db'}"
    lines = RELEASES.read_text(encoding="utf-8").splitlines()
    with event_database(url) as database:
        events = [json.loads(line) for line in lines]
        database.record_and_recalculate(events, date(2026, 3, 10), appended_at="2026-03-10T08:00:00Z")
    return url


@pytest.mark.parametrize(("since", "until"), PAST_WEEKS)
def test_past_weeks_of_python_are_as_the_file_has_them(releases_url: str, since: str, until: str) -> None:
    text = run_report(releases_url, "python", "--since", since, "--until", until, "--format", "json")
    [programme] = json.loads(text)["programmes"]
    found: dict[str, list[tuple[str | None, ...]]] = {}
    for name in ("achieved", "moved", "new", "cancelled"):
        # The claims' own dates: a forecast in the past does not exist.
        dates = ("from", "to") if name == "cancelled" else ("own_from", "own_to")
        found[name] = [tuple(row[field] for field in ("project", "milestone", *dates)) for row in programme[name]]
    for name, day in (("overdue", "due"), ("coming", "forecast")):
        found[name] = [(row["project"], row["milestone"], row[day]) for row in programme[name]]
    for name in ("newly_late", "retracted", "said_late", "gates"):
        found[name] = programme[name]
    assert {name: rows for name, rows in found.items() if rows} == PAST_WEEKS[since, until]


def test_a_past_that_is_loaded_now_was_said_then_and_is_said_late_now(releases_url: str) -> None:
    span = ("--since", "2026-03-10", "--until", "2026-03-10")
    [programme] = json.loads(run_report(releases_url, "python", *span, "--format", "json"))["programmes"]
    assert [programme[name] for name in ("achieved", "moved", "new", "cancelled", "retracted")] == [[], [], [], [], []]
    assert len(programme["said_late"]) == len(RELEASES.read_text(encoding="utf-8").splitlines()) == 803
    assert {event["arrived"] for event in programme["said_late"]} == {"2026-03-10T08:00:00Z"}
    text = run_report(releases_url, "python", *span)
    assert "803 said late" in text
    assert "and 753 others: the report as JSON has all of them" in text
    assert len(text.splitlines()) < 500


def silent_sources(url: str, until: str) -> list[tuple[str, int, int]]:
    report = json.loads(run_report(url, "north", "--since", "2026-02-01", "--until", until, "--format", "json"))
    return [
        (source["source"], source["silence_seconds"] // 3600, source["rhythm_seconds"] // 3600)
        for source in report["silent_sources"]
    ]


@pytest.fixture
def rhythms_url(database_url: str) -> str:
    """Give a database in which one source speaks every 12 hours for 10 days, one for 5 days, one weekly.

    And one as the first, which later speaks of another programme.
    """
    with event_database(database_url) as database:
        for number, (source, hours) in enumerate(
            [
                *(("steady", 12 * half_day) for half_day in range(21)),
                *(("busy", 12 * half_day) for half_day in range(21)),
                ("busy", 12 * 24 + 1),
                *(("short", 12 * half_day) for half_day in range(11)),
                *(("weekly", 24 * day) for day in (0, 7, 14)),
            ]
        ):
            day, hour = divmod(hours, 24)
            at = f"2026-03-{day + 1:02}T{hour:02}:00:00Z"
            event = date_report(f"{source}-{number}", f"{source}/built", "PLN", "2026-06-01", source=source, time=at)
            if at > "2026-03-13":
                event["subject"] = f"south/{source}"
            database.record_and_recalculate([event], date(2026, 3, 1), appended_at=at)
    return database_url


def test_a_source_is_silent_after_twice_its_longest_silence_if_it_was_heard_for_a_week(rhythms_url: str) -> None:
    # Heard last on 11 March at 00:00.
    assert silent_sources(rhythms_url, "2026-03-12T00:00:00Z") == []
    assert silent_sources(rhythms_url, "2026-03-12T00:00:01Z") == [("busy", 24, 12), ("steady", 24, 12)]
    # What is said of another programme counts; its sources are the only ones that are asked about.
    assert silent_sources(rhythms_url, "2026-03-16T00:00:00Z") == [("steady", 120, 12)]
    # The alert ends when the rhythm is forgotten.
    assert silent_sources(rhythms_url, "2026-03-26") == []
