"""What stops the embedded Kafka."""

from models.errors import MilepostError


class BrokerError(MilepostError):
    """Kafka cannot be run. The message is for people: what, where, what to do."""
