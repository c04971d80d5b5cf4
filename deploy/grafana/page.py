"""A dashboard without its panels: variables, links, and what is the same on all of them."""

from collections.abc import Mapping, Sequence
from itertools import count

from grafana_foundation_sdk.builders import bargauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.queries import DATA_SOURCE

AnyPanel = stat.Panel | table.Panel | timeseries.Panel | bargauge.Panel | statetimeline.Panel


def query_variable(name: str, label: str, metric: str, *, include_all: bool = False) -> build.QueryVariable:
    """Return a choice among the values of a label; `metric` may use the choices above it."""
    asked = f"label_values({metric}, {name})"
    choice = (
        build.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query({"query": asked, "refId": name})
        .definition(asked)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if not include_all:
        return choice
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return choice.multi(multi=True).include_all(include_all=True).all_value(".*").current(everything)


def empty_dashboard(
    uid: str, title: str, description: str, variables: Sequence[build.QueryVariable]
) -> build.Dashboard:
    """Return a dashboard without panels; panels are added with `fill`."""
    empty = (
        build.Dashboard(title)
        .uid(uid)
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
    for choice in variables:
        empty = empty.with_variable(choice)
    return empty


def add_panels(dashboard: build.Dashboard, sections: Mapping[str, Sequence[AnyPanel]]) -> build.Dashboard:
    """Return a dashboard with its panels, below the headings of their sections."""
    ids = count(1)
    for heading, panels in sections.items():
        dashboard = dashboard.with_row(build.Row(heading).id(next(ids)))
        for panel in panels:
            dashboard = dashboard.with_panel(panel.id(next(ids)))
    return dashboard
