"""What panels ask Prometheus."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

#: Whichever Prometheus is chosen above the dashboard.
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")


class Ask(NamedTuple):
    """A query and what its series are called."""

    expr: str
    legend: str = ""


def _dataquery(ask: Ask, ref: str, *, instant: bool, as_table: bool) -> Dataquery:
    query = Dataquery().datasource(SOURCE).ref_id(ref).expr(ask.expr).legend_format(ask.legend or "__auto")
    query = query.instant() if instant else query.range()
    return query.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES)


def queries(asks: Sequence[Ask], *, instant: bool, as_table: bool = False) -> list[Dataquery]:
    """Return the queries of a panel, called A, B, C…: of this moment, or of the time shown."""
    return [
        _dataquery(ask, chr(ord("A") + place), instant=instant, as_table=as_table) for place, ask in enumerate(asks)
    ]
