"""*Gate*: one milestone, whom it holds up, and by how much they moved."""

from typing import Final

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana.page import fill, page, variable
from deploy.grafana.panels import DAY_UNIT, DAYS_UNIT, SLIP_STEPS, bands, bars, number, states, trend
from deploy.grafana.queries import Ask
from deploy.grafana.tables import Column, rows

_ITS: Final = 'programme="$programme"'
_GATE: Final = f'{_ITS},project="$project",milestone="$milestone"'
_SAME: Final = "and on (programme, project, milestone)"
#: What is shown is chosen as things stand at the end of the time shown: a line is drawn whole, or not at all.
_END: Final = "@ end()"
_ITSELF: Final = f"milestone:milepost_milestone_state:current{{{_GATE}}} {_END}"
#: What has its forecast from the gate, through however many others, or from it directly.
_WAITS: Final = (
    f'(milestone:milepost_milestone_gate:info{{{_ITS},gate_project="$project",gate_milestone="$milestone"}} {_END}'
    f" unless on (programme, project, milestone) {_ITSELF}"
    " or on (programme, project, milestone)"
    f' milestone:milepost_milestone_driver:info{{{_ITS},driver_project="$project",driver_milestone="$milestone"}}'
    f" {_END})"
)
_SLIPS: Final = f"milestone:milepost_milestone_slip_seconds:max{{{_ITS}}} {_END} {_SAME} {_WAITS}"
#: The gate, and as many of those as anybody tells apart.
_DRAWN: Final = f"(topk(20, {_SLIPS}) or on (programme, project, milestone) {_ITSELF})"


def _of(series: str, selector: str = _GATE) -> str:
    return f"milestone:milepost_milestone_{series}{{{selector}}}"


def _day(title: str, description: str, column: str) -> stat.Panel:
    ask = Ask(f"1000 * {_of(f'{column}_timestamp_seconds:max')}")
    return number(title, description, [ask], width=3, unit=DAY_UNIT, empty="none")


def _waiting(series: str, selector: str = _ITS) -> str:
    return f"{_of(series, selector)} {_SAME} {_WAITS}"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    empty = page(
        "milepost-gate",
        "Milepost: gate",
        "One milestone: how it stands, whom it holds up, and how it came here.",
        [
            variable("programme", "Programme", "milepost_programme_info"),
            variable("project", "Project", _of("dependents:max", _ITS)),
            variable("milestone", "Milestone", _of("dependents:max", f'{_ITS},project="$project"')),
        ],
    )
    return fill(
        empty,
        {
            "$project/$milestone: how it stands": [
                states(
                    "State", "The first that applies today.", Ask(_of("state:current"), "{{state}}"), width=3
                ).text_mode(BigValueTextMode.NAME),
                _day("Baseline", "The first plan.", "baseline"),
                _day("Planned", "The newest plan.", "planned"),
                _day("Estimated", "The newest estimate.", "estimated"),
                _day("Forecast", "When it is expected, or was achieved.", "forecast"),
                number(
                    "Slip",
                    "Forecast less baseline.",
                    [Ask(f"{_of('slip_seconds:max')} / 86400")],
                    width=3,
                    unit=DAYS_UNIT,
                    steps=SLIP_STEPS,
                    empty="none",
                ),
                number(
                    "Float",
                    "By how many days it may still move before a planned date is missed; negative: it has.",
                    [Ask(f"{_of('float_seconds:min')} / 86400")],
                    width=3,
                    unit=DAYS_UNIT,
                    steps=((None, "red"), (0.0, "yellow"), (14.0, "green")),
                    empty="none",
                ),
                _day("Last heard of", "The newest claim about it.", "last_event"),
            ],
            "Whom it holds up": [
                number(
                    "Waiting",
                    "Open milestones that wait for it, directly or through others.",
                    [Ask(_of("dependents:max"))],
                    width=4,
                ),
                number(
                    "Held up",
                    "Milestones whose date comes from it.",
                    [Ask(f"count({_WAITS})")],
                    width=4,
                    steps=((None, "green"), (1.0, "orange")),
                ),
                rows(
                    "Its own date is set by",
                    "The milestone that sets its forecast, when one does.",
                    [Column("set by", _of("driver:info"), labels=("driver_project", "driver_milestone"))],
                    width=8,
                    height=4,
                    sort="driver_project",
                    down=False,
                    empty="Nothing but what was said of it",
                ),
                rows(
                    "Sited here",
                    "Projects that are registered as sited in this one.",
                    [Column("kind", f'milepost_project_info{{{_ITS},site="$project"}}', labels=("kind", "name"))],
                    width=8,
                    height=4,
                    by=("project",),
                    sort="project",
                    down=False,
                    empty="None",
                ),
                rows(
                    "Who has a date from it",
                    "Through however many others.",
                    [
                        Column("Forecast", f"1000 * {_waiting('forecast_timestamp_seconds:max')}", DAY_UNIT),
                        Column("state", _waiting("state:current"), labels=("state",)),
                        Column("Baseline", f"1000 * {_waiting('baseline_timestamp_seconds:max')}", DAY_UNIT),
                        Column("Slip", f"{_of('slip_seconds:max', _ITS)} / 86400 {_SAME} {_WAITS}", DAYS_UNIT),
                    ],
                    width=14,
                    height=10,
                    sort="Forecast",
                    down=False,
                    empty="Nobody",
                ),
                bars(
                    "Slip of those",
                    "The twenty latest.",
                    Ask(
                        f"sort_desc(topk(20, {_SLIPS}) / 86400)",
                        "{{project}}/{{milestone}}",
                    ),
                    width=10,
                    height=10,
                    empty="Nobody has a date from it",
                ),
            ],
            "How it came here": [
                trend(
                    "Milestone trend analysis: the gate, and the twenty latest of those",
                    f"{_of('forecast_timestamp_seconds:max', _ITS)} {_SAME} {_DRAWN}",
                    width=14,
                ),
                bands("States", "Of the gate, and of the twenty latest of those.", _DRAWN, width=10, height=11),
            ],
        },
    )
