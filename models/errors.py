"""The base of all errors that a user can act on, and those that pass when the work is repeated."""

from typing import Final

#: Why Kafka takes no records, where it answers so (`NOT_ENOUGH_REPLICAS`), and what to do about it.
TOO_FEW_REPLICAS: Final = (
    "a partition has fewer in-sync replicas than min.insync.replicas of its topic: start the brokers that are away"
)


class MilepostError(Exception):
    """An error that a user can act on. The message is one line: what, where, what to do."""


class ConcurrentWriteError(MilepostError):
    """Another process wrote the same rows first. The same work, repeated, will see them."""


class PartitionsChangedError(MilepostError):
    """The events topic got other partitions: a worker that starts anew takes them into account."""
