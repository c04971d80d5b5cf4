"""What every part of the embedded Kafka raises."""


class BrokerError(Exception):
    """Kafka cannot be run. The message is for people: what, where, what to do."""
