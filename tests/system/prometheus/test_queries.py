"""Every query of every panel, rule and alert, asked of a real Prometheus that scraped a real worker with the story.

Each returns data, or is listed here with the reason why it does not, and then returns none.
"""

import math
import re

import pytest

from deploy.demo.story import PROGRAMME, SEZ_OPENING, SEZ_PARK, SEZ_SLIPPED_OPENING, TENANTS
from tests.helpers import queries as shipped_queries
from tests.helpers.prometheus import MonitoringStack
from tests.helpers.workers import wait_until

#: What Grafana puts in place of a dashboard's variables.
CHOSEN = {
    "milepost-programme": {"programme": PROGRAMME, "project": ".*"},
    "milepost-gate": {"programme": PROGRAMME, "project": SEZ_PARK, "milestone": "park-commissioned"},
    "milepost-pipeline": {},
}
#: Four scrapes, as Grafana reckons it; here they are a second apart, and what happened is some seconds ago.
RATE_INTERVAL = "30s"

EMPTY_BY_DESIGN = {
    "milepost-gate / Driver / A": "the park waits for nothing that comes later than its own estimate",
    "milepost-pipeline / Sources / B": "fewer than a hundred events of each source were read",
    "source:milepost_source_events_rejected:ratio1h": "as above",
    "source:milepost_source_gap_seconds:delta5m": "compares with five minutes ago, before Prometheus ran",
    "source:milepost_source_rhythm_seconds:max14d": "a rhythm takes a week to be known",
    "MilepostDown": "the worker answers",
    "MilepostWorkerDown": "the worker answers on both pages",
    "MilepostStale": "nothing is unread",
    "MilepostNoProgress": "nothing is unread",
    "MilepostDatabaseAway": "the database answers",
    "MilepostKafkaAway": "Kafka answers",
    "MilepostRetrying": "nothing is retried",
    "MilepostForecastBehind": "all is calculated",
    "MilepostRecordsMissed": "nothing was deleted",
    "MilepostSourceFlooding": "as above",
    "MilepostSourceSilent": "every source has just spoken",
    "MilepostClockSkew": "everybody's clock is this machine's",
    "MilepostSeriesLeftOut": "there is room for all",
    "MilepostGatewayUnavailable": "Kafka takes everything",
    "MilepostGatewayRefusing": "fewer than twenty requests were sent",
    "MilepostGatewayTokensBroken": "the tokens file is sound",
    "MilepostRestarting": "the worker started once",
    "MilepostRebalancing": "the worker was given its partitions once",
    "MilepostShownTwice": "there is one worker",
    "DependencySetAside": "the story has no cycle",
    "milepost-pipeline / Targets off, unusable, and digests overdue / C": "no target gets a digest",
    "MilepostNotifyFailing": "the target that is down fails for seconds, not for an hour",
    "MilepostNotifyDigestMissed": "no target gets a digest",
}


def queries() -> list[object]:
    """Return every query as a parameter."""
    return [
        pytest.param(query, id=query.location)
        for query in (*shipped_queries.dashboard_queries(), *shipped_queries.rule_queries())
    ]


def chosen(query: shipped_queries.PromQuery) -> str:
    """Return the query as Grafana would send it."""
    variables = CHOSEN.get(query.location.split(" / ")[0], {}) | {"__rate_interval": RATE_INTERVAL}
    return re.sub(r"\$([a-z_]\w*)", lambda found: variables[found[1]], query.expr)


def has_data(monitoring_stack: MonitoringStack, query: shipped_queries.PromQuery) -> bool:
    """Return whether a series comes back that has a number."""
    expression = chosen(query)
    if query.is_instant:
        return any(
            not math.isnan(float(series["value"][1])) for series in monitoring_stack.prometheus.query(expression)
        )
    found = monitoring_stack.prometheus.query_range(expression)
    return any(not math.isnan(float(value)) for series in found for _, value in series["values"])


@pytest.mark.parametrize("query", queries())
def test_a_query_returns_data_or_is_empty_by_design(
    monitoring_stack: MonitoringStack, query: shipped_queries.PromQuery
) -> None:
    if query.location in EMPTY_BY_DESIGN:
        assert not has_data(monitoring_stack, query), "it is not empty: take it off the list"
    else:
        wait_until(lambda: has_data(monitoring_stack, query), f"data of {chosen(query)}", 15)


def test_what_is_listed_as_empty_is_asked() -> None:
    assert {
        query.location for query in (*shipped_queries.dashboard_queries(), *shipped_queries.rule_queries())
    } >= EMPTY_BY_DESIGN.keys()


@pytest.mark.parametrize("uid", CHOSEN)
def test_every_choice_of_a_dashboard_offers_what_was_chosen(monitoring_stack: MonitoringStack, uid: str) -> None:
    for variable in shipped_queries.dashboards()[uid]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        [(selector, label)] = re.findall(r"label_values\((.*), (\w+)\)", variable["definition"])
        expression = chosen(shipped_queries.PromQuery(f"{uid} / ", selector, is_instant=True))
        offered = {series["metric"].get(label) for series in monitoring_stack.prometheus.query(expression)}
        wanted = CHOSEN[uid][variable["name"]]

        assert label == variable["name"]
        assert any(re.fullmatch(wanted, one or "") for one in offered)


@pytest.mark.parametrize("uid", ["milepost-programme", "milepost-gate"])
def test_the_trend_shows_the_gate_that_slipped_and_everyone_it_holds_up(
    monitoring_stack: MonitoringStack, uid: str
) -> None:
    shown = shipped_queries.data_panels(shipped_queries.dashboards()[uid])
    [trend] = [panel for panel in shown if panel["description"].startswith("Milestone trend")]
    asks = [
        chosen(shipped_queries.PromQuery(f"{uid} / ", target["expr"], is_instant=False)) for target in trend["targets"]
    ]
    lines = {
        (series["metric"]["project"], series["metric"]["milestone"]): [float(value) for _, value in series["values"]]
        for series in monitoring_stack.prometheus.query_range(asks[0], step=1)
    }
    gate = lines[SEZ_PARK, "park-commissioned"]

    # A scrape fell into the morning, and others into the day: milliseconds, for Grafana.
    assert gate[-1] - gate[0] == (SEZ_SLIPPED_OPENING - SEZ_OPENING) * 86_400_000
    assert lines.keys() >= {(one.project, "production-launched") for one in TENANTS if one.park == SEZ_PARK}
    assert len(monitoring_stack.prometheus.query_range(asks[1])) == 1, "the report dates"
