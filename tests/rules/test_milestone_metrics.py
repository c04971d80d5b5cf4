"""What `/metrics/milestones` says, to the letter."""

import os
import shutil
import subprocess
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from models.database.projector import ForecastResult
from models.domain.claims import (
    Claim,
    DependencyClaims,
    DependencyKey,
    Facts,
    MilestoneClaims,
    MilestoneKey,
    ProgrammeClaims,
    ProjectClaims,
    ProjectKey,
    Register,
)
from models.domain.events import Money
from models.domain.schedule import compute_schedule
from models.domain.timestamps import make_stamp, parse_instant
from streams.metrics.exposition import format_labels
from streams.metrics.milestones import MILESTONE_FAMILIES
from streams.metrics.programmes import PROGRAMME_FAMILIES
from streams.metrics.store import MetricsStore, RenderedProgramme

DAY = date(2026, 11, 23)
STAMP = make_stamp(parse_instant("2026-01-02T00:00:00.5Z"), "//office.example", "1")


def claimed(day: str, amount: Money | None = None) -> Claim:
    """Return a claim of a day."""
    return Claim(STAMP, date.fromisoformat(day), amount)


def facts_of(name: str = "Plant", **milestones: MilestoneClaims) -> Facts:
    """Return the facts of one programme with one project."""
    return Facts(
        programmes={"north": ProgrammeClaims(registered=STAMP, name=Register(STAMP, name))},
        projects={ProjectKey("north", "plant"): ProjectClaims(registered=STAMP, name=Register(STAMP, name))},
        milestones={MilestoneKey("north", "plant", slug): milestone for slug, milestone in milestones.items()},
    )


def page_of(facts: Facts, max_series: int = 1000) -> str:
    """Return the whole page of one programme."""
    shelf = MetricsStore(max_series, keep_days=1000)
    show(shelf, facts)
    return b"".join(shelf.iter_families()).decode()


def show(
    shelf: MetricsStore, facts: Facts, name: str = "north", revision: int = 1, day: date = DAY
) -> RenderedProgramme:
    """Draw a programme and put it on a shelf."""
    shown = shelf.render(ForecastResult(name, revision, facts, compute_schedule(facts, day), has_unpublished=False))
    shelf.put(shown)
    return shown


def samples_of(page: str, name: str) -> list[str]:
    """Return the lines of one metric."""
    return [line for line in page.splitlines() if line.startswith(f"{name}{{")]


def test_dates_are_midnights_in_utc_and_absent_when_there_are_none() -> None:
    page = page_of(facts_of(permit=MilestoneClaims(baseline=claimed("2027-01-01"), planned=claimed("2027-01-03"))))
    named = '{programme="north",project="plant",milestone="permit"}'

    assert samples_of(page, "milepost_milestone_baseline_timestamp_seconds") == [
        f"milepost_milestone_baseline_timestamp_seconds{named} 1798761600"
    ]
    assert samples_of(page, "milepost_milestone_forecast_timestamp_seconds") == [
        f"milepost_milestone_forecast_timestamp_seconds{named} 1798934400"
    ]
    assert samples_of(page, "milepost_milestone_actual_timestamp_seconds") == []
    assert samples_of(page, "milepost_milestone_last_event_timestamp_seconds") == [
        f"milepost_milestone_last_event_timestamp_seconds{named} 1767312000.5"
    ]


def test_the_state_set_has_all_seven_states_and_one_of_them_applies() -> None:
    page = page_of(facts_of(permit=MilestoneClaims(actual=claimed("2026-01-02"))))
    states = samples_of(page, "milepost_milestone_state")

    assert len(states) == 7
    assert [line for line in states if line.endswith(" 1")] == [
        'milepost_milestone_state{programme="north",project="plant",milestone="permit",state="achieved"} 1'
    ]


def test_an_amount_carries_its_currency() -> None:
    page = page_of(facts_of(permit=MilestoneClaims(actual=claimed("2026-01-02", Money(1.5e8, "USD")))))

    assert samples_of(page, "milepost_milestone_amount") == [
        'milepost_milestone_amount{programme="north",project="plant",milestone="permit",currency="USD"} 150000000.0'
    ]


def test_the_driver_the_dependents_and_the_float_of_a_milestone_that_waits() -> None:
    facts = facts_of(
        gate=MilestoneClaims(planned=claimed("2027-02-01")), launch=MilestoneClaims(planned=claimed("2027-01-01"))
    )
    waiting = DependencyKey("north", "plant", "launch", "plant", "gate")
    facts.dependencies[waiting] = DependencyClaims(declared=Register(STAMP, 5))
    page = page_of(facts)
    gate, launch = (f'{{programme="north",project="plant",milestone="{slug}"' for slug in ("gate", "launch"))

    assert samples_of(page, "milepost_milestone_driver_info") == [
        f'milepost_milestone_driver_info{launch},driver_project="plant",driver_milestone="gate"}} 1'
    ]
    assert samples_of(page, "milepost_milestone_dependents") == [
        f"milepost_milestone_dependents{gate}}} 1",
        f"milepost_milestone_dependents{launch}}} 0",
    ]
    # Planned for the first of January, forecast for the sixth of February: 36 days too late, and so is the gate.
    assert samples_of(page, "milepost_milestone_float_seconds") == [
        f"milepost_milestone_float_seconds{gate}}} -3110400",
        f"milepost_milestone_float_seconds{launch}}} -3110400",
    ]


def test_dependencies_that_close_a_cycle_are_counted_by_programme() -> None:
    facts = facts_of(gate=MilestoneClaims(planned=claimed("2027-02-01")))
    own = DependencyKey("north", "plant", "gate", "plant", "gate")
    assert samples_of(page_of(facts), "milepost_programme_dependencies_set_aside") == [
        'milepost_programme_dependencies_set_aside{programme="north"} 0'
    ]
    facts.dependencies[own] = DependencyClaims(declared=Register(STAMP, 5))
    assert samples_of(page_of(facts), "milepost_programme_dependencies_set_aside") == [
        'milepost_programme_dependencies_set_aside{programme="north"} 1'
    ]


def test_what_is_not_known_of_a_project_is_an_empty_label() -> None:
    page = page_of(facts_of("Plant 1"))

    assert samples_of(page, "milepost_project_info") == [
        'milepost_project_info{programme="north",project="plant",kind="",site="",name="Plant 1"} 1'
    ]


def test_jobs_beyond_every_float_do_not_break_the_page() -> None:
    facts = facts_of()
    facts.programmes["north"].jobs = Register(STAMP, 10**400)

    assert samples_of(page_of(facts), "milepost_programme_jobs") == ['milepost_programme_jobs{programme="north"} +Inf']


HOSTILE = [
    'quote " backslash \\ newline \n end',
    "<script>alert(1)</script>",
    "\u202eright to left\u202c",
    "nul \x00 escape \x1b[31m delete \x7f",
    "line separators \u2028 and \u2029 and \x85",
    "}\nmilepost_forged{} 1\n# TYPE x gauge",
    "x" * 200,
    "🏗 Ünïcödé",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_inside_their_label(name: str) -> None:
    page = page_of(facts_of(name))
    families = {family.name: family for family in text_string_to_metric_families(page)}

    assert set(families) <= {family.name for family in MILESTONE_FAMILIES} | {
        family.name for family in PROGRAMME_FAMILIES
    }
    [info] = families["milepost_programme_info"].samples
    assert info.labels["programme"] == "north"
    assert info.labels["name"] == cleaned(name)


def cleaned(text: str) -> str:
    """Return a text with replacement characters for what must not reach a terminal, a page or a parser."""
    unfit = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u2028", "\u2029"} - {"\n"}
    return "".join("\N{REPLACEMENT CHARACTER}" if character in unfit else character for character in text)


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_survives_the_page_but_for_control_characters(text: str) -> None:
    line = f"x{{{format_labels(['name'], [text])}}} 1\n"
    [family] = text_string_to_metric_families(line)

    assert len(line.splitlines()) == 1
    assert family.samples[0].labels["name"] == cleaned(text)


@pytest.mark.skipif(
    shutil.which("promtool") is None and os.environ.get("CI") != "true", reason="promtool is not on this machine"
)
def test_prometheus_own_parser_finds_nothing_wrong() -> None:
    facts = facts_of(HOSTILE[0], permit=MilestoneClaims(actual=claimed("2026-01-02", Money(1, "USD"))))
    facts.projects |= {
        ProjectKey("north", f"p{number}"): ProjectClaims(name=Register(STAMP, name))
        for number, name in enumerate(HOSTILE)
    }
    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 - wherever Debian put it
        input=page_of(facts).encode(),
        capture_output=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
