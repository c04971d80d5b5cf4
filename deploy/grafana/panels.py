"""Panels of each kind, with the defaults of all dashboards."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.queries import SOURCE, Ask, queries

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
SLIP_STEPS: Final = ((None, "green"), (1.0, "yellow"), (30.0, "red"))


def _thresholds(steps: Iterable[tuple[float | None, str]]) -> build.ThresholdsConfig:
    found = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def mapped(values: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Return how values are shown: as a text, in a colour."""
    results = {
        value: model.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(values.items())
    }
    return [model.ValueMap(options=results)]


def _fixed(colour: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def number(  # noqa: PLR0913 - a panel with all its parts
    title: str,
    description: str,
    asks: Sequence[Ask],
    *,
    width: int,
    unit: str = "none",
    steps: Iterable[tuple[float | None, str]] = ((None, "blue"),),
    mappings: list[model.ValueMapping] | None = None,
    empty: str = "0",
) -> stat.Panel:
    """Return large numbers, one a series; `empty` is what stands there without any."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(list(queries(asks, instant=True)))
        .height(4)
        .span(width)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .mappings(mappings or [])
        .no_value(empty)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel.text_mode(looks.BigValueTextMode.VALUE_AND_NAME) if asks[0].legend else panel


def states(title: str, description: str, ask: Ask, *, width: int) -> stat.Panel:
    """Return how many milestones are in each state, in the states' colours."""
    panel = number(title, description, [ask], width=width)
    for state, colour in STATE_COLOURS.items():
        panel = panel.override_by_name(state, [_fixed(colour)])
    return panel


def lines(  # noqa: PLR0913 - a panel with all its parts
    title: str,
    description: str,
    asks: Sequence[Ask],
    *,
    width: int,
    unit: str = "none",
    height: int = 8,
    empty: str = "No data",
) -> timeseries.Panel:
    """Return values over time."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(list(queries(asks, instant=False)))
        .height(height)
        .span(width)
        .unit(unit)
        .no_value(empty)
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
TODAY: Final = Ask("1000 * vector(time())", "report date")


def trend(title: str, forecasts: str, *, width: int, height: int = 11) -> timeseries.Panel:
    """Return a milestone trend analysis. Takes the series of the forecasts, in seconds."""
    meaning = (
        "Milestone trend: forecast (upright) against the day on which it was so (across). A level line keeps its date,"
        " a rising one slips, and a milestone is due where its line meets the diagonal."
    )
    panel = lines(
        title,
        meaning,
        [Ask(f"1000 * {forecasts}", "{{project}}/{{milestone}}"), TODAY],
        width=width,
        unit=DAY_UNIT,
        height=height,
    )
    dashed = model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})
    stepped = panel.line_interpolation(looks.LineInterpolation.STEP_AFTER).line_width(2)
    return stepped.override_by_name(TODAY.legend, [dashed, _fixed("text")])


def bars(  # noqa: PLR0913 - a panel with all its parts
    title: str, description: str, ask: Ask, *, width: int, height: int, empty: str
) -> bargauge.Panel:
    """Return days late, a bar each."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(list(queries([ask], instant=True)))
        .height(height)
        .span(width)
        .unit(DAYS_UNIT)
        .min(0)
        .thresholds(_thresholds(SLIP_STEPS))
        .no_value(empty)
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def bands(title: str, description: str, selector: str, *, width: int, height: int) -> statetimeline.Panel:
    """Return in which state milestones were, over time. Takes what is to be shown, as series by milestone."""
    # A state is a label; a band wants a number: its place among the states.
    numbered = " or ".join(
        f'{place} * milestone:milepost_milestone_state:current{{programme="$programme",state="{state}"}}'
        for place, state in enumerate(STATE_COLOURS, 1)
    )
    expr = f"max by (project, milestone) (({numbered}) and on (programme, project, milestone) ({selector}))"
    shown = {str(place): (state, colour) for place, (state, colour) in enumerate(STATE_COLOURS.items(), 1)}
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(list(queries([Ask(expr, "{{project}}/{{milestone}}")], instant=False)))
        .height(height)
        .span(width)
        .mappings(mapped(shown))
        .no_value("Nothing to show")
        .show_value(looks.VisibilityMode.NEVER)
        .merge_values(merge_values=True)
    )
