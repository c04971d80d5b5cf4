"""`milepost explain` and `milepost history` over real databases, chains checked by hand; `status` in a real terminal.

What most tests tell: production on the quay waits 60 days for the dock, the dock 30 days for the yard's permit. At
first all of it fits; then the permit slips by a month.
"""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from typer.testing import CliRunner, Result

from deploy.cli import app
from models.database.engine import make_engine, write_transaction
from models.database.tables import ledger
from tests.helpers.events import (
    EventDatabase,
    cancellation,
    date_report,
    dependency_declaration,
    event_database,
    project_registration,
    project_withdrawal,
    retraction_event,
)

TODAY = date(2026, 3, 10)
HOSTILE = "\x1b[31mred\x9b2J\r\n7. quay/forged: 2026-01-01, achieved\N{RIGHT-TO-LEFT OVERRIDE}"
PLANS = [
    date_report("permit", "yard/permit-approved", "PLN", "2026-04-01"),
    date_report("park", "dock/park-commissioned", "PLN", "2026-05-01"),
    dependency_declaration("park-after", "dock/park-commissioned", "yard/permit-approved", 30),
    date_report("launch", "quay/production-launched", "PLN", "2026-07-01", party="Quay Ltd"),
    dependency_declaration("launch-after", "quay/production-launched", "dock/park-commissioned", 60),
]
SLIP = date_report(
    "slip",
    "yard/permit-approved",
    "EST",
    "2026-05-01",
    time="2026-02-01T09:30:00.5+01:00",
    source="permit office",
    reason="late-survey",
    remark=HOSTILE,
)
LAUNCH, PARK, PERMIT = "north/quay/production-launched", "north/dock/park-commissioned", "north/yard/permit-approved"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def north_database(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventDatabase]:
    """Give a database that the commands find by themselves."""
    monkeypatch.setenv("MILEPOST_DATABASE", sqlite_url)
    with event_database(sqlite_url) as database:
        yield database


def milepost(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments, prog_name="milepost")


def output_of(*arguments: str) -> str:
    result = milepost(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def explained(milestone: str, on: date = TODAY, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output_of("explain", milestone, "--data-date", str(on), "--json", *more))
    return found


def read_out(milestone: str, *more: str) -> list[str]:
    """Give what people are told, line by line."""
    text = output_of("explain", milestone, "--data-date", str(TODAY), *more)
    assert is_harmless(text)
    return text.splitlines()


def links(explanation: dict[str, Any]) -> list[tuple[str, str | None, str, str, int | None]]:
    """Give of each link which milestone, forecast, state, what set it, and the lag."""
    return [
        (
            f"{link['project']}/{link['milestone']}",
            *(link[name] for name in ("forecast", "state", "set_by", "lag_days")),
        )
        for link in explanation["chain"]
    ]


def the_line(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    return line


def is_harmless(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


# explain


def test_a_tenant_two_drivers_away_is_explained_by_the_gate_that_slipped(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE", database_url)

    def event(role: str, called: str, **said: object) -> dict[str, Any]:
        kind = "milepost.dependency.declared.v1" if role == "dependency" else "milepost.milestone.reported.v1"
        named = {"role": role, "type": kind, "source": "office", "id": called, "time": "2026-01-01T12:00:00Z"}
        return {**named, **dict.fromkeys(("date", "lag_days", "reason", "remark", "party")), **said}

    slip = event("estimated", "slip", date="2026-05-01", reason="late-survey", remark=HOSTILE)
    launch = {"date": "2026-07-01", "party": "Quay Ltd"}
    with event_database(database_url) as north_database:
        north_database.record_and_recalculate(PLANS, TODAY)
        north_database.record_and_recalculate([SLIP], TODAY)
        found = explained(LAUNCH)
    assert found == {
        "programme": "north",
        "project": "quay",
        "milestone": "production-launched",
        "data_date": "2026-03-10",
        "forecast": "2026-07-30",
        "state": "blocked",
        "slip_days": 29,
        "float_days": -29,
        "driver": "dock/park-commissioned",
        "sources": [
            {
                "source": "office",
                "planned": {
                    "date": "2026-07-01",
                    "said": "2026-01-01T12:00:00Z",
                    "id": "launch",
                    "counts": True,
                    "days_later": 0,
                },
                "estimated": None,
                "actual": None,
            }
        ],
        "sources_differ_days": None,
        "chain": [
            {
                "project": "quay",
                "milestone": "production-launched",
                "forecast": "2026-07-30",
                "state": "blocked",
                "own_date": "2026-07-01",
                "own_classifier": "PLN",
                "set_by": "driver",
                "lag_days": 60,
                "events": [
                    event("baseline", "launch", **launch),
                    event("planned", "launch", **launch),
                    event("dependency", "launch-after", lag_days=60),
                ],
                "left_out": [],
            },
            {
                "project": "dock",
                "milestone": "park-commissioned",
                "forecast": "2026-05-31",
                "state": "blocked",
                "own_date": "2026-05-01",
                "own_classifier": "PLN",
                "set_by": "driver",
                "lag_days": 30,
                "events": [
                    event("baseline", "park", date="2026-05-01"),
                    event("planned", "park", date="2026-05-01"),
                    event("dependency", "park-after", lag_days=30),
                ],
                "left_out": [],
            },
            {
                "project": "yard",
                "milestone": "permit-approved",
                "forecast": "2026-05-01",
                "state": "slipping",
                "own_date": "2026-05-01",
                "own_classifier": "EST",
                "set_by": "estimated",
                "lag_days": None,
                "events": [
                    event("baseline", "permit", date="2026-04-01"),
                    event("planned", "permit", date="2026-04-01"),
                    {**slip, "source": "permit office", "time": "2026-02-01T08:30:00.5Z"},
                ],
                "left_out": [],
            },
        ],
    }


def test_people_read_it_as_a_sentence_and_numbered_links_and_nothing_said_can_steer_their_terminal(
    north_database: EventDatabase,
) -> None:
    north_database.record_and_recalculate([*PLANS, SLIP], TODAY)
    assert read_out(LAUNCH) == [
        (
            "quay: Production launched (north/quay/production-launched) is forecast for 2026-07-30"
            " (data date 2026-03-10): state blocked, "
            "29 days later than its baseline of 2026-07-01, float -29 days."
        ),
        "",
        "1. quay: Production launched (quay/production-launched): 2026-07-30, blocked",
        (
            "   It waits for dock: Park commissioned (dock/park-commissioned), and comes at least 60 days after it. "
            "Its own date, 2026-07-01 (planned), is earlier."
        ),
        "   2026-01-01T12:00:00Z baseline and planned 2026-07-01",
        "     source: office",
        "     id: launch",
        "     party: Quay Ltd",
        "   2026-01-01T12:00:00Z dependency on dock/park-commissioned, lag 60 days",
        "     source: office",
        "     id: launch-after",
        "",
        "2. dock: Park commissioned (dock/park-commissioned): 2026-05-31, blocked",
        (
            "   It waits for yard: Permit approved (yard/permit-approved), and comes at least 30 days after it. "
            "Its own date, 2026-05-01 (planned), is earlier."
        ),
        "   2026-01-01T12:00:00Z baseline and planned 2026-05-01",
        "     source: office",
        "     id: park",
        "   2026-01-01T12:00:00Z dependency on yard/permit-approved, lag 30 days",
        "     source: office",
        "     id: park-after",
        "",
        "3. yard: Permit approved (yard/permit-approved): 2026-05-01, slipping",
        "   This is its estimated date: the newest word on it, and nothing that it waits for comes later.",
        "   2026-01-01T12:00:00Z baseline and planned 2026-04-01",
        "     source: office",
        "     id: permit",
        "   2026-02-01T08:30:00.5Z estimated 2026-05-01",
        "     source: permit office",
        "     id: slip",
        "     reason: late-survey",
        r"     remark: \x1b[31mred\x9b2J\r\n7. quay/forged: 2026-01-01, achieved\u202e",
    ]
    assert is_harmless(output_of("explain", LAUNCH, "--json"))


def test_what_was_believed_before_the_gate_slipped_has_no_driver(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate([*PLANS, SLIP], TODAY)
    before = ("--as-of", "2026-01-31")
    found = explained(LAUNCH, TODAY, *before)
    assert links(found) == [("quay/production-launched", "2026-07-01", "planned", "planned", None)]
    assert (found["slip_days"], found["float_days"], found["driver"]) == (0, 0, None)
    headline = read_out(LAUNCH, *before)[0]
    assert headline == (
        "quay: Production launched (north/quay/production-launched) is forecast for 2026-07-01"
        " (data date 2026-03-10, as of 2026-01-31T23:59:59Z): "
        "state planned, on its baseline of 2026-07-01, float 0 days."
    )


def test_a_retraction_takes_the_slip_out_of_the_chain(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate(PLANS, TODAY)
    north_database.record_and_recalculate([SLIP], TODAY)
    again = {"time": "2026-02-02T12:00:00Z", "source": "permit office"}
    north_database.record_and_recalculate([retraction_event("sorry", "yard", "slip", **again)], TODAY)
    assert links(explained(LAUNCH)) == [("quay/production-launched", "2026-07-01", "planned", "planned", None)]
    assert [event["id"] for event in explained(PERMIT)["chain"][0]["events"]] == ["permit", "permit"]
    believed = explained(LAUNCH, TODAY, "--as-of", "2026-02-01")
    assert [link[0] for link in links(believed)] == [
        "quay/production-launched",
        "dock/park-commissioned",
        "yard/permit-approved",
    ]


def test_a_cancelled_predecessor_has_no_say_and_is_named(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate(
        [*PLANS, SLIP, cancellation("gone", "dock/park-commissioned", time="2026-03-01T00:00:00Z")], TODAY
    )
    found = explained(LAUNCH)
    assert links(found) == [("quay/production-launched", "2026-07-01", "planned", "planned", None)]
    assert found["chain"][0]["left_out"] == [{"project": "dock", "milestone": "park-commissioned", "why": "cancelled"}]
    assert read_out(LAUNCH)[3].endswith(
        " It does not wait for dock: Park commissioned (dock/park-commissioned): that is cancelled."
    )
    text = read_out(PARK)
    assert text[0] == (
        "dock: Park commissioned (north/dock/park-commissioned) is cancelled and has no forecast"
        " (data date 2026-03-10): state cancelled, no slip, float none."
    )
    assert text[2] == "1. dock: Park commissioned (dock/park-commissioned): no forecast, cancelled"
    assert text[3] == "   It is cancelled: it has no forecast, and nothing waits for it."
    assert "   2026-03-01T00:00:00Z cancellation" in text


def test_the_milestones_of_a_withdrawn_project_are_explained_by_its_withdrawal(north_database: EventDatabase) -> None:
    left = project_withdrawal("left", "dock", time="2026-03-01T00:00:00Z", remark=HOSTILE)
    north_database.record_and_recalculate([*PLANS, SLIP, project_registration("known", "dock"), left], TODAY)
    assert links(explained(LAUNCH)) == [("quay/production-launched", "2026-07-01", "planned", "planned", None)]
    found = explained(PARK)
    assert (found["state"], found["chain"][0]["events"][-1]) == (
        "cancelled",
        {
            "role": "withdrawal",
            "type": "milepost.project.withdrawn.v1",
            "source": "office",
            "id": "left",
            "time": "2026-03-01T00:00:00Z",
            **dict.fromkeys(("date", "lag_days", "reason", "party")),
            "remark": HOSTILE,
        },
    )
    assert "   2026-03-01T00:00:00Z withdrawal of the project" in read_out(PARK)


def test_an_overdue_gate_pushes_what_waits_for_it_day_by_day(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate(PLANS, TODAY)
    # The second of April is the first day on which the permit is late.
    for day, forecast in ((date(2026, 4, 11), "2026-07-10"), (date(2026, 4, 12), "2026-07-11")):
        launch, park, permit = links(explained(LAUNCH, day))
        assert launch == ("quay/production-launched", forecast, "blocked", "driver", 60)
        assert (park[0], park[2:]) == ("dock/park-commissioned", ("blocked", "driver", 30))
        assert permit == ("yard/permit-approved", str(day), "overdue", "data-date", None)
    assert (
        "   Its own date, 2026-04-01 (planned), has passed. Nobody reported it as done, so it cannot come before the "
        "data date."
    ) in read_out(LAUNCH, "--data-date", "2026-04-12")


def test_what_has_happened_and_what_nobody_dated_end_a_chain_in_a_sentence(north_database: EventDatabase) -> None:
    done = date_report("done", "yard/permit-approved", "ACT", "2026-01-31", time="2026-02-01T00:00:00Z")
    early = dependency_declaration("lead", "quay/x", "dock/x", -10)
    north_database.record_and_recalculate(
        [*PLANS, done, early, dependency_declaration("same-day", "quay/z", "dock/park-commissioned")], TODAY
    )
    assert read_out(PERMIT)[:4] == [
        (
            "yard: Permit approved (north/yard/permit-approved) was achieved on 2026-01-31 (data date 2026-03-10): "
            "state achieved, "
            "60 days earlier than its baseline of 2026-04-01, float none."
        ),
        "",
        "1. yard: Permit approved (yard/permit-approved): 2026-01-31, achieved",
        "   It has happened: this is its actual date.",
    ]
    assert read_out("north/quay/x") == [
        "north/quay/x has no forecast (data date 2026-03-10): state unknown, no baseline to slip from, float none.",
        "",
        "1. quay/x: no forecast, unknown",
        (
            "   It has no date of its own, and waits for nothing that has one. "
            "It does not wait for dock/x: that has no forecast."
        ),
    ]
    north_database.record_and_recalculate([date_report("x", "dock/x", "PLN", "2026-06-11")], TODAY)
    no_date = "It has no date of its own."
    assert f"   It waits for dock/x, and comes at most 10 days before it. {no_date}" in read_out("north/quay/x")
    told_of_z = (
        f"   It waits for dock: Park commissioned (dock/park-commissioned), and cannot come before it. {no_date}"
    )
    assert told_of_z in read_out("north/quay/z")


def test_an_event_that_the_ledger_lost_is_still_named(north_database: EventDatabase, sqlite_url: str) -> None:
    north_database.record_and_recalculate(PLANS, TODAY)
    engine = make_engine(sqlite_url)
    with write_transaction(engine) as connection:
        connection.execute(delete(ledger).where(ledger.c.id == "launch"))
    engine.dispose()
    [event, _] = explained(LAUNCH)["chain"][0]["events"]
    assert (event["id"], event["time"], event["type"], event["date"]) == ("launch", "2026-01-01T12:00:00Z", None, None)
    assert read_out(LAUNCH)[6:8] == ["     id: launch", "     the ledger does not hold this event"]


# What is not there


def test_what_is_not_there_or_is_no_name_is_one_line_that_says_what_to_do(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate([*PLANS, project_registration("known", "pier")], TODAY)
    expected = {
        "quay/x": "not the name of a milestone: 'quay/x'; use PROGRAMME/PROJECT/MILESTONE, as in "
        "north/quay/permit-approved: `milepost status` shows those there are",
        "west/quay/x": "no programme 'west': `milepost status` without a name shows those there are",
        "north/sea/x": "no project 'sea' in programme 'north': `milepost status north` shows those there are",
        "north/pier/x": "no milestone 'x' in project 'pier' of programme 'north': "
        "`milepost status north --project pier` shows those there are",
        "north/quay/\x1b": "not the name of a milestone: 'north/quay/\\x1b'; use PROGRAMME/PROJECT/MILESTONE, as in "
        "north/quay/permit-approved: `milepost status` shows those there are",
    }
    for name, told_of in expected.items():
        for command in ("explain", "history"):
            assert the_line(milepost(command, name)) == f"milepost: {told_of}"
    line = the_line(milepost("explain", LAUNCH, "--as-of", "2025-12-31"))
    assert line.startswith("milepost: no programme 'north' as of 2025-12-31T23:59:59Z: ")


# history


def test_history_is_every_forecast_when_it_was_said_and_the_event_behind_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE", database_url)
    with event_database(database_url) as north_database:
        back = retraction_event(
            "sorry", "yard", "slip", time="2026-02-02T12:00:00Z", source="permit office", remark="typo"
        )
        # The past arrives in one go, backwards.
        north_database.record_and_recalculate([back, SLIP, *PLANS[::-1]], TODAY)
        found = json.loads(output_of("history", LAUNCH, "--json"))
        lines = output_of("history", LAUNCH).splitlines()
    planned = {"own_from": "2026-07-01", "own_to": "2026-07-01", "slip_days": 0, "state": "planned", "driver": None}
    office, first, late = {"source": "permit office"}, "2026-07-01", "2026-07-30"
    driven = {"slip_days": 29, "state": "blocked", "driver": "dock/park-commissioned"}
    assert found == [
        {"said": "2026-01-01T12:00:00Z", "from": None, "to": first, **planned, "own_from": None}
        | {"source": "office", "id": "launch"},
        {"said": "2026-02-01T08:30:00.5Z", "from": first, "to": late, **planned, **driven, **office, "id": "slip"},
        {"said": "2026-02-02T12:00:00Z", "from": late, "to": first, **planned, **office, "id": "sorry"},
    ]
    assert is_harmless("\n".join(lines))
    assert [re.split(" {2,}", line) for line in lines[:2]] + [re.split(" {2,}", lines[3])] == [
        ["said", "from", "to", "slip", "state", "driver", "source", "id", "reason"],
        ["2026-01-01T12:00:00Z", "-", "2026-07-01", "0", "planned", "-", "office", "launch", "-"],
        [
            *("2026-02-02T12:00:00Z", "2026-07-30", "2026-07-01", "0", "planned", "-", "permit office", "sorry"),
            "incorrect_data: typo",
        ],
    ]


def test_recorded_history_is_what_a_worker_noticed_and_when(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE", database_url)
    with event_database(database_url) as north_database:
        north_database.record_and_recalculate(PLANS, TODAY, "2026-03-10T08:00:00Z")
        north_database.record_and_recalculate([SLIP], TODAY, "2026-03-10T09:00:00.250Z")
        back = retraction_event(
            "sorry", "yard", "slip", time="2026-02-02T12:00:00Z", source="permit office", remark="typo"
        )
        north_database.record_and_recalculate([back], date(2026, 3, 11), "2026-03-11T08:00:00Z")
        found = json.loads(output_of("history", LAUNCH, "--recorded", "--json"))
        lines = output_of("history", LAUNCH, "--recorded").splitlines()
    first, slip, last = found
    assert first == {
        "noted": "2026-03-10T08:00:00Z",
        "from": None,
        "to": "2026-07-01",
        "slip_days": 0,
        "state": "planned",
        "driver": None,
        "cause": {
            "source": "office",
            "id": "launch",
            "time": "2026-01-01T12:00:00Z",
            "reason": None,
            "remark": None,
        },
        "revision": 1,
        "number": first["number"],
    }
    assert (slip["noted"], slip["from"], slip["to"], slip["slip_days"], slip["driver"], slip["revision"]) == (
        "2026-03-10T09:00:00.25Z",
        "2026-07-01",
        "2026-07-30",
        29,
        "dock/park-commissioned",
        2,
    )
    assert slip["cause"] == {
        "source": "permit office",
        "id": "slip",
        "time": "2026-02-01T08:30:00.5Z",
        "reason": "late-survey",
        "remark": HOSTILE,
    }
    assert (last["from"], last["to"], last["cause"]["id"]) == ("2026-07-30", "2026-07-01", "sorry")
    assert first["number"] < slip["number"] < last["number"]
    assert is_harmless("\n".join(lines))
    assert [re.split(" {2,}", line) for line in lines[:2]] + [re.split(" {2,}", lines[3])] == [
        ["noted", "from", "to", "slip", "state", "driver", "source", "id", "reason"],
        ["2026-03-10T08:00:00Z", "-", "2026-07-01", "0", "planned", "-", "office", "launch", "-"],
        [
            *("2026-03-11T08:00:00Z", "2026-07-30", "2026-07-01", "0", "planned", "-", "permit office", "sorry"),
            "incorrect_data: typo",
        ],
    ]


def test_a_milestone_achieved_on_the_day_it_was_forecast_for_moved_nothing(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate(
        [date_report("plan", "quay/x", "PLN", "2026-03-09", time="2026-03-01T00:00:00Z")], date(2026, 3, 9)
    )
    north_database.record_and_recalculate(
        [date_report("done", "quay/x", "ACT", "2026-03-09", time="2026-03-09T00:00:00Z")], date(2026, 3, 9)
    )
    [only] = json.loads(output_of("history", "north/quay/x", "--recorded", "--json"))
    assert (only["from"], only["to"]) == (None, "2026-03-09")


def test_a_milestone_that_is_cancelled_has_no_forecast_from_then_on(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate(PLANS, TODAY)
    gone = cancellation("gone", LAUNCH.partition("/")[2], time="2026-03-01T00:00:00Z")
    north_database.record_and_recalculate([gone], TODAY)
    for options in ([], ["--recorded"]):
        _, last = json.loads(output_of("history", LAUNCH, "--json", *options))
        assert [last[name] for name in ("from", "to", "slip_days", "driver", "state")] == [
            *("2026-07-01", None, None, None, "cancelled")
        ]
        assert last.get("cause", last)["id"] == "gone"
        line = output_of("history", LAUNCH, *options).splitlines()[-1]
        assert line.split()[1:8] == ["2026-07-01", "-", "-", "cancelled", "-", "office", "gone"]


def test_a_milestone_achieved_on_the_day_it_was_forecast_for_has_a_row_that_says_so(
    north_database: EventDatabase,
) -> None:
    plan = date_report("plan", "quay/x", "PLN", "2026-03-09", time="2026-03-01T00:00:00Z")
    done = date_report("done", "quay/x", "ACT", "2026-03-09", time="2026-03-09T00:00:00Z")
    north_database.record_and_recalculate([plan, done], TODAY)
    _, last = json.loads(output_of("history", "north/quay/x", "--json"))
    assert (last["from"], last["to"], last["state"], last["id"]) == ("2026-03-09", "2026-03-09", "achieved", "done")


def test_a_known_milestone_without_history_says_so_and_that_is_no_error(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate([dependency_declaration("1", "quay/x", "dock/x")], TODAY)
    line = "milepost: north/quay/x has no history yet: "
    said, recorded = "no event gave it a forecast\n", "no event that a worker recorded has moved its forecast\n"
    for options, reason in ((["history"], said), (["history", "--recorded"], recorded)):
        for as_json, printed in (([], ""), (["--json"], "[]\n")):
            result = milepost(*options, "north/quay/x", *as_json)
            assert (result.exit_code, result.stdout, result.stderr) == (0, printed, line + reason)


def test_what_is_forgotten_but_had_a_forecast_keeps_its_history(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate([date_report("plan", "quay/x", "PLN", "2026-06-01")], TODAY)
    north_database.record_and_recalculate([retraction_event("no", "quay", "plan", time="2026-02-01T00:00:00Z")], TODAY)
    for options in ([], ["--recorded"]):
        rows = json.loads(output_of("history", "north/quay/x", "--json", *options))
        assert [row["to"] for row in rows] == ["2026-06-01", None]
    assert "no milestone 'x'" in the_line(milepost("explain", "north/quay/x"))


# status


def test_what_closes_a_cycle_is_reported_beside_the_rows_whoever_reads_them(north_database: EventDatabase) -> None:
    later = "2026-01-02T12:00:00Z"
    north_database.record_and_recalculate(
        [*PLANS, dependency_declaration("back", "yard/permit-approved", "quay/production-launched", time=later)], TODAY
    )
    line = (
        "milepost: north/yard/permit-approved does not wait for north/quay/production-launched: "
        "that would close a cycle, so the dependency is set aside\n"
    )
    for more in (["--json"], [], ["--project", "yard", "--json"]):
        result = milepost("status", "north", "--data-date", "2026-03-10", *more)
        assert (result.exit_code, result.stderr) == (0, line)
        assert "permit-approved" in result.stdout
    assert len(json.loads(milepost("status", "--json").stdout)) == 3
    assert milepost("status", "north", "--project", "dock").stderr == ""
    assert explained(PERMIT)["chain"][0]["left_out"] == [
        {"project": "quay", "milestone": "production-launched", "why": "cycle"}
    ]


def in_a_terminal(columns: int, *arguments: str) -> list[str]:
    """Run a command whose standard output is a terminal; give what that shows, without colours."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    program = "from deploy.cli.app import main; main()"
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=theirs, env=environment) as command:
        os.close(theirs)
        with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
            shown = b""
            try:
                while part := terminal.read(65536):
                    shown += part
            except OSError:
                # Linux' way to say that nobody writes there any more
                pass
        assert command.wait(30) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_shows_tables_timelines_and_explanations_within_its_width(
    columns: int, north_database: EventDatabase
) -> None:
    north_database.record_and_recalculate([*PLANS, SLIP], TODAY)
    status = in_a_terminal(columns, "status", "north", "--data-date", "2026-03-10")
    assert any("◇━" in line for line in status)
    explanation = in_a_terminal(columns, "explain", LAUNCH, "--data-date", "2026-03-10")
    said = " ".join(line.strip() for line in explanation)
    assert "3. yard: Permit approved (yard/permit-approved): 2026-05-01, slipping" in said
    history = in_a_terminal(columns, "history", LAUNCH)
    assert "   source: permit office" in [line.rstrip() for line in history]
    for lines in (status, explanation, history):
        assert max(map(len, lines)) <= columns
        assert is_harmless("".join(lines))
