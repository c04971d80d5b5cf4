"""Dashboards and their panels, with the defaults that all of them share."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from string import ascii_uppercase
from typing import Any, Final, NamedTuple, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

AnyPanel = stat.Panel | table.Panel | timeseries.Panel | bargauge.Panel | statetimeline.Panel
_Panel = TypeVar("_Panel", bound=AnyPanel)
#: Panels by their titles, by the headings of their sections
Sections = Mapping[str, Mapping[str, AnyPanel]]
#: An expression, or expressions by the legends of their series
Queries = str | Mapping[str, str]
#: Colours by the value at which they begin
Steps = Mapping[float | None, str]

PROGRAMME_MATCHER: Final = 'programme="$programme"'
#: The Prometheus that is chosen above the dashboard.
DATA_SOURCE: Final = looks.DataSourceRef(type_val="prometheus", uid="${datasource}")
ON_SAME_MILESTONE: Final = "and on (programme, project, milestone)"
#: What a panel shows is chosen as things stand at the end of the time range: a line is drawn whole, or not at all.
AT_RANGE_END: Final = "@ end()"
#: A day, as Grafana writes it from milliseconds.
DAY_UNIT: Final = "time:YYYY-MM-DD"
#: Plain numbers of days; Grafana's own unit of days would turn 42 into six weeks.
DAYS_UNIT: Final = "suffix: d"
RATE_UNIT: Final = "suffix:/s"
#: The states in the order in which they ask for attention, and the colour of each.
STATE_COLOURS: Final = {
    "overdue": "red",
    "blocked": "orange",
    "slipping": "yellow",
    "planned": "blue",
    "achieved": "green",
    "unknown": "purple",
    "cancelled": "text",
}
#: Colours by days late
SLIP_STEPS: Final[Steps] = {None: "green", 1.0: "yellow", 30.0: "red"}
#: Colours by days of float
FLOAT_STEPS: Final[Steps] = {None: "red", 0.0: "yellow", 14.0: "green"}
RED_FROM_ONE: Final[Steps] = {None: "green", 1.0: "red"}
BLUE: Final[Steps] = {None: "blue"}
ORANGE_FROM_ONE: Final[Steps] = {None: "green", 1.0: "orange"}
GREEN_FROM_ONE: Final[Steps] = {None: "red", 1.0: "green"}
#: From a row of a table to its milestone on the gate's dashboard.
GATE_LINK: Final = {
    "title": "This gate",
    "url": "/d/milepost-gate?var-datasource=${datasource}&var-programme=${programme:percentencode}"
    "&var-project=${__data.fields.project:percentencode}&var-milestone=${__data.fields.milestone:percentencode}",
}


class PanelColumn(NamedTuple):
    """A column of a table: the series that give it."""

    title: str
    expr: str
    unit: str = "none"
    #: Labels that become columns in place of the value
    labels: tuple[str, ...] = ()


def milestone_series(name: str, matcher: str) -> str:
    """Return a recorded series of milestones."""
    return f"milestone:milepost_milestone_{name}{{{matcher}}}"


def milestone_columns(matcher: str, milestones: str, *titles: str) -> list[PanelColumn]:
    """Return columns with these titles, of the milestones that an expression selects."""
    series = partial(milestone_series, matcher=matcher)
    columns = (
        PanelColumn("Waiting", series("dependents:max")),
        PanelColumn("state", series("state:current"), labels=("state",)),
        PanelColumn("Baseline", f"1000 * {series('baseline_timestamp_seconds:max')}", DAY_UNIT),
        PanelColumn("Forecast", f"1000 * {series('forecast_timestamp_seconds:max')}", DAY_UNIT),
        PanelColumn("Slip", f"{series('slip_seconds:max')} / 86400", DAYS_UNIT),
        PanelColumn("Float", f"{series('float_seconds:min')} / 86400", DAYS_UNIT),
        PanelColumn("Held up", f"({series('held_up:count')} or 0 * {series('dependents:max')})"),
        PanelColumn("set by", series("driver:info"), labels=("driver_project", "driver_milestone")),
        PanelColumn("Last event", f"1000 * {series('last_event_timestamp_seconds:max')}", DAY_UNIT),
    )
    by_title = {column.title: column for column in columns}
    selection = f"{ON_SAME_MILESTONE} ({milestones})"
    return [by_title[title]._replace(expr=f"{by_title[title].expr} {selection}") for title in titles]


def query_variable(name: str, metric: str, *, include_all: bool = False) -> build.QueryVariable:
    """Return a choice among the values of a label; `metric` may use the variables before it."""
    query = f"label_values({metric}, {name})"
    variable = (
        build.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATA_SOURCE)
        .query({"query": query, "refId": name})
        .definition(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if not include_all:
        return variable
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return variable.multi(multi=True).include_all(include_all=True).all_value(".*").current(everything)


def build_dashboard(
    name: str, description: str, variables: Sequence[build.QueryVariable], sections: Sections
) -> build.Dashboard:
    """Return a dashboard with its panels below the headings of their sections."""
    dashboard = (
        build.Dashboard(f"Milepost: {name}")
        .uid(f"milepost-{name}")
        .description(description)
        .tags(["milepost"])
        .timezone("utc")
        .readonly()
        .refresh("1m")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .link(
            build.DashboardLink("Milepost")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["milepost"])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
    )
    for variable in variables:
        dashboard.with_variable(variable)
    ids = count(1)
    for heading, panels in sections.items():
        dashboard.with_row(build.Row(heading).id(next(ids)))
        for title, panel in panels.items():
            dashboard.with_panel(panel.title(title).id(next(ids)))
    return dashboard


def _complete(  # noqa: PLR0913 - what every panel has
    panel: _Panel,
    description: str,
    queries: Mapping[str, str] | Sequence[str],
    size: tuple[int, int],
    no_value: str,
    query_format: PromQueryFormat = PromQueryFormat.TIME_SERIES,
    *,
    instant: bool = True,
) -> _Panel:
    """Set what every panel has; the queries, called A, B, C…, are of this moment or of the time range."""
    pairs = queries.items() if isinstance(queries, Mapping) else (("__auto", expr) for expr in queries)
    targets = []
    for ref_id, (legend, expr) in zip(ascii_uppercase, pairs, strict=False):
        target = Dataquery().datasource(DATA_SOURCE).ref_id(ref_id).expr(expr).legend_format(legend)
        targets.append(target.format(query_format).instant() if instant else target.format(query_format).range())
    shared: Any = panel  # the kit's panels share methods, but no class
    shared.description(description).datasource(DATA_SOURCE).targets(targets)
    shared.span(size[0]).height(size[1]).no_value(no_value)
    return panel


def _thresholds(steps: Steps) -> build.ThresholdsConfig:
    thresholds = [model.Threshold(value=value, color=colour) for value, colour in steps.items()]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(thresholds)


def value_mappings(texts: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Return how values are displayed: as a text, in a colour."""
    results = {
        value: model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(texts.items())
    }
    return [model.ValueMap(options=results)]


def _fixed_colour(colour: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def _last_value() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def stat_panel(  # noqa: PLR0913 - a panel with all its parts
    description: str, queries: Queries, unit: str = "none", steps: Steps = BLUE, width: int = 3, no_value: str = "0"
) -> stat.Panel:
    """Return large numbers, one for each series."""
    panel = stat.Panel().unit(unit).thresholds(_thresholds(steps)).mappings([]).reduce_options(_last_value())
    panel.graph_mode(looks.BigValueGraphMode.NONE).color_mode(looks.BigValueColorMode.VALUE)
    if not isinstance(queries, str):
        panel.text_mode(looks.BigValueTextMode.VALUE_AND_NAME)
    return _complete(panel, description, [queries] if isinstance(queries, str) else queries, (width, 4), no_value)


def state_counts_panel(description: str, expr: str, width: int) -> stat.Panel:
    """Return how many milestones are in each state, in the states' colours."""
    panel = stat_panel(description, {"{{state}}": expr}, width=width)
    for state, colour in STATE_COLOURS.items():
        panel.override_by_name(state, [_fixed_colour(colour)])
    return panel


def time_series_panel(  # noqa: PLR0913 - a panel with all its parts
    description: str,
    queries: Mapping[str, str],
    unit: str = "none",
    width: int = 8,
    height: int = 8,
    no_value: str = "No data",
) -> timeseries.Panel:
    """Return values over time."""
    legend = common.VizLegendOptions().display_mode(looks.LegendDisplayMode.TABLE).show_legend(show_legend=True)
    panel = (
        timeseries.Panel()
        .unit(unit)
        .fill_opacity(0)
        .show_points(looks.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        .legend(legend.placement(looks.LegendPlacement.RIGHT).calcs(["lastNotNull"]))
    )
    return _complete(panel, description, queries, (width, height), no_value, instant=False)


def trend_panel(forecast_expr: str, width: int, height: int) -> timeseries.Panel:
    """Return a milestone trend analysis of series of forecasts, in seconds."""
    description = (
        "Milestone trend: forecast (upright) against the day on which it was so (across). A level line keeps its date,"
        " a rising one slips, and a milestone is due where its line meets the diagonal."
    )
    # On the diagonal, report date and forecast are the same day.
    queries = {"{{project}}/{{milestone}}": f"1000 * {forecast_expr}", "report date": "1000 * vector(time())"}
    panel = time_series_panel(description, queries, DAY_UNIT, width, height)
    dashed = model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})
    stepped = panel.line_interpolation(looks.LineInterpolation.STEP_AFTER).line_width(2)
    return stepped.override_by_name("report date", [dashed, _fixed_colour("text")])


def slip_bars_panel(
    description: str, queries: Mapping[str, str], size: tuple[int, int], no_value: str
) -> bargauge.Panel:
    """Return days late, a bar for each series."""
    panel = (
        bargauge.Panel()
        .unit(DAYS_UNIT)
        .min(0)
        .thresholds(_thresholds(SLIP_STEPS))
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .reduce_options(_last_value())
    )
    return _complete(panel, description, queries, size, no_value)


def state_timeline_panel(description: str, milestones_expr: str, width: int, height: int) -> statetimeline.Panel:
    """Return the states of milestones over time; the expression selects the milestones."""
    # The state is a label, but a band needs a number: the index of the state.
    numbered = " or ".join(
        f'{index} * milestone:milepost_milestone_state:current{{{PROGRAMME_MATCHER},state="{state}"}}'
        for index, state in enumerate(STATE_COLOURS, 1)
    )
    expr = f"max by (project, milestone) (({numbered}) {ON_SAME_MILESTONE} ({milestones_expr}))"
    mappings = value_mappings({str(index): item for index, item in enumerate(STATE_COLOURS.items(), 1)})
    panel = statetimeline.Panel().mappings(mappings).show_value(looks.VisibilityMode.NEVER)
    panel.merge_values(merge_values=True)
    queries = {"{{project}}/{{milestone}}": expr}
    return _complete(panel, description, queries, (width, height), "Nothing to show", instant=False)


def table_panel(  # noqa: PLR0913 - a panel with all its parts
    description: str,
    columns: Sequence[PanelColumn],
    size: tuple[int, int],
    sort_column: str,
    no_value: str,
    row_labels: tuple[str, ...] = ("project", "milestone"),
    *,
    descending: bool = False,
) -> table.Panel:
    """Return a table with a row for each set of `row_labels`; a milestone links to the gate's dashboard."""
    exprs = [f"max by ({', '.join((*row_labels, *column.labels))}) ({column.expr})" for column in columns]
    names = ["Value"] if len(columns) == 1 else [f"Value #{letter}" for letter in ascii_uppercase[: len(columns)]]
    values = dict(zip(names, columns, strict=True))
    fields = [*row_labels, *(field for name, column in values.items() for field in column.labels or (name,))]
    layout: dict[str, object] = {
        "excludeByName": {"Time": True} | {name: True for name, column in values.items() if column.labels},
        "renameByName": {name: column.title for name, column in values.items() if not column.labels},
        "indexByName": {field: index for index, field in enumerate(fields)},
    }
    panel = (
        table.Panel()
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(model.DataTransformerConfig(id_val="organize", options=layout))
        .sort_by([common.TableSortByFieldState().display_name(sort_column).desc(descending)])
    )
    for column in columns:
        if not column.labels:
            panel.override_by_name(column.title, [model.DynamicConfigValue("unit", column.unit)])
        if column.labels == ("state",):
            texts = {state: (state, colour) for state, colour in STATE_COLOURS.items()}
            cell = model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
            panel.override_by_name("state", [model.DynamicConfigValue("mappings", value_mappings(texts)), cell])
    if "milestone" in row_labels:
        panel.override_by_name("milestone", [model.DynamicConfigValue("links", [GATE_LINK])])
    return _complete(panel, description, exprs, size, no_value, PromQueryFormat.TABLE)
