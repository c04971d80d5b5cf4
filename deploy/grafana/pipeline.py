"""*Pipeline*: whether what is said is read, how soon it shows, and what is rejected."""

from typing import Final

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana import panels
from deploy.grafana.panels import PanelColumn, PanelQuery

_UP_DOWN_MAPPING: Final = {"1": ("up", "green"), "0": ("down", "red")}
_RED_ABOVE_ZERO: Final = ((None, "green"), (1.0, "red"))


def _quantiles_panel(title: str, description: str, histogram: str, width: int, unit: str = "s") -> timeseries.Panel:
    by_bound = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    queries = [PanelQuery(f"histogram_quantile({q}, {by_bound})", f"p{q * 100:.0f}") for q in (0.5, 0.99)]
    return panels.time_series_panel(title, description, queries, width=width, unit=unit, no_value="No events")


_SECTIONS: Final[panels.Sections] = {
    "Now": [
        panels.stat_panel(
            "Workers",
            "Scraped at this moment, by version.",
            [PanelQuery("count by (version) (milepost_build_info)", "{{version}}")],
            thresholds=((None, "red"), (1.0, "green")),
        ),
        panels.stat_panel(
            "Kafka and database",
            "Whether every worker has an answer from them.",
            [PanelQuery("min(milepost_kafka_up)", "Kafka"), PanelQuery("min(milepost_database_up)", "database")],
            width=5,
            mappings=panels.value_mappings(_UP_DOWN_MAPPING),
            thresholds=((None, "red"), (1.0, "green")),
            no_value="no worker",
        ),
        panels.stat_panel(
            "Lag",
            "How long the oldest unread record has waited.",
            "milepost:milepost_lag_seconds:max",
            unit="s",
            thresholds=((None, "green"), (10.0, "yellow"), (60.0, "red")),
            no_value="no worker",
        ),
        panels.stat_panel("Unread", "Records.", "milepost:milepost_lag_records:sum", width=2, unit="short"),
        panels.stat_panel(
            "Forecasts' age",
            "How long ago the last worker's forecasts covered everything that it had recorded.",
            "time() - min(milepost_forecasts_current_timestamp_seconds)",
            unit="s",
            thresholds=((None, "green"), (60.0, "yellow"), (180.0, "red")),
            no_value="no worker",
        ),
        panels.stat_panel(
            "Rejected, 1 h",
            "Events that became dead letters.",
            "sum(reason:milepost_rejected:increase1h)",
            thresholds=((None, "green"), (1.0, "yellow")),
        ),
        panels.stat_panel(
            "Missed, 1 d",
            "Records that were deleted from the topic before they were read.",
            "sum(partition:milepost_missed_records:increase1d)",
            thresholds=_RED_ABOVE_ZERO,
        ),
        panels.stat_panel(
            "Dropped",
            "Milestones that the cap on series leaves out.",
            "sum(milepost_series_dropped)",
            width=2,
            thresholds=_RED_ABOVE_ZERO,
        ),
    ],
    "Events": [
        panels.time_series_panel(
            "Events by outcome",
            "Accepted, duplicate, rejected.",
            [PanelQuery("sum by (outcome) (rate(milepost_events_total[$__rate_interval]))", "{{outcome}}")],
            unit=panels.RATE_UNIT,
        ),
        panels.time_series_panel(
            "Events by type",
            "Unknown: what could not be read.",
            [PanelQuery("sum by (type) (rate(milepost_events_total[$__rate_interval])) > 0", "{{type}}")],
            unit=panels.RATE_UNIT,
            no_value="No events",
        ),
        panels.time_series_panel(
            "Rejected by reason",
            "milepost dead-letters list shows them.",
            [PanelQuery("sum by (reason) (increase(milepost_rejected_total[$__rate_interval]))", "{{reason}}")],
        ),
    ],
    "Latency": [
        _quantiles_panel(
            "Kafka to database", "From the broker's append to the commit.", "milepost_event_delay_seconds", 8
        ),
        _quantiles_panel(
            "Kafka to /metrics/milestones",
            "From the broker's append to where Prometheus may see it.",
            "milepost_forecast_delay_seconds",
            8,
        ),
        panels.stat_panel(
            "Visible within 30 s",
            "The share of the last hour's events.",
            "milepost:milepost_forecast_delay_seconds:within30s_1h",
            width=8,
            unit="percentunit",
            thresholds=((None, "red"), (0.99, "yellow"), (0.995, "green")),
            no_value="no events",
        ),
    ],
    "Consumer lag": [
        panels.time_series_panel(
            "Lag by partition",
            "How long the oldest unread record has waited.",
            [PanelQuery("partition:milepost_lag_seconds:min", "{{topic}} {{partition}}")],
            unit="s",
        ),
        panels.time_series_panel(
            "Unread by partition",
            "End of the log less the position in the database.",
            [PanelQuery("partition:milepost_lag_records:max", "{{topic}} {{partition}}")],
            unit="short",
        ),
        panels.time_series_panel(
            "Read by partition",
            "Records a second, by the positions in the database.",
            [PanelQuery("deriv(partition:milepost_position:max[$__rate_interval])", "{{topic}} {{partition}}")],
            unit=panels.RATE_UNIT,
        ),
    ],
    "Load": [
        _quantiles_panel("Batch duration", "To decode and commit.", "milepost_batch_seconds", 6),
        _quantiles_panel(
            "Records in a batch", "Larger batches under load keep up with it.", "milepost_batch_events", 6, "short"
        ),
        _quantiles_panel(
            "Forecast duration", "To calculate and render the programmes of a batch.", "milepost_forecast_seconds", 6
        ),
        panels.time_series_panel(
            "Scrape duration",
            "Of each page of each worker.",
            [PanelQuery("scrape_duration_seconds and on (instance) milepost_build_info", "{{instance}} {{job}}")],
            width=6,
            unit="s",
        ),
    ],
    "Workers": [
        panels.time_series_panel(
            "Uptime",
            "Since each worker started.",
            [PanelQuery("time() - milepost_started_timestamp_seconds", "{{instance}}")],
            width=12,
            unit="s",
            height=6,
        ),
        panels.time_series_panel(
            "Partition assignments",
            "How often the group assigned partitions to each worker; all workers wait each time.",
            [PanelQuery("increase(milepost_assignments_total[$__rate_interval])", "{{instance}}")],
            width=12,
            height=6,
        ),
    ],
    "Alerts": [
        panels.table_panel(
            "Alerts",
            "For operators, firing now.",
            [PanelColumn("severity", 'ALERTS{audience="operators",alertstate="firing"}', labels=("severity",))],
            width=24,
            height=6,
            row_labels=("alertname",),
            sort_column="alertname",
            no_value="Nothing",
        )
    ],
    "Sources": [
        panels.table_panel(
            "Sources",
            "When the broker took the newest event of each, and the share of the last hour that was rejected.",
            [
                PanelColumn("Newest event", "1000 * milepost_source_last_event_timestamp_seconds", "dateTimeAsIso"),
                PanelColumn("Rejected, 1 h", "source:milepost_source_events_rejected:ratio1h", "percentunit"),
            ],
            width=12,
            height=8,
            row_labels=("source",),
            sort_column="Newest event",
            no_value="No source",
        ),
        panels.time_series_panel(
            "Tolerated",
            "Deviations that a tolerant reader accepts.",
            [PanelQuery("sum by (oddity) (increase(milepost_tolerated_total[$__rate_interval]))", "{{oddity}}")],
            width=12,
        ),
    ],
}


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return panels.build_dashboard(
        "milepost-pipeline",
        "Milepost: pipeline",
        "Whether events are read, how soon they are visible, and what is rejected.",
        [],
        _SECTIONS,
    )
