"""*Programme*: how it stands, what slips, who waits for whom, what comes next."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.page import fill, page, variable
from deploy.grafana.panels import DAY_UNIT, DAYS_UNIT, SLIP_STEPS, bands, bars, lines, number, states, trend
from deploy.grafana.queries import Ask
from deploy.grafana.tables import Column, rows

_ITS: Final = 'programme="$programme"'
_SHOWN: Final = f'{_ITS},project=~"$project"'
_FORECAST: Final = f"milestone:milepost_milestone_forecast_timestamp_seconds:max{{{_SHOWN}}}"
_BASELINE: Final = f"milestone:milepost_milestone_baseline_timestamp_seconds:max{{{_SHOWN}}}"
_SLIP: Final = f"milestone:milepost_milestone_slip_seconds:max{{{_SHOWN}}}"
_FLOAT: Final = f"milestone:milepost_milestone_float_seconds:min{{{_SHOWN}}}"
_STATE: Final = f"milestone:milepost_milestone_state:current{{{_SHOWN}}}"
_OPEN: Final = f"milestone:milepost_milestone_open:current{{{_SHOWN}}}"
_WAITING: Final = f"milestone:milepost_milestone_dependents:max{{{_SHOWN}}}"
_HELD_UP: Final = f"milestone:milepost_milestone_held_up:count{{{_SHOWN}}}"
_DRIVER: Final = f"milestone:milepost_milestone_driver:info{{{_SHOWN}}}"
_LAST: Final = f"milestone:milepost_milestone_last_event_timestamp_seconds:max{{{_SHOWN}}}"

_SAME: Final = "and on (programme, project, milestone)"
#: What is shown is chosen as things stand at the end of the time shown: a line is drawn whole, or not at all.
_END: Final = "@ end()"
#: Open milestones that others wait for, ranked by how many they hold up, then by how many wait.
_RANKED: Final = (
    f"((1000 * {_HELD_UP} {_END} or 0 * {_WAITING} {_END})"
    f" + on (programme, project, milestone) ({_WAITING} {_END} {_SAME} {_OPEN} {_END})) > 0"
)
_GATES: Final = f"topk(50, {_RANKED})"
_LATE: Final = f"topk(100, {_SLIP} {_END} > 0 {_SAME} {_OPEN} {_END})"
_SOON: Final = f"{_FORECAST} < time() + 30 * 86400 {_SAME} {_OPEN}"
#: More lines than these nobody tells apart.
_DRAWN: Final = f"(topk(12, {_RANKED}) or on (programme, project, milestone) topk(12, {_LATE}))"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    empty = page(
        "milepost-programme",
        "Milepost: programme",
        "How a programme stands, what slips, who waits for whom, and what comes next.",
        [
            variable("programme", "Programme", "milepost_programme_info"),
            variable("project", "Project", f"milepost_project_info{{{_ITS}}}", every=True),
        ],
    )
    return fill(
        empty,
        {
            "How it stands": [
                states(
                    "Milestones by state",
                    "Every milestone of the programme, by the first state that applies.",
                    Ask(f"programme:milepost_milestones:count{{{_ITS}}}", "{{state}}"),
                    width=12,
                ),
                number(
                    "Worst slip",
                    "Of what is open: forecast less baseline, the first plan.",
                    [Ask(f"programme:milepost_milestone_slip_seconds:max{{{_ITS}}} / 86400")],
                    width=3,
                    unit=DAYS_UNIT,
                    steps=SLIP_STEPS,
                ),
                number(
                    "Least float",
                    "By how many days something may still move before a planned date is missed; negative: it has.",
                    [Ask(f"programme:milepost_milestone_float_seconds:min{{{_ITS}}} / 86400")],
                    width=3,
                    unit=DAYS_UNIT,
                    steps=((None, "red"), (0.0, "yellow"), (14.0, "green")),
                    empty="none",
                ),
                number(
                    "Held up",
                    "Milestones that have their forecast from another.",
                    [Ask(f"programme:milepost_milestones_held_up:count{{{_ITS}}}")],
                    width=3,
                    steps=((None, "green"), (1.0, "orange")),
                ),
                number(
                    "Achieved",
                    "Of what was not cancelled.",
                    [Ask(f"programme:milepost_milestones_achieved:ratio{{{_ITS}}}")],
                    width=3,
                    unit="percentunit",
                ),
            ],
            "Gates, and who waits": [
                rows(
                    "Gates",
                    "Open milestones that others wait for, fifty at most. Held up: how many have their date from it,"
                    " through however many others.",
                    [
                        Column("Waiting", f"{_WAITING} {_SAME} ({_GATES})"),
                        Column("state", f"{_STATE} {_SAME} ({_GATES})", labels=("state",)),
                        Column("Forecast", f"1000 * {_FORECAST} {_SAME} ({_GATES})", DAY_UNIT),
                        Column("Slip", f"{_SLIP} / 86400 {_SAME} ({_GATES})", DAYS_UNIT),
                        Column("Held up", f"({_HELD_UP} or 0 * {_WAITING}) {_SAME} ({_GATES})"),
                    ],
                    width=15,
                    height=10,
                    sort="Held up",
                    down=True,
                    empty="Nothing open is waited for",
                ),
                bars(
                    "Slip by project",
                    "The worst slip of what is open in each project, the fifteen latest.",
                    Ask(
                        f"sort_desc(topk(15, project:milepost_milestone_slip_seconds:max{{{_SHOWN}}} / 86400 > 0))",
                        "{{project}}",
                    ),
                    width=9,
                    height=10,
                    empty="Nothing slips",
                ),
            ],
            "Milestone trend analysis": [
                trend(
                    "Forecast against report date: the twelve gates that hold up the most, and the twelve latest",
                    f"{_FORECAST} {_SAME} {_DRAWN}",
                    width=24,
                    height=12,
                ),
            ],
            "What is late, and what comes next": [
                rows(
                    "Late",
                    "Open, and forecast after the baseline, the hundred latest; with the milestone that sets"
                    " the date, if one does.",
                    [
                        Column("Slip", f"{_SLIP} / 86400 {_SAME} ({_LATE})", DAYS_UNIT),
                        Column("state", f"{_STATE} {_SAME} ({_LATE})", labels=("state",)),
                        Column("Baseline", f"1000 * {_BASELINE} {_SAME} ({_LATE})", DAY_UNIT),
                        Column("Forecast", f"1000 * {_FORECAST} {_SAME} ({_LATE})", DAY_UNIT),
                        Column("set by", f"{_DRIVER} {_SAME} ({_LATE})", labels=("driver_project", "driver_milestone")),
                    ],
                    width=14,
                    height=12,
                    sort="Slip",
                    down=True,
                    empty="Nothing is late",
                ),
                rows(
                    "The next 30 days",
                    "Open, and forecast for one of them; what is overdue is forecast for today.",
                    [
                        Column("Forecast", f"1000 * {_FORECAST} {_SAME} ({_SOON})", DAY_UNIT),
                        Column("state", f"{_STATE} {_SAME} ({_SOON})", labels=("state",)),
                        Column("Float", f"{_FLOAT} / 86400 {_SAME} ({_SOON})", DAYS_UNIT),
                        Column("Last heard of", f"1000 * {_LAST} {_SAME} ({_SOON})", DAY_UNIT),
                    ],
                    width=10,
                    height=12,
                    sort="Forecast",
                    down=False,
                    empty="Nothing is forecast for them",
                ),
            ],
            "How it came here": [
                bands(
                    "States of the gates", "Of those that hold up the most.", f"topk(12, {_RANKED})", width=12, height=9
                ),
                lines(
                    "Milestones by state",
                    "How many there were.",
                    [Ask(f"programme:milepost_milestones:count{{{_ITS}}}", "{{state}}")],
                    width=12,
                    height=9,
                ),
            ],
            "What fires": [
                rows(
                    "Alerts",
                    "Of this programme, firing now. A gate and who waits for it are one page all the same: Alertmanager"
                    " sends the gate's.",
                    [
                        Column(
                            "severity",
                            f'ALERTS{{{_ITS},alertstate="firing"}}',
                            labels=("severity",),
                        )
                    ],
                    width=24,
                    height=8,
                    by=("alertname", "project", "milestone"),
                    sort="alertname",
                    down=False,
                    empty="Nothing",
                ),
            ],
            "What was announced": [
                number(
                    "Investment",
                    "Announced for the whole, by currency.",
                    [Ask(f"max by (currency) (milepost_programme_investment{{{_ITS}}})", "{{currency}}")],
                    width=6,
                    unit="short",
                    empty="nothing announced",
                ),
                number(
                    "Amounts reported",
                    "The newest claims' amounts of all milestones together, by currency.",
                    [
                        Ask(
                            "sum by (currency) (max by (programme, project, milestone, currency)"
                            f" (milepost_milestone_amount{{{_SHOWN}}}))",
                            "{{currency}}",
                        )
                    ],
                    width=6,
                    unit="short",
                    empty="none reported",
                ),
                number(
                    "Jobs",
                    "Announced for the whole.",
                    [Ask(f"max(milepost_programme_jobs{{{_ITS}}})")],
                    width=4,
                    unit="short",
                    empty="none announced",
                ),
                number(
                    "Projects",
                    "Registered, or named by an event, by kind.",
                    [Ask(f"count by (kind) (max by (project, kind) (milepost_project_info{{{_SHOWN}}}))", "{{kind}}")],
                    width=5,
                ),
                number(
                    "Dependencies set aside",
                    "Left out because they would close a cycle; milepost status names them.",
                    [Ask(f"max(milepost_programme_dependencies_set_aside{{{_ITS}}})")],
                    width=3,
                    steps=((None, "green"), (1.0, "red")),
                ),
            ],
        },
    )
