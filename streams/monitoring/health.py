"""What a worker knows of its own health: the source of `/ready`, `/live` and the two `…_up` metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from faust.types import TP, AppT

from streams.kafka.transport import get_consumer


@dataclass(slots=True)
class Health:
    """Noted by those who find out; read by those who are asked."""

    app: AppT
    #: None until the first answer or the first failure.
    is_database_up: bool | None = None
    is_kafka_up: bool | None = None
    #: Whether partitions were ever assigned (to a spare worker: none of them).
    has_joined: bool = False
    #: Whether the programmes of the present assignment were all drawn once.
    has_initial_forecasts: bool = False
    #: What is assigned to this worker.
    assigned_partitions: frozenset[TP] = frozenset()
    #: What did not move for too long, in one line; see `streams.monitoring.watchdog`.
    stall_reason: str | None = None

    def readiness_problems(self) -> dict[str, str]:
        """Return what stands in the way of serving, by name; empty when nothing does."""
        reasons = {}
        if not self.is_database_up:
            reasons["database"] = "does not answer" if self.is_database_up is False else "not asked yet"
        if not self.is_kafka_up:
            reasons["kafka"] = "does not answer" if self.is_kafka_up is False else "not asked yet"
        if not self.has_joined:
            reasons["group"] = "no assignment yet"
        elif self.app.rebalancing:
            reasons["group"] = "partitions are being assigned"
        elif not get_consumer(self.app).has_start_offsets:
            reasons["positions"] = "where to read is being asked"
        elif not self.has_initial_forecasts:
            reasons["milestones"] = "not drawn yet"
        return reasons

    def liveness_problems(self) -> dict[str, str]:
        """Return why this process should be ended, by name. Never that Kafka or the database is away."""
        if self.app.should_stop:
            return {"worker": "is stopping"}
        return {"stuck": self.stall_reason} if self.stall_reason else {}

    def expected_progress(self, topic: str, unread_positions: Mapping[int, int] | None) -> Mapping[str, int]:
        """Return what this worker should be getting on with, as `streams.monitoring.watchdog` takes it.

        Given where the partitions of a topic stand that have something to read; None when Kafka or the database does
        not tell, for which this worker is not to blame.
        """
        if unread_positions is None or self.app.should_stop:
            return {}
        if self.app.rebalancing:
            return {"a rebalance": self.app.rebalancing_count}
        return {
            f"{topic}:{partition}": position
            for partition, position in unread_positions.items()
            if TP(topic, partition) in self.assigned_partitions
        }
