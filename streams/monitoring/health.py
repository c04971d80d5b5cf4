"""What a worker knows of its own health: the source of `/ready`, `/live` and the two `…_up` metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from faust.types import TP, AppT

from streams.kafka.transport import get_consumer
from streams.outages import DATABASE, KAFKA, describe_outage
from streams.retry import Retry


@dataclass(slots=True)
class Health:
    """Set by agents and monitors, read by the web server and the metrics."""

    app: AppT
    #: None until the first answer or the first failure.
    is_database_up: bool | None = None
    is_kafka_up: bool | None = None
    #: Whether partitions were ever assigned (a spare worker is assigned none).
    has_joined: bool = False
    #: Whether all programmes of the present assignment were calculated once.
    has_initial_forecasts: bool = False
    assigned_partitions: frozenset[TP] = frozenset()
    #: What made no progress for too long, in one line; see `streams.monitoring.watchdog`.
    stall_reason: str | None = None

    def readiness_problems(self) -> dict[str, str]:
        """Return what keeps the worker from serving, by name; empty when it is ready."""
        problems = {}
        if not self.is_database_up:
            problems["database"] = describe_outage(DATABASE) if self.is_database_up is False else "not asked yet"
        if not self.is_kafka_up:
            problems["kafka"] = describe_outage(KAFKA) if self.is_kafka_up is False else "not asked yet"
        if not self.has_joined:
            problems["group"] = "no assignment yet"
        elif self.app.rebalancing:
            problems["group"] = "partitions are being assigned"
        elif not get_consumer(self.app).has_start_offsets:
            problems["positions"] = "start offsets are being resolved"
        elif not self.has_initial_forecasts:
            problems["milestones"] = "not calculated yet"
        if retrying := Retry.describe_reportable():
            problems["retrying"] = retrying
        return problems

    def liveness_problems(self) -> dict[str, str]:
        """Return why this process should be ended, by name. Never because Kafka or the database is down."""
        if self.app.should_stop:
            return {"worker": "is stopping"}
        return {"stuck": self.stall_reason} if self.stall_reason else {}

    def expected_progress(self, topic: str, unread_positions: Mapping[int, int] | None) -> Mapping[str, int]:
        """Return the numbers that this worker has to change, by name, for `streams.monitoring.watchdog`.

        Takes the positions of the topic's partitions that have unread records; None when Kafka or the database did not
        answer, for which this worker is not to blame.
        """
        if unread_positions is None or self.app.should_stop:
            return {}
        if self.app.rebalancing:
            return {"a rebalance": self.app.rebalancing_count}
        # A restart would not mend what the broker cannot give, and would keep the other partitions waiting.
        movable = self.assigned_partitions - get_consumer(self.app).unreadable_partitions
        return {
            f"{topic}:{partition}": position
            for partition, position in unread_positions.items()
            if TP(topic, partition) in movable
        }
