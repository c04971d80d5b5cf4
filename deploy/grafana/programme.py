"""*Programme*: how it stands, what slips, who waits for whom, what comes next."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana import panels
from deploy.grafana.panels import PanelColumn, PanelQuery

_PROGRAMME_MATCHER: Final = 'programme="$programme"'
_PROJECTS_MATCHER: Final = f'{_PROGRAMME_MATCHER},project=~"$project"'
_FORECAST: Final = f"milestone:milepost_milestone_forecast_timestamp_seconds:max{{{_PROJECTS_MATCHER}}}"
_BASELINE: Final = f"milestone:milepost_milestone_baseline_timestamp_seconds:max{{{_PROJECTS_MATCHER}}}"
_SLIP: Final = f"milestone:milepost_milestone_slip_seconds:max{{{_PROJECTS_MATCHER}}}"
_FLOAT: Final = f"milestone:milepost_milestone_float_seconds:min{{{_PROJECTS_MATCHER}}}"
_STATE: Final = f"milestone:milepost_milestone_state:current{{{_PROJECTS_MATCHER}}}"
_OPEN: Final = f"milestone:milepost_milestone_open:current{{{_PROJECTS_MATCHER}}}"
_DEPENDENTS: Final = f"milestone:milepost_milestone_dependents:max{{{_PROJECTS_MATCHER}}}"
_HELD_UP: Final = f"milestone:milepost_milestone_held_up:count{{{_PROJECTS_MATCHER}}}"
_DRIVER: Final = f"milestone:milepost_milestone_driver:info{{{_PROJECTS_MATCHER}}}"
_LAST_EVENT: Final = f"milestone:milepost_milestone_last_event_timestamp_seconds:max{{{_PROJECTS_MATCHER}}}"

_ON_SAME_MILESTONE: Final = "and on (programme, project, milestone)"
#: What is shown is chosen as things stand at the end of the time shown: a line is drawn whole, or not at all.
_AT_RANGE_END: Final = "@ end()"
#: Open milestones that others wait for, ranked by how many they hold up, then by how many wait.
_RANKED_GATES: Final = (
    f"((1000 * {_HELD_UP} {_AT_RANGE_END} or 0 * {_DEPENDENTS} {_AT_RANGE_END})"
    f" + on (programme, project, milestone) ({_DEPENDENTS} {_AT_RANGE_END} {_ON_SAME_MILESTONE}"
    f" {_OPEN} {_AT_RANGE_END})) > 0"
)
_TOP_GATES: Final = f"topk(50, {_RANKED_GATES})"
_LATEST_OPEN: Final = f"topk(100, {_SLIP} {_AT_RANGE_END} > 0 {_ON_SAME_MILESTONE} {_OPEN} {_AT_RANGE_END})"
_DUE_SOON: Final = f"{_FORECAST} < time() + 30 * 86400 {_ON_SAME_MILESTONE} {_OPEN}"
#: More lines than these nobody tells apart.
_PLOTTED_GATES_AND_LATEST: Final = (
    f"(topk(12, {_RANKED_GATES}) or on (programme, project, milestone) topk(12, {_LATEST_OPEN}))"
)


#: The columns of tables of milestones
_COLUMNS: Final = (
    PanelColumn("Waiting", _DEPENDENTS),
    PanelColumn("state", _STATE, labels=("state",)),
    PanelColumn("Baseline", f"1000 * {_BASELINE}", panels.DAY_UNIT),
    PanelColumn("Forecast", f"1000 * {_FORECAST}", panels.DAY_UNIT),
    PanelColumn("Slip", f"{_SLIP} / 86400", panels.DAYS_UNIT),
    PanelColumn("Float", f"{_FLOAT} / 86400", panels.DAYS_UNIT),
    PanelColumn("Held up", f"({_HELD_UP} or 0 * {_DEPENDENTS})"),
    PanelColumn("set by", _DRIVER, labels=("driver_project", "driver_milestone")),
    PanelColumn("Last event", f"1000 * {_LAST_EVENT}", panels.DAY_UNIT),
)


def _columns(milestones: str, *titles: str) -> list[PanelColumn]:
    """Return columns with these titles, of the milestones that an expression selects."""
    columns = {column.title: column for column in _COLUMNS}
    return [
        columns[title]._replace(expr=f"{columns[title].expr} {_ON_SAME_MILESTONE} ({milestones})") for title in titles
    ]


_SECTIONS: Final[panels.Sections] = {
    "How it stands": [
        panels.state_counts_panel(
            "Milestones by state",
            "Every milestone of the programme, by the first state that applies.",
            PanelQuery(f"programme:milepost_milestones:count{{{_PROGRAMME_MATCHER}}}", "{{state}}"),
            width=12,
        ),
        panels.stat_panel(
            "Worst slip",
            "Of what is open: forecast less baseline, the first plan.",
            f"programme:milepost_milestone_slip_seconds:max{{{_PROGRAMME_MATCHER}}} / 86400",
            width=3,
            unit=panels.DAYS_UNIT,
            thresholds=panels.SLIP_THRESHOLDS,
        ),
        panels.stat_panel(
            "Least float",
            "By how many days something may still move before a planned date is missed; negative: it has.",
            f"programme:milepost_milestone_float_seconds:min{{{_PROGRAMME_MATCHER}}} / 86400",
            width=3,
            unit=panels.DAYS_UNIT,
            thresholds=panels.FLOAT_THRESHOLDS,
            no_value="none",
        ),
        panels.stat_panel(
            "Held up",
            "Milestones that have their forecast from another.",
            f"programme:milepost_milestones_held_up:count{{{_PROGRAMME_MATCHER}}}",
            width=3,
            thresholds=((None, "green"), (1.0, "orange")),
        ),
        panels.stat_panel(
            "Achieved",
            "Of what was not cancelled.",
            f"programme:milepost_milestones_achieved:ratio{{{_PROGRAMME_MATCHER}}}",
            width=3,
            unit="percentunit",
        ),
    ],
    "Gates, and who waits": [
        panels.table_panel(
            "Gates",
            "Open milestones that others wait for, fifty at most. Held up: how many have their date from it,"
            " through however many others.",
            _columns(_TOP_GATES, "Waiting", "state", "Forecast", "Slip", "Held up"),
            width=15,
            height=10,
            sort_column="Held up",
            descending=True,
            no_value="Nothing open is waited for",
        ),
        panels.slip_bars_panel(
            "Slip by project",
            "The worst slip of what is open in each project, the fifteen latest.",
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
            f"{_FORECAST} {_ON_SAME_MILESTONE} {_PLOTTED_GATES_AND_LATEST}",
            width=24,
            height=12,
        )
    ],
    "What is late, and what comes next": [
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
            no_value="Nothing is forecast for them",
        ),
    ],
    "How it came here": [
        panels.state_timeline_panel(
            "States of the gates", "Of those that hold up the most.", f"topk(12, {_RANKED_GATES})", width=12, height=9
        ),
        panels.time_series_panel(
            "Milestones by state",
            "How many there were.",
            [PanelQuery(f"programme:milepost_milestones:count{{{_PROGRAMME_MATCHER}}}", "{{state}}")],
            width=12,
            height=9,
        ),
    ],
    "What fires": [
        panels.table_panel(
            "Alerts",
            "Of this programme, firing now. A gate and who waits for it are one page all the same: Alertmanager"
            " sends the gate's.",
            [PanelColumn("severity", f'ALERTS{{{_PROGRAMME_MATCHER},alertstate="firing"}}', labels=("severity",))],
            width=24,
            height=8,
            row_labels=("alertname", "project", "milestone"),
            sort_column="alertname",
            no_value="Nothing",
        )
    ],
    "What was announced": [
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
            "Left out because they would close a cycle; milepost status names them.",
            f"max(milepost_programme_dependencies_set_aside{{{_PROGRAMME_MATCHER}}})",
            width=3,
            thresholds=((None, "green"), (1.0, "red")),
        ),
    ],
}


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return panels.build_dashboard(
        "milepost-programme",
        "Milepost: programme",
        "How a programme stands, what slips, who waits for whom, and what comes next.",
        [
            panels.query_variable("programme", "Programme", "milepost_programme_info"),
            panels.query_variable(
                "project", "Project", f"milepost_project_info{{{_PROGRAMME_MATCHER}}}", include_all=True
            ),
        ],
        _SECTIONS,
    )
