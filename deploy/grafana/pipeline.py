"""*Pipeline*: whether what is said is read, how soon it shows, and what is rejected."""

from typing import Final

from grafana_foundation_sdk.builders import timeseries

from deploy.grafana.panels import (
    GREEN_FROM_ONE,
    RATE_UNIT,
    RED_FROM_ONE,
    PanelColumn,
    Sections,
    build_dashboard,
    stat_panel,
    table_panel,
    time_series_panel,
    value_mappings,
)


def _quantiles_panel(description: str, histogram: str, width: int = 6, unit: str = "s") -> timeseries.Panel:
    by_bound = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    queries = {f"p{q * 100:.0f}": f"histogram_quantile({q}, {by_bound})" for q in (0.5, 0.99)}
    return time_series_panel(description, queries, unit, width, no_value="No events")


def _increase_panel(description: str, counter: str, label: str, width: int = 8) -> timeseries.Panel:
    queries = {f"{{{{{label}}}}}": f"sum by ({label}) (increase({counter}[$__rate_interval]))"}
    return time_series_panel(description, queries, width=width)


_SECTIONS: Final[Sections] = {
    "Now": {
        "Workers": stat_panel(
            "Scraped at this moment, by version.",
            {"{{version}}": "count by (version) (milepost_build_info)"},
            steps=GREEN_FROM_ONE,
        ),
        "Kafka and database": stat_panel(
            "Whether every worker has an answer from them.",
            {"Kafka": "min(milepost_kafka_up)", "database": "min(milepost_database_up)"},
            steps=GREEN_FROM_ONE,
            width=5,
            no_value="no worker",
        ).mappings(value_mappings({"1": ("up", "green"), "0": ("down", "red")})),
        "Lag": stat_panel(
            "How long the oldest unread record has waited.",
            "milepost:milepost_lag_seconds:max",
            "s",
            {None: "green", 10.0: "yellow", 60.0: "red"},
            no_value="no worker",
        ),
        "Unread": stat_panel("Records.", "milepost:milepost_lag_records:sum", "short", width=2),
        "Forecasts' age": stat_panel(
            "How long ago the last worker's forecasts covered everything that it had recorded.",
            "time() - min(milepost_forecasts_current_timestamp_seconds)",
            "s",
            {None: "green", 60.0: "yellow", 180.0: "red"},
            no_value="no worker",
        ),
        "Rejected, 1 h": stat_panel(
            "Events that became dead letters.",
            "sum(reason:milepost_rejected:increase1h)",
            steps={None: "green", 1.0: "yellow"},
        ),
        "Missed, 1 d": stat_panel(
            "Records that were deleted from the topic before they were read.",
            "sum(partition:milepost_missed_records:increase1d)",
            steps=RED_FROM_ONE,
        ),
        "Dropped": stat_panel(
            "Series that the cap leaves out.", "sum(milepost_series_dropped)", steps=RED_FROM_ONE, width=2
        ),
    },
    "Events": {
        "Events by outcome": time_series_panel(
            "Accepted, duplicate, rejected.",
            {"{{outcome}}": "sum by (outcome) (rate(milepost_events_total[$__rate_interval]))"},
            RATE_UNIT,
        ),
        "Events by type": time_series_panel(
            "Unknown: what could not be read.",
            {"{{type}}": "sum by (type) (rate(milepost_events_total[$__rate_interval])) > 0"},
            RATE_UNIT,
            no_value="No events",
        ),
        "Rejected by reason": _increase_panel(
            "milepost dead-letters list shows them.", "milepost_rejected_total", "reason"
        ),
        "Waiting dead letters": time_series_panel(
            "Neither replayed nor discarded, by reason.",
            {"{{reason}}": "max by (reason) (milepost_dead_letters_waiting)"},
            width=12,
        ),
        "Retractions without their event": time_series_panel(
            "The event is not there: not yet, or its source has none with that id.",
            {"retractions": "max(milepost_retractions_unmatched)"},
            width=12,
        ),
    },
    "Latency": {
        "Kafka to database": _quantiles_panel(
            "From the broker's append to the commit.", "milepost_event_delay_seconds", 8
        ),
        "Kafka to /metrics/milestones": _quantiles_panel(
            "From the broker's append to where Prometheus may see it.", "milepost_forecast_delay_seconds", 8
        ),
        "Visible within 30 s": stat_panel(
            "The share of the last hour's events.",
            "milepost:milepost_forecast_delay_seconds:within30s_1h",
            "percentunit",
            {None: "red", 0.99: "yellow", 0.995: "green"},
            width=8,
            no_value="no events",
        ),
    },
    "Consumer lag": {
        "Lag by partition": time_series_panel(
            "How long the oldest unread record has waited.",
            {"{{topic}} {{partition}}": "partition:milepost_lag_seconds:min"},
            "s",
        ),
        "Unread by partition": time_series_panel(
            "End of the log less the position in the database.",
            {"{{topic}} {{partition}}": "partition:milepost_lag_records:max"},
            "short",
        ),
        "Read by partition": time_series_panel(
            "Records a second, by the positions in the database.",
            {"{{topic}} {{partition}}": "deriv(partition:milepost_position:max[$__rate_interval])"},
            RATE_UNIT,
        ),
    },
    "Load": {
        "Batch duration": _quantiles_panel("To decode and commit.", "milepost_batch_seconds"),
        "Records in a batch": _quantiles_panel(
            "Larger batches under load keep up with it.", "milepost_batch_events", unit="short"
        ),
        "Forecast duration": _quantiles_panel(
            "To calculate and render the programmes of a batch.", "milepost_forecast_seconds"
        ),
        "Scrape duration": time_series_panel(
            "Of each page of each worker.",
            {"{{instance}} {{job}}": "scrape_duration_seconds and on (instance) milepost_build_info"},
            "s",
            width=6,
        ),
    },
    "Gateway": {
        "Gateways": stat_panel(
            "Scraped at this moment, by version.",
            {"{{version}}": "count by (version) (milepost_gateway_build_info)"},
            steps=GREEN_FROM_ONE,
            no_value="none",
        ),
        "Gateway and Kafka": stat_panel(
            "Whether Kafka answers every gateway, and whether a tokens file is broken.",
            {"Kafka": "min(milepost_gateway_kafka_up)", "tokens": "1 - max(milepost_gateway_tokens_file_broken)"},
            steps=GREEN_FROM_ONE,
            width=5,
            no_value="no gateway",
        ).mappings(value_mappings({"1": ("ok", "green"), "0": ("not ok", "red")})),
        "Gateway requests by outcome": time_series_panel(
            "What became of requests to publish.",
            {"{{outcome}}": "sum by (outcome) (rate(milepost_gateway_requests_total[$__rate_interval])) > 0"},
            RATE_UNIT,
            no_value="No requests",
        ),
        "Gateway events by token": time_series_panel(
            "Events that Kafka acknowledged.",
            {
                "{{token}}": (
                    'sum by (token) (rate(milepost_gateway_events_total{outcome="accepted"}[$__rate_interval])) > 0'
                )
            },
            RATE_UNIT,
            no_value="No events",
        ),
        "Refused by reason": _increase_panel(
            "The answer names each event.", "milepost_gateway_refused_events_total", "reason", 6
        ),
        "Request duration": _quantiles_panel(
            "From the head of a request to its answer.", "milepost_gateway_request_seconds"
        ),
        "Kafka's part of it": _quantiles_panel(
            "From the events to Kafka's acknowledgement.", "milepost_gateway_publish_seconds"
        ),
        "Errors of the gateway's clients": _increase_panel(
            "Slow clients, and connections that gave way.", "milepost_gateway_http_errors_total", "kind", 6
        ),
    },
    "Notify": {
        "Notifiers": stat_panel(
            "Scraped at this moment, by version.",
            {"{{version}}": "count by (version) (milepost_notify_build_info)"},
            steps=GREEN_FROM_ONE,
            no_value="none",
        ),
        "Notify and Kafka": stat_panel(
            "Whether Kafka answers every notifier, and whether a file of targets is broken.",
            {"Kafka": "min(milepost_notify_kafka_up)", "targets": "1 - max(milepost_notify_targets_file_broken)"},
            steps=GREEN_FROM_ONE,
            width=5,
            no_value="no notifier",
        ).mappings(value_mappings({"1": ("ok", "green"), "0": ("not ok", "red")})),
        "Delivered by target": time_series_panel(
            "Webhooks, messages and digests.",
            {"{{target}}": "sum by (target) (rate(milepost_notify_delivered_total[$__rate_interval])) > 0"},
            RATE_UNIT,
            no_value="No deliveries",
        ),
        "Waiting by target": time_series_panel(
            "Read from Kafka and not delivered yet.",
            {"{{target}}": "sum by (target) (milepost_notify_waiting) > 0"},
            no_value="Nothing waits",
        ),
        "Failed attempts": _increase_panel("Each is made again.", "milepost_notify_failed_total", "target", 6),
        "Passed over": _increase_panel("Refused for good.", "milepost_notify_passed_over_total", "target", 6),
        "Given up": _increase_panel("After a day of failures.", "milepost_notify_given_up_total", "target", 6),
        "Unreadable": _increase_panel(
            "Records of the changes that hold none.", "milepost_notify_unreadable_total", "target", 6
        ),
        "Failing for": time_series_panel(
            "For how long the oldest failure of each target has lasted.",
            {"{{target}}": "time() - min by (target) (milepost_notify_failing_since_timestamp_seconds)"},
            "s",
            no_value="Nothing fails",
        ),
        "Targets off, unusable, and digests overdue": time_series_panel(
            "Off since an answer of 410; entries that cannot be used; seconds since a digest was due.",
            {
                "{{target}}: off": "max by (target) (milepost_notify_off) > 0",
                "{{target}}: unusable": "max by (target) (milepost_notify_unusable) > 0",
                "{{target}}: digest": "time() - min by (target) (milepost_notify_digest_due_timestamp_seconds)",
            },
            no_value="None",
        ),
        "Partitions by target": time_series_panel(
            "Of the topic of changes; all of them are to be read.",
            {"{{target}}": "sum by (target) (milepost_notify_assigned_partitions)"},
        ),
        "Delay of deliveries": _quantiles_panel(
            "From a change's record in Kafka to its target.", "milepost_notify_delivery_delay_seconds"
        ),
        "Errors of notify's clients": _increase_panel(
            "Slow clients, and connections that gave way.", "milepost_notify_http_errors_total", "kind", 6
        ),
    },
    "Workers": {
        "Uptime": time_series_panel(
            "Since each worker started.", {"{{instance}}": "time() - milepost_started_timestamp_seconds"}, "s", 8, 6
        ),
        "Partition assignments": time_series_panel(
            "How often the group assigned partitions to each worker; all workers wait each time.",
            {"{{instance}}": "increase(milepost_assignments_total[$__rate_interval])"},
            width=8,
            height=6,
        ),
        "Errors of web clients": time_series_panel(
            "Refused requests, slow clients, and connections that gave way.",
            {"{{kind}}": "sum by (kind) (increase(milepost_http_errors_total[$__rate_interval]))"},
            width=8,
            height=6,
        ),
    },
    "Alerts": {
        "Alerts": table_panel(
            "For operators, firing now.",
            [PanelColumn("severity", 'ALERTS{audience="operators",alertstate="firing"}', labels=("severity",))],
            (24, 6),
            "alertname",
            "Nothing",
            ("alertname",),
        )
    },
    "Sources": {
        "Sources": table_panel(
            "When the broker took the newest event of each, and the share of the last hour that was rejected.",
            [
                PanelColumn("Newest event", "1000 * milepost_source_last_event_timestamp_seconds", "dateTimeAsIso"),
                PanelColumn("Rejected, 1 h", "source:milepost_source_events_rejected:ratio1h", "percentunit"),
            ],
            (12, 8),
            "Newest event",
            "No source",
            ("source",),
        ),
        "Tolerated": _increase_panel(
            "Deviations that a tolerant reader accepts.", "milepost_tolerated_total", "oddity", 12
        ),
    },
}
DASHBOARD: Final = build_dashboard(
    "pipeline", "Whether events are read, how soon they are visible, and what is rejected.", [], _SECTIONS
)
