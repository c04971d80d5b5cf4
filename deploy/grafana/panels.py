"""Panels of each kind, with the defaults of all dashboards."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.queries import DATA_SOURCE, PanelQuery, build_query_targets

#: A day, as Grafana writes it from milliseconds.
DAY_UNIT: Final = "time:YYYY-MM-DD"
#: Numbers of days as such; Grafana's own unit of days would make six weeks of 42.
DAYS_UNIT: Final = "suffix: d"
#: So many a second, whatever they are.
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
#: Days late, and the colours from there on.
SLIP_THRESHOLDS: Final = ((None, "green"), (1.0, "yellow"), (30.0, "red"))


def _thresholds(thresholds: Iterable[tuple[float | None, str]]) -> build.ThresholdsConfig:
    found = [model.Threshold(value=value, color=colour) for value, colour in thresholds]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def value_mappings(shown_as: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Return how values are shown: as a text, in a colour."""
    results = {
        value: model.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(shown_as.items())
    }
    return [model.ValueMap(options=results)]


def _fixed_colour(colour: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def stat_panel(  # noqa: PLR0913 - a panel with all its parts
    title: str,
    description: str,
    queries: Sequence[PanelQuery],
    *,
    width: int,
    unit: str = "none",
    thresholds: Iterable[tuple[float | None, str]] = ((None, "blue"),),
    mappings: list[model.ValueMapping] | None = None,
    no_value: str = "0",
) -> stat.Panel:
    """Return large numbers, one a series; `empty` is what stands there without any."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .targets(list(build_query_targets(queries, instant=True)))
        .height(4)
        .span(width)
        .unit(unit)
        .thresholds(_thresholds(thresholds))
        .mappings(mappings or [])
        .no_value(no_value)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel.text_mode(looks.BigValueTextMode.VALUE_AND_NAME) if queries[0].legend else panel


def state_counts_panel(title: str, description: str, query: PanelQuery, *, width: int) -> stat.Panel:
    """Return how many milestones are in each state, in the states' colours."""
    panel = stat_panel(title, description, [query], width=width)
    for state, colour in STATE_COLOURS.items():
        panel = panel.override_by_name(state, [_fixed_colour(colour)])
    return panel


def time_series_panel(  # noqa: PLR0913 - a panel with all its parts
    title: str,
    description: str,
    queries: Sequence[PanelQuery],
    *,
    width: int,
    unit: str = "none",
    height: int = 8,
    no_value: str = "No data",
) -> timeseries.Panel:
    """Return values over time."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .targets(list(build_query_targets(queries, instant=False)))
        .height(height)
        .span(width)
        .unit(unit)
        .no_value(no_value)
        .fill_opacity(0)
        .show_points(looks.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.TABLE)
            .placement(looks.LegendPlacement.RIGHT)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull"])
        )
    )


#: The line on which report date and forecast are the same day.
REPORT_DATE_QUERY: Final = PanelQuery("1000 * vector(time())", "report date")


def trend_panel(title: str, forecast_expr: str, *, width: int, height: int = 11) -> timeseries.Panel:
    """Return a milestone trend analysis. Takes the series of the forecasts, in seconds."""
    meaning = (
        "Milestone trend: forecast (upright) against the day on which it was so (across). A level line keeps its date,"
        " a rising one slips, and a milestone is due where its line meets the diagonal."
    )
    panel = time_series_panel(
        title,
        meaning,
        [PanelQuery(f"1000 * {forecast_expr}", "{{project}}/{{milestone}}"), REPORT_DATE_QUERY],
        width=width,
        unit=DAY_UNIT,
        height=height,
    )
    dashed = model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})
    stepped = panel.line_interpolation(looks.LineInterpolation.STEP_AFTER).line_width(2)
    return stepped.override_by_name(REPORT_DATE_QUERY.legend, [dashed, _fixed_colour("text")])


def slip_bars_panel(  # noqa: PLR0913 - a panel with all its parts
    title: str, description: str, query: PanelQuery, *, width: int, height: int, no_value: str
) -> bargauge.Panel:
    """Return days late, a bar each."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .targets(list(build_query_targets([query], instant=True)))
        .height(height)
        .span(width)
        .unit(DAYS_UNIT)
        .min(0)
        .thresholds(_thresholds(SLIP_THRESHOLDS))
        .no_value(no_value)
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def state_timeline_panel(
    title: str, description: str, milestones_expr: str, *, width: int, height: int
) -> statetimeline.Panel:
    """Return in which state milestones were, over time. Takes what is to be shown, as series by milestone."""
    # A state is a label; a band wants a number: its place among the states.
    numbered = " or ".join(
        f'{place} * milestone:milepost_milestone_state:current{{programme="$programme",state="{state}"}}'
        for place, state in enumerate(STATE_COLOURS, 1)
    )
    expr = f"max by (project, milestone) (({numbered}) and on (programme, project, milestone) ({milestones_expr}))"
    shown = {str(place): (state, colour) for place, (state, colour) in enumerate(STATE_COLOURS.items(), 1)}
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .targets(list(build_query_targets([PanelQuery(expr, "{{project}}/{{milestone}}")], instant=False)))
        .height(height)
        .span(width)
        .mappings(value_mappings(shown))
        .no_value("Nothing to show")
        .show_value(looks.VisibilityMode.NEVER)
        .merge_values(merge_values=True)
    )
