"""*Programme*: status, slips, what waits for what, what is due next."""

from functools import partial
from typing import Final

from deploy.grafana import panels
from deploy.grafana.panels import AT_RANGE_END, ON_SAME_MILESTONE, PROGRAMME_MATCHER, PanelColumn

_PROJECTS_MATCHER: Final = f'{PROGRAMME_MATCHER},project=~"$project"'
_BY_STATE: Final = f"programme:milepost_milestones:count{{{PROGRAMME_MATCHER}}}"
_FORECAST: Final = panels.milestone_series("forecast_timestamp_seconds:max", _PROJECTS_MATCHER)
_SLIP: Final = panels.milestone_series("slip_seconds:max", _PROJECTS_MATCHER)
_OPEN: Final = panels.milestone_series("open:current", _PROJECTS_MATCHER)
_DEPENDENTS: Final = panels.milestone_series("dependents:max", _PROJECTS_MATCHER)
_PROJECT_SLIP: Final = f"project:milepost_milestone_slip_seconds:max{{{_PROJECTS_MATCHER}}}"
_AMOUNT: Final = f"milepost_milestone_amount{{{_PROJECTS_MATCHER}}}"
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


_columns: Final = partial(panels.milestone_columns, _PROJECTS_MATCHER)


_SECTIONS: Final[panels.Sections] = {
    "Status": {
        "Milestones by state": panels.state_counts_panel(
            "Every milestone of the programme, by the first state that applies.", _BY_STATE, width=12
        ),
        "Worst slip": panels.stat_panel(
            "Of open milestones: forecast less baseline, the first plan.",
            f"programme:milepost_milestone_slip_seconds:max{{{PROGRAMME_MATCHER}}} / 86400",
            panels.DAYS_UNIT,
            panels.SLIP_STEPS,
        ),
        "Least float": panels.stat_panel(
            "By how many days a milestone may still move before a planned date is missed; negative: it is.",
            f"programme:milepost_milestone_float_seconds:min{{{PROGRAMME_MATCHER}}} / 86400",
            panels.DAYS_UNIT,
            panels.FLOAT_STEPS,
            no_value="none",
        ),
        "Held up": panels.stat_panel(
            "Milestones that take their forecast from another.",
            f"programme:milepost_milestones_held_up:count{{{PROGRAMME_MATCHER}}}",
            steps=panels.ORANGE_FROM_ONE,
        ),
        "Achieved": panels.stat_panel(
            "Of milestones that are not cancelled.",
            f"programme:milepost_milestones_achieved:ratio{{{PROGRAMME_MATCHER}}}",
            "percentunit",
        ),
    },
    "Gates and waiting milestones": {
        "Gates": panels.table_panel(
            "Open milestones that others wait for, fifty at most. Held up: how many take their date from it,"
            " directly or through others.",
            _columns(_TOP_GATES, "Waiting", "state", "Forecast", "Slip", "Held up"),
            (15, 10),
            "Held up",
            "No open milestone is waited for",
            descending=True,
        ),
        "Slip by project": panels.slip_bars_panel(
            "The worst slip of open milestones in each project, the fifteen latest.",
            {"{{project}}": f"sort_desc(topk(15, {_PROJECT_SLIP} / 86400 > 0))"},
            (9, 10),
            "Nothing slips",
        ),
    },
    "Milestone trend analysis": {
        "Forecast against report date: the twelve gates that hold up the most, and the twelve latest": (
            panels.trend_panel(f"{_FORECAST} {ON_SAME_MILESTONE} {_PLOTTED_GATES_AND_LATEST}", 24, 12)
        )
    },
    "Late, and due next": {
        "Late": panels.table_panel(
            "Open, and forecast after the baseline, the hundred latest; with the milestone that sets"
            " the date, if one does.",
            _columns(_LATEST_OPEN, "Slip", "state", "Baseline", "Forecast", "set by"),
            (14, 12),
            "Slip",
            "Nothing is late",
            descending=True,
        ),
        "The next 30 days": panels.table_panel(
            "Open, and forecast for one of them; what is overdue is forecast for today.",
            _columns(_DUE_SOON, "Forecast", "state", "Float", "Last event"),
            (10, 12),
            "Forecast",
            "Nothing is due",
        ),
    },
    "History": {
        "States of the gates": panels.state_timeline_panel(
            "Of the gates that hold up the most.", f"topk(12, {_RANKED_GATES})", 12, 9
        ),
        "Milestones by state": panels.time_series_panel(
            "Their number over time.", {"{{state}}": _BY_STATE}, width=12, height=9
        ),
    },
    "Alerts": {
        "Alerts": panels.table_panel(
            "Of this programme, firing now. For a gate and the milestones that wait for it, Alertmanager"
            " sends one page.",
            [PanelColumn("severity", f'ALERTS{{{PROGRAMME_MATCHER},alertstate="firing"}}', labels=("severity",))],
            (24, 8),
            "alertname",
            "Nothing",
            ("alertname", "project", "milestone"),
        )
    },
    "Announced": {
        "Investment": panels.stat_panel(
            "Announced for the whole, by currency.",
            {"{{currency}}": f"max by (currency) (milepost_programme_investment{{{PROGRAMME_MATCHER}}})"},
            "short",
            width=6,
            no_value="nothing announced",
        ),
        "Amounts reported": panels.stat_panel(
            "The newest claims' amounts of all milestones together, by currency.",
            {"{{currency}}": f"sum by (currency) (max by (programme, project, milestone, currency) ({_AMOUNT}))"},
            "short",
            width=6,
            no_value="none reported",
        ),
        "Jobs": panels.stat_panel(
            "Announced for the whole.",
            f"max(milepost_programme_jobs{{{PROGRAMME_MATCHER}}})",
            "short",
            width=4,
            no_value="none announced",
        ),
        "Projects": panels.stat_panel(
            "Registered, or named by an event, by kind.",
            {"{{kind}}": f"count by (kind) (max by (project, kind) (milepost_project_info{{{_PROJECTS_MATCHER}}}))"},
            width=5,
        ),
        "Dependencies set aside": panels.stat_panel(
            "Ignored because they would close a cycle; milepost status names them.",
            f"max(milepost_programme_dependencies_set_aside{{{PROGRAMME_MATCHER}}})",
            steps=panels.RED_FROM_ONE,
        ),
    },
}
DASHBOARD: Final = panels.build_dashboard(
    "programme",
    "Status of a programme: what slips, what waits for what, and what is due next.",
    [
        panels.query_variable("programme", "milepost_programme_info"),
        panels.query_variable("project", f"milepost_project_info{{{PROGRAMME_MATCHER}}}", include_all=True),
    ],
    _SECTIONS,
)
