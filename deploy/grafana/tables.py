"""Tables of a panel's queries, joined by their labels."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.panels import STATE_COLOURS, value_mappings
from deploy.grafana.queries import DATA_SOURCE, PanelQuery, build_query_targets

#: From a row to its milestone on the gate's dashboard.
GATE_LINK: Final = {
    "title": "This gate",
    "url": "/d/milepost-gate?var-datasource=${datasource}&var-programme=${programme:percentencode}"
    "&var-project=${__data.fields.project:percentencode}&var-milestone=${__data.fields.milestone:percentencode}",
}


class PanelColumn(NamedTuple):
    """A column of a table of milestones: the series that give it, by (project, milestone)."""

    title: str
    expr: str
    unit: str = "none"
    #: Labels that become columns in place of the value.
    labels: tuple[str, ...] = ()


def table_panel(  # noqa: PLR0913 - a panel with all its parts
    title: str,
    description: str,
    columns: Sequence[PanelColumn],
    *,
    width: int,
    height: int,
    row_labels: tuple[str, ...] = ("project", "milestone"),
    sort_column: str,
    descending: bool,
    no_value: str,
) -> table.Panel:
    """Return a table with a row for each label set of `by`, linked to the gate's dashboard when it has milestones."""
    asks = [PanelQuery(f"max by ({', '.join((*row_labels, *column.labels))}) ({column.expr})") for column in columns]
    values = {f"Value #{chr(ord('A') + place)}": column for place, column in enumerate(columns)}
    if len(columns) == 1:
        values = {"Value": columns[0]}
    ordered = [*row_labels]
    for name, column in values.items():
        ordered += column.labels or (name,)
    organise: dict[str, object] = {
        "excludeByName": {"Time": True} | {name: True for name, column in values.items() if column.labels},
        "renameByName": {name: column.title for name, column in values.items() if not column.labels},
        "indexByName": {name: place for place, name in enumerate(ordered)},
    }
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .targets(list(build_query_targets(asks, instant=True, as_table=True)))
        .height(height)
        .span(width)
        .no_value(no_value)
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(model.DataTransformerConfig(id_val="organize", options=organise))
        .sort_by([common.TableSortByFieldState().display_name(sort_column).desc(descending)])
    )
    for column in columns:
        if not column.labels:
            panel = panel.override_by_name(column.title, [model.DynamicConfigValue("unit", column.unit)])
        if column.labels == ("state",):
            shown = {state: (state, colour) for state, colour in STATE_COLOURS.items()}
            options = [
                model.DynamicConfigValue("mappings", value_mappings(shown)),
                model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
            panel = panel.override_by_name("state", options)
    if "milestone" in row_labels:
        panel = panel.override_by_name("milestone", [model.DynamicConfigValue("links", [GATE_LINK])])
    return panel
