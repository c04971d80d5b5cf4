"""*Gate*: one milestone, whom it holds up, and by how much they moved."""

from typing import Final

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana import panels
from deploy.grafana.panels import PanelColumn, PanelQuery

_PROGRAMME_MATCHER: Final = 'programme="$programme"'
_GATE_MATCHER: Final = f'{_PROGRAMME_MATCHER},project="$project",milestone="$milestone"'
_ON_SAME_MILESTONE: Final = "and on (programme, project, milestone)"
#: What is shown is chosen as things stand at the end of the time shown: a line is drawn whole, or not at all.
_AT_RANGE_END: Final = "@ end()"
_GATE_SERIES: Final = f"milestone:milepost_milestone_state:current{{{_GATE_MATCHER}}} {_AT_RANGE_END}"
#: What has its forecast from the gate, through however many others, or from it directly.
_HELD_UP_BY_GATE: Final = (
    f"(milestone:milepost_milestone_gate:info{{{_PROGRAMME_MATCHER},"
    f'gate_project="$project",gate_milestone="$milestone"}} {_AT_RANGE_END}'
    f" unless on (programme, project, milestone) {_GATE_SERIES}"
    " or on (programme, project, milestone)"
    f" milestone:milepost_milestone_driver:info{{{_PROGRAMME_MATCHER},"
    f'driver_project="$project",driver_milestone="$milestone"}}'
    f" {_AT_RANGE_END})"
)
_HELD_UP_SLIPS: Final = (
    f"milestone:milepost_milestone_slip_seconds:max{{{_PROGRAMME_MATCHER}}} {_AT_RANGE_END}"
    f" {_ON_SAME_MILESTONE} {_HELD_UP_BY_GATE}"
)
#: The gate, and as many of those as anybody tells apart.
_PLOTTED_GATE_AND_LATEST: Final = f"(topk(20, {_HELD_UP_SLIPS}) or on (programme, project, milestone) {_GATE_SERIES})"


def _milestone_series(series: str, matcher: str = _GATE_MATCHER) -> str:
    return f"milestone:milepost_milestone_{series}{{{matcher}}}"


def _date_panel(title: str, description: str, date_kind: str) -> stat.Panel:
    ask = PanelQuery(f"1000 * {_milestone_series(f'{date_kind}_timestamp_seconds:max')}")
    return panels.stat_panel(title, description, [ask], width=3, unit=panels.DAY_UNIT, no_value="none")


def _held_up_series(series: str, matcher: str = _PROGRAMME_MATCHER) -> str:
    return f"{_milestone_series(series, matcher)} {_ON_SAME_MILESTONE} {_HELD_UP_BY_GATE}"


_SECTIONS: Final[panels.Sections] = {
    "$project/$milestone: how it stands": [
        panels.state_counts_panel(
            "State",
            "The first that applies today.",
            PanelQuery(_milestone_series("state:current"), "{{state}}"),
            width=3,
        ).text_mode(BigValueTextMode.NAME),
        _date_panel("Baseline", "The first plan.", "baseline"),
        _date_panel("Planned", "The newest plan.", "planned"),
        _date_panel("Estimated", "The newest estimate.", "estimated"),
        _date_panel("Forecast", "When it is expected, or was achieved.", "forecast"),
        panels.stat_panel(
            "Slip",
            "Forecast less baseline.",
            f"{_milestone_series('slip_seconds:max')} / 86400",
            width=3,
            unit=panels.DAYS_UNIT,
            thresholds=panels.SLIP_THRESHOLDS,
            no_value="none",
        ),
        panels.stat_panel(
            "Float",
            "By how many days it may still move before a planned date is missed; negative: it has.",
            f"{_milestone_series('float_seconds:min')} / 86400",
            width=3,
            unit=panels.DAYS_UNIT,
            thresholds=panels.FLOAT_THRESHOLDS,
            no_value="none",
        ),
        _date_panel("Last heard of", "The newest claim about it.", "last_event"),
    ],
    "Whom it holds up": [
        panels.stat_panel(
            "Waiting",
            "Open milestones that wait for it, directly or through others.",
            [PanelQuery(_milestone_series("dependents:max"))],
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
            "Its own date is set by",
            "The milestone that sets its forecast, when one does.",
            [PanelColumn("set by", _milestone_series("driver:info"), labels=("driver_project", "driver_milestone"))],
            width=8,
            height=4,
            sort_column="driver_project",
            no_value="Nothing but what was said of it",
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
            "Who has a date from it",
            "Through however many others.",
            [
                PanelColumn("Forecast", f"1000 * {_held_up_series('forecast_timestamp_seconds:max')}", panels.DAY_UNIT),
                PanelColumn("state", _held_up_series("state:current"), labels=("state",)),
                PanelColumn("Baseline", f"1000 * {_held_up_series('baseline_timestamp_seconds:max')}", panels.DAY_UNIT),
                PanelColumn(
                    "Slip",
                    f"{_milestone_series('slip_seconds:max', _PROGRAMME_MATCHER)} / 86400 {_ON_SAME_MILESTONE}"
                    f" {_HELD_UP_BY_GATE}",
                    panels.DAYS_UNIT,
                ),
            ],
            width=14,
            height=10,
            sort_column="Forecast",
            no_value="Nobody",
        ),
        panels.slip_bars_panel(
            "Slip of those",
            "The twenty latest.",
            PanelQuery(f"sort_desc(topk(20, {_HELD_UP_SLIPS}) / 86400)", "{{project}}/{{milestone}}"),
            width=10,
            height=10,
            no_value="Nobody has a date from it",
        ),
    ],
    "How it came here": [
        panels.trend_panel(
            "Milestone trend analysis: the gate, and the twenty latest of those",
            f"{_milestone_series('forecast_timestamp_seconds:max', _PROGRAMME_MATCHER)}"
            f" {_ON_SAME_MILESTONE} {_PLOTTED_GATE_AND_LATEST}",
            width=14,
        ),
        panels.state_timeline_panel(
            "States", "Of the gate, and of the twenty latest of those.", _PLOTTED_GATE_AND_LATEST, width=10, height=11
        ),
    ],
}


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return panels.build_dashboard(
        "milepost-gate",
        "Milepost: gate",
        "One milestone: how it stands, whom it holds up, and how it came here.",
        [
            panels.query_variable("programme", "Programme", "milepost_programme_info"),
            panels.query_variable("project", "Project", _milestone_series("dependents:max", _PROGRAMME_MATCHER)),
            panels.query_variable(
                "milestone",
                "Milestone",
                _milestone_series("dependents:max", f'{_PROGRAMME_MATCHER},project="$project"'),
            ),
        ],
        _SECTIONS,
    )
