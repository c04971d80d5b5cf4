"""`milepost status --assume`: the picture as if, on both databases, without a trace in them.

The yard's permit slipped by a month; the dock waits 30 days for it, and production on the quay 60 days for the dock.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.events import (
    EventDatabase,
    cancellation,
    date_report,
    event_database,
)
from tests.helpers.recorder import migrated_engine, order_independent_rows
from tests.integration.test_explain import PLANS, SLIP, TODAY, milepost, output_of, the_line

DAY = ("--data-date", "2026-03-10")


@pytest.fixture
def north_database(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EventDatabase]:
    """Give a database that the commands find by themselves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILEPOST_DATABASE", database_url)
    with event_database(database_url) as database:
        database.record_and_recalculate([*PLANS, SLIP], TODAY)
        yield database


def rows(*arguments: str) -> dict[str, dict[str, Any]]:
    found = json.loads(output_of("status", *arguments, *DAY, "--json"))
    return {f"{row['project']}/{row['milestone']}": row for row in found}


@pytest.mark.usefixtures("north_database")
def test_an_assumed_date_moves_all_that_waits_for_it_and_every_row_says_so(database_url: str) -> None:
    with migrated_engine(database_url) as engine:
        before = order_independent_rows(engine)
    as_said, assumed = rows("north"), rows("north", "--assume", "yard/permit-approved=2026-06-01")

    assert all("assumed" not in row and "forecast_as_said" not in row for row in as_said.values())
    assert all(row["assumed"] is True for row in assumed.values())
    expected = {
        "yard/permit-approved": ("2026-05-01", "2026-06-01"),
        "dock/park-commissioned": ("2026-05-31", "2026-07-01"),
        "quay/production-launched": ("2026-07-30", "2026-08-30"),
    }
    assert {name: (row["forecast_as_said"], row["forecast"]) for name, row in assumed.items()} == expected
    assert {name: row["forecast"] for name, row in as_said.items()} == {
        name: days[0] for name, days in expected.items()
    }
    assert (assumed["yard/permit-approved"]["estimated"], assumed["yard/permit-approved"]["moved"]) == ("2026-06-01", 2)
    with migrated_engine(database_url) as engine:
        assert order_independent_rows(engine) == before


@pytest.mark.usefixtures("north_database")
def test_people_read_what_is_assumed_before_anything_else_and_then_what_moves() -> None:
    told = output_of("status", "north", "--assume", "yard/permit-approved=2026-06-01", *DAY).splitlines()

    assert told[:2] == [
        "ASSUMED: yard/permit-approved comes on 2026-06-01. Nobody said so, and nothing is written.",
        "",
    ]
    moves = told[told.index("With what is assumed, 2 other milestones would move:") + 1 :]
    assert [line.split() for line in moves] == [
        ["milestone", "as", "said", "assumed", "moves"],
        ["dock/park-commissioned", "2026-05-31", "2026-07-01", "+31"],
        ["quay/production-launched", "2026-07-30", "2026-08-30", "+31"],
        ["yard/permit-approved", "2026-05-01", "2026-06-01", "+31"],
    ]


@pytest.mark.usefixtures("north_database")
def test_several_dates_can_be_assumed_of_one_project_and_what_moves_is_of_all() -> None:
    assumed = ("--assume", "yard/permit-approved=2026-03-20", "--assume", "quay/production-launched=2026-12-24")
    told = output_of("status", "north", "--project", "quay", *assumed, *DAY)

    assert told.startswith("ASSUMED: yard/permit-approved comes on 2026-03-20.")
    assert "With what is assumed, 1 other milestone would move:" in told
    assert "dock/park-commissioned" in told.split("would move:")[1]
    assert rows("north", *assumed)["quay/production-launched"]["forecast"] == "2026-12-24"


def test_the_only_programme_need_not_be_named(north_database: EventDatabase) -> None:
    assert rows("--assume", "yard/permit-approved=2026-06-01")["dock/park-commissioned"]["forecast"] == "2026-07-01"
    south = date_report("other", "yard/permit-approved", "PLN", "2026-04-01") | {"subject": "south/yard"}
    north_database.record_and_recalculate([south], TODAY)
    line = the_line(milepost("status", "--assume", "yard/permit-approved=2026-06-01"))
    assert line == (
        "milepost: 2 programmes have a milestone of the assumed ones (yard/permit-approved): name one:"
        " no picture is drawn"
    )


@pytest.mark.usefixtures("north_database")
def test_without_a_programme_a_milestone_that_there_is_nowhere_is_named() -> None:
    line = the_line(milepost("status", "--assume", "yard/nothing=2026-06-01"))
    assert line == "milepost: there is no milestone yard/nothing in programme north: no picture is drawn"


def test_what_makes_no_sense_is_refused_in_one_line(north_database: EventDatabase) -> None:
    north_database.record_and_recalculate(
        [
            cancellation("gone", "dock/park-commissioned", time="2026-02-02T00:00:00Z"),
            date_report("done", "quay/production-launched", "ACT", "2026-03-01", time="2026-03-02T00:00:00Z"),
        ],
        TODAY,
    )
    for name, why in {
        "dock/park-commissioned": "dock/park-commissioned is cancelled: it has no date to assume",
        "quay/production-launched": "quay/production-launched was achieved on 2026-03-01: there is nothing to assume",
        "quay/nothing": "there is no milestone quay/nothing in programme north",
    }.items():
        line = the_line(milepost("status", "north", "--assume", f"{name}=2026-06-01"))
        assert line == f"milepost: {why}: no picture is drawn"
    before = milepost("status", "north", "--as-of", "2026-03-01", "--assume", "quay/production-launched=2026-06-01")
    assert before.exit_code == 0, "it was not achieved then"
    twice = ["--assume", "yard/permit-approved=2026-06-01"] * 2
    assert "two dates are assumed of yard/permit-approved" in the_line(milepost("status", "north", *twice))
    many = ["--assume", "yard/permit-approved=2026-06-01"] * 21
    assert "21 dates are assumed, at most 20 can be" in the_line(milepost("status", "north", *many))


NO_ASSUMPTIONS = (
    *("", "yard", "yard/permit-approved", "yard/permit-approved=", "=2026-06-01", "yard/permit-approved=soon"),
    *("yard/permit-approved=2026-02-30", "yard/permit-approved=1989-12-31", "yard/permit-approved=2101-01-01"),
    *("north/yard/permit-approved=2026-06-01", "Yard/permit-approved=2026-06-01", "yard/permit-approved@2026-06-01"),
)


@pytest.mark.usefixtures("north_database")
@pytest.mark.parametrize("text", NO_ASSUMPTIONS)
def test_text_that_is_no_assumption_is_wrong_usage(text: str) -> None:
    result = milepost("status", "north", "--assume", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--assume" in result.stderr
    assert repr(text) in result.stderr or text.partition("=")[2] in result.stderr
    assert "''" not in result.stderr or not text, "a text is repeated as it was given"
