"""*Programme*: status, slips, what waits for what, what is due next."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana import panels
from deploy.grafana.panels import AT_RANGE_END, ON_SAME_MILESTONE, PanelColumn, PanelQuery

_PROGRAMME_MATCHER: Final = 'programme="$programme"'
_PROJECTS_MATCHER: Final = f'{_PROGRAMME_MATCHER},project=~"$project"'
_BY_STATE: Final = PanelQuery(f"programme:milepost_milestones:count{{{_PROGRAMME_MATCHER}}}", "{{state}}")
_FORECAST: Final = panels.milestone_series("forecast_timestamp_seconds:max", _PROJECTS_MATCHER)
_SLIP: Final = panels.milestone_series("slip_seconds:max", _PROJECTS_MATCHER)
_OPEN: Final = panels.milestone_series("open:current", _PROJECTS_MATCHER)
_DEPENDENTS: Final = panels.milestone_series("dependents:max", _PROJECTS_MATCHER)
_HELD_UP: Final = panels.milestone_series("held_up:count", _PROJECTS_MATCHER)

#: Open milestones that others wait for, ranked by how many they hold up, then by how many wait.
_RANKED_GATES: Final = (
    f"((1000 * {_HELD_UP} {AT_RANGE_END} or 0 * {_DEPENDENTS} {AT_RANGE_END})"
    f" + on (programme, project, milestone) ({_DEPENDENTS} {AT_RANGE_END} {ON_SAME_MILESTONE}"
    f" {_OPEN} {AT_RANGE_END})) > 0"
)
_TOP_GATES: Final = f"topk(50, {_RANKED_GATES})"
_LATEST_OPEN: Final = f"topk(100, {_SLIP} {AT_RANGE_END} > 0 {ON_SAME_MILESTONE} {_OPEN} {AT_RANGE_END})"
_DUE_SOON: Final = f"{_FORECAST} < time() + 30 * 86400 {ON_SAME_MILESTONE} {_OPEN}"
#: As many lines as can be told apart
_PLOTTED_GATES_AND_LATEST: Final = (
    f"(topk(12, {_RANKED_GATES}) or on (programme, project, milestone) topk(12, {_LATEST_OPEN}))"
)


def _columns(milestones: str, *titles: str) -> list[PanelColumn]:
    return panels.milestone_columns(_PROJECTS_MATCHER, milestones, *titles)


_SECTIONS: Final[panels.Sections] = {
    "Status": [
        panels.state_counts_panel(
            "Milestones by state",
            "Every milestone of the programme, by the first state that applies.",
            _BY_STATE,
            width=12,
        ),
        panels.stat_panel(
            "Worst slip",
            "Of open milestones: forecast less baseline, the first plan.",
            f"programme:milepost_milestone_slip_seconds:max{{{_PROGRAMME_MATCHER}}} / 86400",
            unit=panels.DAYS_UNIT,
            thresholds=panels.SLIP_THRESHOLDS,
        ),
        panels.stat_panel(
            "Least float",
            "By how many days a milestone may still move before a planned date is missed; negative: it is.",
            f"programme:milepost_milestone_float_seconds:min{{{_PROGRAMME_MATCHER}}} / 86400",
            unit=panels.DAYS_UNIT,
            thresholds=panels.FLOAT_THRESHOLDS,
            no_value="none",
        ),
        panels.stat_panel(
            "Held up",
            "Milestones that take their forecast from another.",
            f"programme:milepost_milestones_held_up:count{{{_PROGRAMME_MATCHER}}}",
            thresholds=((None, "green"), (1.0, "orange")),
        ),
        panels.stat_panel(
            "Achieved",
            "Of milestones that are not cancelled.",
            f"programme:milepost_milestones_achieved:ratio{{{_PROGRAMME_MATCHER}}}",
            unit="percentunit",
        ),
    ],
    "Gates and waiting milestones": [
        panels.table_panel(
            "Gates",
            "Open milestones that others wait for, fifty at most. Held up: how many take their date from it,"
            " directly or through others.",
            _columns(_TOP_GATES, "Waiting", "state", "Forecast", "Slip", "Held up"),
            width=15,
            height=10,
            sort_column="Held up",
            descending=True,
            no_value="No open milestone is waited for",
        ),
        panels.slip_bars_panel(
            "Slip by project",
            "The worst slip of open milestones in each project, the fifteen latest.",
            PanelQuery(
                f"sort_desc(topk(15, project:milepost_milestone_slip_seconds:max{{{_PROJECTS_MATCHER}}} / 86400 > 0))",
                "{{project}}",
            ),
            width=9,
            height=10,
            no_value="Nothing slips",
        ),
    ],
    "Milestone trend analysis": [
        panels.trend_panel(
            "Forecast against report date: the twelve gates that hold up the most, and the twelve latest",
            f"{_FORECAST} {ON_SAME_MILESTONE} {_PLOTTED_GATES_AND_LATEST}",
            width=24,
            height=12,
        )
    ],
    "Late, and due next": [
        panels.table_panel(
            "Late",
            "Open, and forecast after the baseline, the hundred latest; with the milestone that sets"
            " the date, if one does.",
            _columns(_LATEST_OPEN, "Slip", "state", "Baseline", "Forecast", "set by"),
            width=14,
            height=12,
            sort_column="Slip",
            descending=True,
            no_value="Nothing is late",
        ),
        panels.table_panel(
            "The next 30 days",
            "Open, and forecast for one of them; what is overdue is forecast for today.",
            _columns(_DUE_SOON, "Forecast", "state", "Float", "Last event"),
            width=10,
            height=12,
            sort_column="Forecast",
            no_value="Nothing is due",
        ),
    ],
    "History": [
        panels.state_timeline_panel(
            "States of the gates",
            "Of the gates that hold up the most.",
            f"topk(12, {_RANKED_GATES})",
            width=12,
            height=9,
        ),
        panels.time_series_panel("Milestones by state", "Their number over time.", [_BY_STATE], width=12, height=9),
    ],
    "Alerts": [
        panels.table_panel(
            "Alerts",
            "Of this programme, firing now. For a gate and the milestones that wait for it, Alertmanager"
            " sends one page.",
            [PanelColumn("severity", f'ALERTS{{{_PROGRAMME_MATCHER},alertstate="firing"}}', labels=("severity",))],
            width=24,
            height=8,
            row_labels=("alertname", "project", "milestone"),
            sort_column="alertname",
            no_value="Nothing",
        )
    ],
    "Announced": [
        panels.stat_panel(
            "Investment",
            "Announced for the whole, by currency.",
            [PanelQuery(f"max by (currency) (milepost_programme_investment{{{_PROGRAMME_MATCHER}}})", "{{currency}}")],
            width=6,
            unit="short",
            no_value="nothing announced",
        ),
        panels.stat_panel(
            "Amounts reported",
            "The newest claims' amounts of all milestones together, by currency.",
            [
                PanelQuery(
                    "sum by (currency) (max by (programme, project, milestone, currency)"
                    f" (milepost_milestone_amount{{{_PROJECTS_MATCHER}}}))",
                    "{{currency}}",
                )
            ],
            width=6,
            unit="short",
            no_value="none reported",
        ),
        panels.stat_panel(
            "Jobs",
            "Announced for the whole.",
            f"max(milepost_programme_jobs{{{_PROGRAMME_MATCHER}}})",
            width=4,
            unit="short",
            no_value="none announced",
        ),
        panels.stat_panel(
            "Projects",
            "Registered, or named by an event, by kind.",
            [
                PanelQuery(
                    f"count by (kind) (max by (project, kind) (milepost_project_info{{{_PROJECTS_MATCHER}}}))",
                    "{{kind}}",
                )
            ],
            width=5,
        ),
        panels.stat_panel(
            "Dependencies set aside",
            "Ignored because they would close a cycle; milepost status names them.",
            f"max(milepost_programme_dependencies_set_aside{{{_PROGRAMME_MATCHER}}})",
            thresholds=((None, "green"), (1.0, "red")),
        ),
    ],
}


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return panels.build_dashboard(
        "milepost-programme",
        "Milepost: programme",
        "Status of a programme: what slips, what waits for what, and what is due next.",
        [
            panels.query_variable("programme", "Programme", "milepost_programme_info"),
            panels.query_variable(
                "project", "Project", f"milepost_project_info{{{_PROGRAMME_MATCHER}}}", include_all=True
            ),
        ],
        _SECTIONS,
    )
