"""What a worker knows of its own health: the source of `/ready`, `/live` and the two `…_up` metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from faust.types import TP, AppT

from streams.kafka.transport import consumer_of


@dataclass(slots=True)
class Health:
    """Noted by those who find out; read by those who are asked."""

    app: AppT
    #: None until the first answer or the first failure.
    database_answers: bool | None = None
    kafka_answers: bool | None = None
    #: Whether partitions were ever assigned (to a spare worker: none of them).
    joined: bool = False
    #: Whether the programmes of the present assignment were all drawn once.
    drawn: bool = False
    #: What is assigned to this worker.
    assigned: frozenset[TP] = frozenset()
    #: What did not move for too long, in one line; see `streams.monitoring.watchdog`.
    stuck: str | None = None

    def not_ready(self) -> dict[str, str]:
        """Return what stands in the way of serving, by name; empty when nothing does."""
        reasons = {}
        if not self.database_answers:
            reasons["database"] = "does not answer" if self.database_answers is False else "not asked yet"
        if not self.kafka_answers:
            reasons["kafka"] = "does not answer" if self.kafka_answers is False else "not asked yet"
        if not self.joined:
            reasons["group"] = "no assignment yet"
        elif self.app.rebalancing:
            reasons["group"] = "partitions are being assigned"
        elif not consumer_of(self.app).is_reading:
            reasons["positions"] = "where to read is being asked"
        elif not self.drawn:
            reasons["milestones"] = "not drawn yet"
        return reasons

    def not_alive(self) -> dict[str, str]:
        """Return why this process should be ended, by name. Never that Kafka or the database is away."""
        if self.app.should_stop:
            return {"worker": "is stopping"}
        return {"stuck": self.stuck} if self.stuck else {}

    def ought_to_move(self, topic: str, waiting: Mapping[int, int] | None) -> Mapping[str, int]:
        """Return what this worker should be getting on with, as `streams.monitoring.watchdog` takes it.

        Given where the partitions of a topic stand that have something to read; None when Kafka or the database does
        not tell, for which this worker is not to blame.
        """
        if waiting is None or self.app.should_stop:
            return {}
        if self.app.rebalancing:
            return {"a rebalance": self.app.rebalancing_count}
        return {
            f"{topic}:{partition}": position
            for partition, position in waiting.items()
            if TP(topic, partition) in self.assigned
        }
