"""The rows of `milepost status`: which, in which order, under which names."""

import json
from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deploy.cli.status import print_status
from models.database.engine import DatabaseError, make_engine
from models.database.ledger import DecodedRecord
from models.database.migrate import migrate
from models.database.positions import OffsetRange
from models.database.recorder import Batch, Recorder
from models.domain.cloudevents import decode
from models.views.queries import MilestoneQuery, QueryError, parse_as_of, parse_day, parse_milestone_name
from models.views.status import StatusRow, describe_cycle, read_status, status_to_json
from tests.helpers.event_generators import random_events, structured_record
from tests.helpers.impact_oracle import ExpectedImpact, expected_impacts
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    MILESTONE_CANCELLED,
    MILESTONE_REPORTED,
    PROJECT_REGISTERED,
    JsonEvent,
    expected_milestones,
    in_order_of_rows,
)

TODAY = date(2026, 3, 10)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path / 'milepost.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


def keep(engine: Engine, events: Sequence[JsonEvent]) -> None:
    records = [structured_record(event) for event in events]
    entries = [DecodedRecord("t", 0, at, 0, *record, decode(*record)) for at, record in enumerate(records)]
    store = Recorder(engine)
    store.resolve_start_offsets("t", {0: (0, len(entries))})
    store.record(Batch([OffsetRange("t", 0, 0, len(entries))], entries), lambda _: None)


def event_json(called: str, subject: str, time: str = "2026-01-01T12:00:00Z", **data: object) -> JsonEvent:
    kind = DEPENDENCY_DECLARED if "after" in data else MILESTONE_REPORTED if "milestone" in data else PROJECT_REGISTERED
    named = {"specversion": "1.0", "id": called, "source": "office", "type": kind, "subject": subject, "time": time}
    return {**named, "data": data}


def report(called: str, subject: str, milestone: str, classifier: str, day: str, **more: str) -> JsonEvent:
    return event_json(called, subject, milestone=milestone, classifier=classifier, date=day, **more)


def rows_of(engine: Engine, question: MilestoneQuery) -> Sequence[StatusRow]:
    return read_status(engine, question).rows


def test_json_has_the_contracts_keys_in_the_contracts_order(engine: Engine) -> None:
    keep(
        engine,
        [
            report("1", "north/wharf", "permit-approved", "PLN", "2026-06-01"),
            report("2", "north/wharf", "permit-approved", "EST", "2026-06-08", name="Building permit"),
            event_json("3", "north/wharf", milestone="x", after={"project": "wharf", "milestone": "permit-approved"}),
        ],
    )
    first, second = json.loads(status_to_json(rows_of(engine, MilestoneQuery(TODAY))))
    assert list(first.items()) == [
        ("programme", "north"),
        ("project", "wharf"),
        ("milestone", "permit-approved"),
        ("name", "Building permit"),
        ("baseline", "2026-06-01"),
        ("planned", "2026-06-01"),
        ("estimated", "2026-06-08"),
        ("actual", None),
        ("forecast", "2026-06-08"),
        ("slip_days", 7),
        ("float_days", -7),
        ("state", "slipping"),
        ("driver", None),
        ("revision", 1),
        ("dependents", 1),
        # Who waits has no baseline.
        ("moved", 0),
        ("held_up", {"projects": 0, "investment": {}, "jobs": 0}),
    ]
    assert list(second) == list(first)


def test_no_rows_are_an_empty_list() -> None:
    assert json.loads(status_to_json([])) == []


def test_milestones_of_one_day_stand_in_the_catalogues_order_and_the_unknown_behind_them(engine: Engine) -> None:
    slugs = ["zoning", "permit-approved", "production-launched", "agreement-signed", "a-party"]
    events = [report(slug, "north/a", slug, "PLN", "2026-06-01") for slug in slugs]
    keep(engine, [report("first", "south/b", "zoning", "PLN", "2026-06-01"), *events])
    found = [(row.programme, row.project, row.milestone) for row in rows_of(engine, MilestoneQuery(TODAY))]
    assert found == [
        ("north", "a", "agreement-signed"),
        ("north", "a", "permit-approved"),
        ("north", "a", "production-launched"),
        ("north", "a", "a-party"),
        ("north", "a", "zoning"),
        ("south", "b", "zoning"),
    ]


def test_rows_stand_by_programme_then_project_in_natural_order_then_date_and_name(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [
        report("1", "north/lot-10", "x", "PLN", "2026-01-01"),
        report("2", "north/lot-2", "production-launched", "PLN", "2026-06-01"),
        # By the baseline, whatever was said since.
        report("3", "north/lot-2", "permit-approved", "PLN", "2026-06-02"),
        event_json(
            "4", "north/lot-2", "2026-02-01T00:00:00Z", milestone="permit-approved", classifier="PLN", date="2026-05-01"
        ),
        report("5", "north/lot-2", "hall-10", "EST", "2026-06-01"),
        report("6", "north/lot-2", "hall-9", "ACT", "2026-01-01"),
        report("7", "north/lot-2", "hall-010", "EST", "2026-06-01"),
        event_json("8", "north/lot-2", milestone="waits", after={"project": "lot-10", "milestone": "x"}),
        event_json(
            "9", "north/lot-2", milestone="after-nothing", after={"project": "lot-02", "milestone": "unheard-of"}
        ),
        report("10", "area-9/a", "x", "PLN", "2027-01-01"),
        report("11", "area-10/a", "x", "PLN", "2026-01-01"),
    ]
    keep(engine, events)
    found = read_status(engine, MilestoneQuery(TODAY))
    expected = [
        "area-9/a/x",
        "area-10/a/x",
        "north/lot-02/unheard-of",
        "north/lot-2/hall-9",
        "north/lot-2/waits",
        "north/lot-2/production-launched",
        "north/lot-2/hall-010",
        "north/lot-2/hall-10",
        "north/lot-2/permit-approved",
        "north/lot-2/after-nothing",
        "north/lot-10/x",
    ]
    assert [f"{row.programme}/{row.project}/{row.milestone}" for row in found.rows] == expected
    assert [row["milestone"] for row in json.loads(status_to_json(found.rows))] == [
        name.rpartition("/")[2] for name in expected
    ]
    print_status(found, is_terminal=False)
    assert ["/".join(line.split()[:3]) for line in capsys.readouterr().out.splitlines()[1:]] == expected


def test_a_cancelled_milestone_shows_its_claims_and_has_no_forecast(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    cancelled = event_json("4", "north/wharf", "2026-02-01T00:00:00Z", milestone="site-leased")
    keep(
        engine,
        [
            report("1", "north/wharf", "site-leased", "PLN", "2026-01-01"),
            report("2", "north/wharf", "site-leased", "EST", "2026-01-02"),
            report("3", "north/wharf", "site-leased", "ACT", "2026-01-02"),
            {**cancelled, "type": MILESTONE_CANCELLED},
        ],
    )
    found = read_status(engine, MilestoneQuery(TODAY))
    [row] = json.loads(status_to_json(found.rows))
    assert [row[name] for name in ("baseline", "planned", "estimated", "actual")] == [
        "2026-01-01",
        "2026-01-01",
        "2026-01-02",
        "2026-01-02",
    ]
    assert [row[name] for name in ("forecast", "slip_days", "float_days", "driver", "state")] == [
        *[None] * 4,
        "cancelled",
    ]
    print_status(found, is_terminal=False)
    [line] = capsys.readouterr().out.splitlines()[1:]
    dates = ["2026-01-01", "2026-01-01", "2026-01-02", "2026-01-02"]
    assert line.split()[3:] == [*dates, "-", "-", "-", "cancelled", "-"]


def test_status_agrees_with_the_independent_reading_now_and_for_any_past(engine: Engine) -> None:
    events = random_events(5, 600, with_dependencies=True)
    keep(engine, events)
    for as_of in (None, "2025-12-31T23:59:59Z"):
        rows = rows_of(engine, MilestoneQuery(TODAY, as_of=None if as_of is None else parse_as_of(as_of)))
        shown = json.loads(status_to_json(rows), parse_float=Fraction, parse_int=Fraction)
        impacts = expected_impacts(events, TODAY, as_of)
        for row in shown:
            del row["revision"]
            held_up = row.pop("held_up")
            found = ExpectedImpact(row.pop("dependents"), row.pop("moved"), **held_up)
            assert found == impacts[row["programme"], row["project"], row["milestone"]]
        assert shown == in_order_of_rows(expected_milestones(events, TODAY, as_of))


def test_a_programme_and_a_project_can_be_asked_for_alone(engine: Engine) -> None:
    subjects = ("north/a", "north/b", "south/a")
    keep(engine, [report(subject, subject, "x", "PLN", "2026-06-01") for subject in subjects])

    def names_of(programme: str | None = None, project: str | None = None) -> list[str]:
        rows = rows_of(engine, MilestoneQuery(TODAY, programme, project))
        return [f"{row.programme}/{row.project}" for row in rows]

    assert names_of() == list(subjects)
    assert names_of("north") == ["north/a", "north/b"]
    assert names_of("north", "b") == ["north/b"]
    assert names_of(project="a") == ["north/a", "south/a"]


def test_what_nobody_named_is_reported_in_one_line_but_a_project_without_milestones_is_none_of_that(
    engine: Engine,
) -> None:
    keep(engine, [event_json("1", "north/wharf", name="Wharf")])
    assert rows_of(engine, MilestoneQuery(TODAY, "north", "wharf")) == []
    for question, told in (
        (MilestoneQuery(TODAY, "west"), "no programme 'west'"),
        (MilestoneQuery(TODAY, "north", "quay"), "no project 'quay' in programme 'north'"),
        (MilestoneQuery(TODAY, None, "quay"), "no project 'quay' in any programme"),
        (
            MilestoneQuery(TODAY, "north", None, parse_as_of("2025-12-31")),
            "no programme 'north' as of 2025-12-31T23:59:59Z",
        ),
    ):
        with pytest.raises(QueryError, match=told) as raised:
            read_status(engine, question)
        assert "\n" not in str(raised.value)


def test_a_database_without_tables_is_reported_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="run `milepost init`"):
        read_status(make_engine(f"sqlite:///{tmp_path / 'empty.db'}"), MilestoneQuery(TODAY))


def test_a_bare_day_means_its_end_in_utc_whatever_fraction_a_claim_has(engine: Engine) -> None:
    last, next_ = "2026-01-01T23:59:59.99999999999999999Z", "2026-01-02T00:00:00Z"
    keep(
        engine,
        [
            event_json("1", "north/a", last, milestone="x", classifier="PLN", date="2026-06-01"),
            event_json("2", "north/a", next_, milestone="x", classifier="PLN", date="2026-07-01"),
        ],
    )
    [row] = rows_of(engine, MilestoneQuery(TODAY, as_of=parse_as_of("2026-01-01")))
    assert row.planned == date(2026, 6, 1)
    assert parse_as_of("2026-01-01T12:00:00+05:00") == "2026-01-01T07:00:00"


@pytest.mark.parametrize("text", ["", "2026-1-1", "20260101", "2026-13-01", "2026-02-30", "today", "2026-W01-1"])
def test_a_day_is_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError, match=f"^not a .*{text!r}$"):
        parse_day(text)
    with pytest.raises(ValueError, match=f"^not a.*{text!r}$"):
        parse_as_of(text)


def test_a_pipe_gets_one_line_a_milestone_with_a_word_in_every_column(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(
        engine,
        [
            report("1", "north/wharf", "permit-approved", "PLN", "2026-06-01"),
            report("2", "north/wharf", "permit-approved", "EST", "2026-06-08"),
            report("3", "north/wharf", "site-leased", "ACT", "2026-01-01"),
        ],
    )
    print_status(read_status(engine, MilestoneQuery(TODAY)), is_terminal=False)
    header, *lines = capsys.readouterr().out.splitlines()
    names = "programme project milestone baseline planned estimated actual forecast slip float state driver"
    assert header.split() == names.split()
    words = (
        "north wharf site-leased - - - 2026-01-01 2026-01-01 - - achieved -",
        "north wharf permit-approved 2026-06-01 2026-06-01 2026-06-08 - 2026-06-08 +7 -7 slipping -",
    )
    assert [line.split() for line in lines] == [line.split() for line in words]
    assert lines[1].index("2026-06-08") == header.index("estimated")


def test_a_dependency_that_closes_a_cycle_is_reported_at_either_end(engine: Engine) -> None:
    waits = {"milestone": "permit-approved", "after": {"project": "dock", "milestone": "site-leased"}}
    closes = {"milestone": "site-leased", "after": {"project": "quay", "milestone": "permit-approved"}}
    keep(
        engine,
        [
            event_json("1", "north/dock", "2026-01-01T12:00:00Z", **closes),
            event_json("2", "north/quay", "2026-01-02T12:00:00Z", **waits),
            event_json(
                "3", "south/quay", "2026-01-02T12:00:00Z", milestone="x", after={"project": "quay", "milestone": "x"}
            ),
            report("4", "north/yard", "site-leased", "PLN", "2026-06-01"),
        ],
    )
    north = (
        "north/quay/permit-approved does not wait for north/dock/site-leased: that would close a cycle, "
        "so the dependency is set aside"
    )
    south = "south/quay/x does not wait for south/quay/x: that would close a cycle, so the dependency is set aside"

    def lines_of(programme: str | None = None, project: str | None = None) -> list[str]:
        return list(map(describe_cycle, read_status(engine, MilestoneQuery(TODAY, programme, project)).cyclic))

    assert lines_of() == [north, south]
    assert (
        lines_of("north")
        == lines_of("north", "quay")
        == lines_of("north", "dock")
        == lines_of(project="dock")
        == [north]
    )
    assert lines_of("south") == [south]
    assert lines_of("north", "yard") == []


def test_a_milestones_name_has_three_parts() -> None:
    assert parse_milestone_name("north/quay/permit-approved") == ("north", "quay", "permit-approved")
    for text in ("", "north", "north/quay", "north/quay/x/y", "North/quay/x", "north//x", "north/quay/x\n", "n/q/-"):
        with pytest.raises(QueryError, match="use PROGRAMME/PROJECT/MILESTONE") as raised:
            parse_milestone_name(text)
        assert "\n" not in str(raised.value)


def test_a_row_is_what_the_contract_names() -> None:
    impact, assumed = ("dependents", "moved", "held_up"), ("forecast_as_said", "assumed")
    named = (
        "programme project milestone name baseline planned estimated actual forecast slip_days float_days state driver"
    )
    assert StatusRow.__struct_fields__ == (*named.split(), "revision", *impact, *assumed)
