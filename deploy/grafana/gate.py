"""*Gate*: one milestone, the milestones that it holds up, and their slips."""

from functools import partial
from typing import Final

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana import panels
from deploy.grafana.panels import AT_RANGE_END, ON_SAME_MILESTONE, PROGRAMME_MATCHER, PanelColumn

_GATE_MATCHER: Final = f'{PROGRAMME_MATCHER},project="$project",milestone="$milestone"'
_GATE_SERIES: Final = f"{panels.milestone_series('state:current', _GATE_MATCHER)} {AT_RANGE_END}"
_SITED_PROJECTS: Final = f'milepost_project_info{{{PROGRAMME_MATCHER},site="$project"}}'
_FORECASTS: Final = panels.milestone_series("forecast_timestamp_seconds:max", PROGRAMME_MATCHER)
_SLIPS: Final = panels.milestone_series("slip_seconds:max", PROGRAMME_MATCHER)
#: The milestones that take their forecast from the gate, directly or through any number of others
_HELD_UP_BY_GATE: Final = (
    f"milestone:milepost_milestone_gate:info{{{PROGRAMME_MATCHER},"
    f'gate_project="$project",gate_milestone="$milestone"}} {AT_RANGE_END}'
    f" unless on (programme, project, milestone) {_GATE_SERIES}"
    " or on (programme, project, milestone)"
    f" milestone:milepost_milestone_driver:info{{{PROGRAMME_MATCHER},"
    f'driver_project="$project",driver_milestone="$milestone"}} {AT_RANGE_END}'
)
_HELD_UP_SLIPS: Final = f"{_SLIPS} {AT_RANGE_END} {ON_SAME_MILESTONE} ({_HELD_UP_BY_GATE})"
#: The gate, and as many of those as can be told apart
_PLOTTED_GATE_AND_LATEST: Final = f"(topk(20, {_HELD_UP_SLIPS}) or on (programme, project, milestone) {_GATE_SERIES})"


_series: Final = partial(panels.milestone_series, matcher=_GATE_MATCHER)


def _date_panel(description: str, date_kind: str) -> stat.Panel:
    query = f"1000 * {_series(f'{date_kind}_timestamp_seconds:max')}"
    return panels.stat_panel(description, query, panels.DAY_UNIT, no_value="none")


_SECTIONS: Final[panels.Sections] = {
    "$project/$milestone: status": {
        "State": panels.state_counts_panel("The first that applies today.", _series("state:current"), 3).text_mode(
            BigValueTextMode.NAME
        ),
        "Baseline": _date_panel("The first plan.", "baseline"),
        "Planned": _date_panel("The newest plan.", "planned"),
        "Estimated": _date_panel("The newest estimate.", "estimated"),
        "Forecast": _date_panel("When it is expected, or was achieved.", "forecast"),
        "Slip": panels.stat_panel(
            "Forecast less baseline.",
            f"{_series('slip_seconds:max')} / 86400",
            panels.DAYS_UNIT,
            panels.SLIP_STEPS,
            no_value="none",
        ),
        "Float": panels.stat_panel(
            "By how many days it may still move before a planned date is missed; negative: it is.",
            f"{_series('float_seconds:min')} / 86400",
            panels.DAYS_UNIT,
            panels.FLOAT_STEPS,
            no_value="none",
        ),
        "Last event": _date_panel("The newest claim about it.", "last_event"),
    },
    "Milestones that it holds up": {
        "Waiting": panels.stat_panel(
            "Open milestones that wait for it, directly or through others.", _series("dependents:max"), width=4
        ),
        "Driven": panels.stat_panel(
            "Milestones whose date comes from it.",
            f"count({_HELD_UP_BY_GATE})",
            steps=panels.ORANGE_FROM_ONE,
            width=4,
        ),
        "Driver": panels.table_panel(
            "The milestone that sets its forecast, when one does.",
            [PanelColumn("set by", _series("driver:info"), labels=("driver_project", "driver_milestone"))],
            (8, 4),
            "driver_project",
            "Its own claims",
        ),
        "Sited here": panels.table_panel(
            "Projects that are registered as sited in this one.",
            [PanelColumn("kind", _SITED_PROJECTS, labels=("kind", "name"))],
            (8, 4),
            "project",
            "None",
            ("project",),
        ),
        "Moves": panels.stat_panel(
            "Milestones whose date comes from it, and lies after their baseline; none when it comes on time.",
            f"max(milepost_milestone_moved{{{_GATE_MATCHER}}})",
            steps=panels.ORANGE_FROM_ONE,
            width=4,
        ),
        "Investment held up": panels.stat_panel(
            "Of the projects of the milestones that it moves, its own left out, by currency.",
            {"{{currency}}": f"max by (currency) (milepost_milestone_held_up_investment{{{_GATE_MATCHER}}})"},
            width=12,
        ),
        "Jobs held up": panels.stat_panel(
            "Of the projects of the milestones that it moves, its own left out.",
            f"max(milepost_milestone_held_up_jobs{{{_GATE_MATCHER}}})",
            width=8,
        ),
        "Milestones that take their date from it": panels.table_panel(
            "Directly or through others.",
            panels.milestone_columns(PROGRAMME_MATCHER, _HELD_UP_BY_GATE, "Forecast", "state", "Baseline", "Slip"),
            (14, 10),
            "Forecast",
            "None",
        ),
        "Their slip": panels.slip_bars_panel(
            "The twenty latest.",
            {"{{project}}/{{milestone}}": f"sort_desc(topk(20, {_HELD_UP_SLIPS}) / 86400)"},
            (10, 10),
            "No milestone takes its date from it",
        ),
    },
    "History": {
        "Milestone trend analysis: the gate, and the twenty latest of these": panels.trend_panel(
            f"{_FORECASTS} {ON_SAME_MILESTONE} {_PLOTTED_GATE_AND_LATEST}", 14, 11
        ),
        "States": panels.state_timeline_panel(
            "Of the gate, and of the twenty latest of these.", _PLOTTED_GATE_AND_LATEST, 10, 11
        ),
    },
}
_GATES: Final = panels.milestone_series("dependents:max", PROGRAMME_MATCHER)
_PROJECT_GATES: Final = panels.milestone_series("dependents:max", f'{PROGRAMME_MATCHER},project="$project"')
DASHBOARD: Final = panels.build_dashboard(
    "gate",
    "One milestone: its status, the milestones that it holds up, and its history.",
    [
        panels.query_variable("programme", "milepost_programme_info"),
        panels.query_variable("project", _GATES),
        panels.query_variable("milestone", _PROJECT_GATES),
    ],
    _SECTIONS,
)
