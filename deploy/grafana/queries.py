"""What panels ask Prometheus."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

#: Whichever Prometheus is chosen above the dashboard.
DATA_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")


class PanelQuery(NamedTuple):
    """A query and what its series are called."""

    expr: str
    legend: str = ""


def _build_query_target(query: PanelQuery, ref_id: str, *, instant: bool, as_table: bool) -> Dataquery:
    target = Dataquery().datasource(DATA_SOURCE).ref_id(ref_id).expr(query.expr).legend_format(query.legend or "__auto")
    target = target.instant() if instant else target.range()
    return target.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES)


def build_query_targets(queries: Sequence[PanelQuery], *, instant: bool, as_table: bool = False) -> list[Dataquery]:
    """Return the queries of a panel, called A, B, C…: of this moment, or of the time shown."""
    return [
        _build_query_target(ask, chr(ord("A") + place), instant=instant, as_table=as_table)
        for place, ask in enumerate(queries)
    ]
