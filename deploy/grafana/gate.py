"""*Gate*: one milestone, the milestones that it holds up, and their slips."""

from typing import Final

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana import panels
from deploy.grafana.panels import AT_RANGE_END, ON_SAME_MILESTONE, PanelColumn, PanelQuery

_PROGRAMME_MATCHER: Final = 'programme="$programme"'
_GATE_MATCHER: Final = f'{_PROGRAMME_MATCHER},project="$project",milestone="$milestone"'
_GATE_SERIES: Final = f"{panels.milestone_series('state:current', _GATE_MATCHER)} {AT_RANGE_END}"
_SLIPS: Final = panels.milestone_series("slip_seconds:max", _PROGRAMME_MATCHER)
#: The milestones that take their forecast from the gate, directly or through any number of others
_HELD_UP_BY_GATE: Final = (
    f"milestone:milepost_milestone_gate:info{{{_PROGRAMME_MATCHER},"
    f'gate_project="$project",gate_milestone="$milestone"}} {AT_RANGE_END}'
    f" unless on (programme, project, milestone) {_GATE_SERIES}"
    " or on (programme, project, milestone)"
    f" milestone:milepost_milestone_driver:info{{{_PROGRAMME_MATCHER},"
    f'driver_project="$project",driver_milestone="$milestone"}} {AT_RANGE_END}'
)
_HELD_UP_SLIPS: Final = f"{_SLIPS} {AT_RANGE_END} {ON_SAME_MILESTONE} ({_HELD_UP_BY_GATE})"
#: The gate, and as many of those as can be told apart
_PLOTTED_GATE_AND_LATEST: Final = f"(topk(20, {_HELD_UP_SLIPS}) or on (programme, project, milestone) {_GATE_SERIES})"


def _series(name: str) -> str:
    return panels.milestone_series(name, _GATE_MATCHER)


def _date_panel(title: str, description: str, date_kind: str) -> stat.Panel:
    query = f"1000 * {_series(f'{date_kind}_timestamp_seconds:max')}"
    return panels.stat_panel(title, description, query, unit=panels.DAY_UNIT, no_value="none")


_SECTIONS: Final[panels.Sections] = {
    "$project/$milestone: status": [
        panels.state_counts_panel(
            "State", "The first that applies today.", PanelQuery(_series("state:current"), "{{state}}"), width=3
        ).text_mode(BigValueTextMode.NAME),
        _date_panel("Baseline", "The first plan.", "baseline"),
        _date_panel("Planned", "The newest plan.", "planned"),
        _date_panel("Estimated", "The newest estimate.", "estimated"),
        _date_panel("Forecast", "When it is expected, or was achieved.", "forecast"),
        panels.stat_panel(
            "Slip",
            "Forecast less baseline.",
            f"{_series('slip_seconds:max')} / 86400",
            unit=panels.DAYS_UNIT,
            thresholds=panels.SLIP_THRESHOLDS,
            no_value="none",
        ),
        panels.stat_panel(
            "Float",
            "By how many days it may still move before a planned date is missed; negative: it is.",
            f"{_series('float_seconds:min')} / 86400",
            unit=panels.DAYS_UNIT,
            thresholds=panels.FLOAT_THRESHOLDS,
            no_value="none",
        ),
        _date_panel("Last event", "The newest claim about it.", "last_event"),
    ],
    "Milestones that it holds up": [
        panels.stat_panel(
            "Waiting",
            "Open milestones that wait for it, directly or through others.",
            _series("dependents:max"),
            width=4,
        ),
        panels.stat_panel(
            "Held up",
            "Milestones whose date comes from it.",
            f"count({_HELD_UP_BY_GATE})",
            width=4,
            thresholds=((None, "green"), (1.0, "orange")),
        ),
        panels.table_panel(
            "Driver",
            "The milestone that sets its forecast, when one does.",
            [PanelColumn("set by", _series("driver:info"), labels=("driver_project", "driver_milestone"))],
            width=8,
            height=4,
            sort_column="driver_project",
            no_value="Its own claims",
        ),
        panels.table_panel(
            "Sited here",
            "Projects that are registered as sited in this one.",
            [
                PanelColumn(
                    "kind", f'milepost_project_info{{{_PROGRAMME_MATCHER},site="$project"}}', labels=("kind", "name")
                )
            ],
            width=8,
            height=4,
            row_labels=("project",),
            sort_column="project",
            no_value="None",
        ),
        panels.table_panel(
            "Milestones that take their date from it",
            "Directly or through others.",
            panels.milestone_columns(_PROGRAMME_MATCHER, _HELD_UP_BY_GATE, "Forecast", "state", "Baseline", "Slip"),
            width=14,
            height=10,
            sort_column="Forecast",
            no_value="None",
        ),
        panels.slip_bars_panel(
            "Their slip",
            "The twenty latest.",
            PanelQuery(f"sort_desc(topk(20, {_HELD_UP_SLIPS}) / 86400)", "{{project}}/{{milestone}}"),
            width=10,
            height=10,
            no_value="No milestone takes its date from it",
        ),
    ],
    "History": [
        panels.trend_panel(
            "Milestone trend analysis: the gate, and the twenty latest of these",
            f"{panels.milestone_series('forecast_timestamp_seconds:max', _PROGRAMME_MATCHER)}"
            f" {ON_SAME_MILESTONE} {_PLOTTED_GATE_AND_LATEST}",
            width=14,
        ),
        panels.state_timeline_panel(
            "States", "Of the gate, and of the twenty latest of these.", _PLOTTED_GATE_AND_LATEST, width=10, height=11
        ),
    ],
}


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return panels.build_dashboard(
        "milepost-gate",
        "Milepost: gate",
        "One milestone: its status, the milestones that it holds up, and its history.",
        [
            panels.query_variable("programme", "Programme", "milepost_programme_info"),
            panels.query_variable("project", "Project", panels.milestone_series("dependents:max", _PROGRAMME_MATCHER)),
            panels.query_variable(
                "milestone",
                "Milestone",
                panels.milestone_series("dependents:max", f'{_PROGRAMME_MATCHER},project="$project"'),
            ),
        ],
        _SECTIONS,
    )
