"""The embedded Apache Kafka: a real broker on this machine, from Python packages and jars alone."""

from models.errors import MilepostError


class BrokerError(MilepostError):
    """Kafka cannot run."""
