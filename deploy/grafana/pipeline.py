"""*Pipeline*: whether what is said is read, how soon it shows, and what is rejected."""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.page import fill, page
from deploy.grafana.panels import RATE_UNIT, lines, mapped, number
from deploy.grafana.queries import Ask
from deploy.grafana.tables import Column, rows

_UP: Final = {"1": ("up", "green"), "0": ("down", "red")}
_NONE: Final = ((None, "green"), (1.0, "red"))


def _quantiles(histogram: str) -> list[Ask]:
    by_bound = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    return [Ask(f"histogram_quantile({quantile}, {by_bound})", f"p{quantile * 100:.0f}") for quantile in (0.5, 0.99)]


def dashboard() -> Dashboard:
    """Return the dashboard."""
    empty = page(
        "milepost-pipeline",
        "Milepost: pipeline",
        "Whether what is said is read, how soon it shows, and what is rejected.",
        [],
    )
    return fill(
        empty,
        {
            "Now": [
                number(
                    "Workers",
                    "Scraped at this moment, by version.",
                    [Ask("count by (version) (milepost_build_info)", "{{version}}")],
                    width=3,
                    steps=((None, "red"), (1.0, "green")),
                ),
                number(
                    "Kafka and database",
                    "Whether every worker has an answer from them.",
                    [Ask("min(milepost_kafka_up)", "Kafka"), Ask("min(milepost_database_up)", "database")],
                    width=5,
                    mappings=mapped(_UP),
                    steps=((None, "red"), (1.0, "green")),
                    empty="nobody to ask",
                ),
                number(
                    "Unread for",
                    "How long the oldest unread record has waited.",
                    [Ask("milepost:milepost_lag_seconds:max")],
                    width=3,
                    unit="s",
                    steps=((None, "green"), (10.0, "yellow"), (60.0, "red")),
                    empty="nobody to ask",
                ),
                number("Unread", "Records.", [Ask("milepost:milepost_lag_records:sum")], width=2, unit="short"),
                number(
                    "Drawn before",
                    "How long ago a worker last had all that it recorded drawn and shown.",
                    [Ask("time() - min(milepost_forecasts_current_timestamp_seconds)")],
                    width=3,
                    unit="s",
                    steps=((None, "green"), (60.0, "yellow"), (180.0, "red")),
                    empty="nobody to ask",
                ),
                number(
                    "Rejected, 1 h",
                    "Events that became dead letters.",
                    [Ask("sum(reason:milepost_rejected:increase1h)")],
                    width=3,
                    steps=((None, "green"), (1.0, "yellow")),
                ),
                number(
                    "Missed, 1 d",
                    "Records that were deleted from the topic before they were read.",
                    [Ask("sum(partition:milepost_missed_records:increase1d)")],
                    width=3,
                    steps=_NONE,
                ),
                number(
                    "Left out",
                    "Milestones that the cap on series leaves out.",
                    [Ask("sum(milepost_series_dropped)")],
                    width=2,
                    steps=_NONE,
                ),
            ],
            "What comes in": [
                lines(
                    "Events by outcome",
                    "Accepted, known already, rejected.",
                    [Ask("sum by (outcome) (rate(milepost_events_total[$__rate_interval]))", "{{outcome}}")],
                    width=8,
                    unit=RATE_UNIT,
                ),
                lines(
                    "Events by type",
                    "Unknown: what could not be read.",
                    [Ask("sum by (type) (rate(milepost_events_total[$__rate_interval])) > 0", "{{type}}")],
                    width=8,
                    unit=RATE_UNIT,
                    empty="Nothing comes in",
                ),
                lines(
                    "Rejected by reason",
                    "milepost dead-letters list shows them.",
                    [Ask("sum by (reason) (increase(milepost_rejected_total[$__rate_interval]))", "{{reason}}")],
                    width=8,
                ),
            ],
            "How soon it shows": [
                lines(
                    "Kafka to database",
                    "From the broker's append to the commit.",
                    _quantiles("milepost_event_delay_seconds"),
                    width=8,
                    unit="s",
                    empty="Nothing comes in",
                ),
                lines(
                    "Kafka to /metrics/milestones",
                    "From the broker's append to where Prometheus may see it.",
                    _quantiles("milepost_forecast_delay_seconds"),
                    width=8,
                    unit="s",
                    empty="Nothing comes in",
                ),
                number(
                    "Visible within 30 s",
                    "The share of the last hour's events.",
                    [Ask("milepost:milepost_forecast_delay_seconds:within30s_1h")],
                    width=8,
                    unit="percentunit",
                    steps=((None, "red"), (0.99, "yellow"), (0.995, "green")),
                    empty="nothing came in",
                ),
            ],
            "How far behind": [
                lines(
                    "Waiting by partition",
                    "How long the oldest unread record has waited.",
                    [Ask("partition:milepost_lag_seconds:min", "{{topic}} {{partition}}")],
                    width=8,
                    unit="s",
                ),
                lines(
                    "Unread by partition",
                    "End of the log less the position in the database.",
                    [Ask("partition:milepost_lag_records:max", "{{topic}} {{partition}}")],
                    width=8,
                    unit="short",
                ),
                lines(
                    "Read by partition",
                    "Records a second, by the positions in the database.",
                    [Ask("deriv(partition:milepost_position:max[$__rate_interval])", "{{topic}} {{partition}}")],
                    width=8,
                    unit=RATE_UNIT,
                ),
            ],
            "How hard it works": [
                lines(
                    "A batch takes",
                    "To decode and commit.",
                    _quantiles("milepost_batch_seconds"),
                    width=6,
                    unit="s",
                    empty="Nothing comes in",
                ),
                lines(
                    "Records in a batch",
                    "Larger under load: that is what keeps up.",
                    _quantiles("milepost_batch_events"),
                    width=6,
                    unit="short",
                    empty="Nothing comes in",
                ),
                lines(
                    "A drawing takes",
                    "To draw and render the programmes of a batch.",
                    _quantiles("milepost_forecast_seconds"),
                    width=6,
                    unit="s",
                    empty="Nothing is drawn",
                ),
                lines(
                    "A scrape takes",
                    "Of each page of each worker.",
                    [Ask("scrape_duration_seconds and on (instance) milepost_build_info", "{{instance}} {{job}}")],
                    width=6,
                    unit="s",
                ),
            ],
            "Who works": [
                lines(
                    "Up for",
                    "Since each worker started.",
                    [Ask("time() - milepost_started_timestamp_seconds", "{{instance}}")],
                    width=12,
                    unit="s",
                    height=6,
                ),
                lines(
                    "Partitions given anew",
                    "How often the group gave each worker its partitions; every time, all of them wait.",
                    [Ask("increase(milepost_assignments_total[$__rate_interval])", "{{instance}}")],
                    width=12,
                    height=6,
                ),
            ],
            "What fires": [
                rows(
                    "Alerts",
                    "For operators, firing now.",
                    [Column("severity", 'ALERTS{audience="operators",alertstate="firing"}', labels=("severity",))],
                    width=24,
                    height=6,
                    by=("alertname",),
                    sort="alertname",
                    down=False,
                    empty="Nothing",
                ),
            ],
            "Who speaks": [
                rows(
                    "Sources",
                    "When the broker took the newest event of each, and whether more than half of its newest were"
                    " rejected.",
                    [
                        Column("Last heard", "1000 * milepost_source_last_event_timestamp_seconds", "dateTimeAsIso"),
                        Column("Flooding", "milepost_source_flooding"),
                    ],
                    width=12,
                    height=8,
                    by=("source",),
                    sort="Last heard",
                    down=False,
                    empty="None was heard",
                ),
                lines(
                    "Let pass",
                    "What a tolerant reader tolerates.",
                    [Ask("sum by (oddity) (increase(milepost_tolerated_total[$__rate_interval]))", "{{oddity}}")],
                    width=12,
                ),
            ],
        },
    )
