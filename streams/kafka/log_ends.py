"""Where logs end: for everybody, or for readers of committed records.

The *last stable offset* is the end for readers of committed records: the first record of the oldest transaction that is
still open, or the end of the log when none is.
"""

import copy
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher

READ_COMMITTED: Final = "read_committed"


async def read_log_ends(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the end of each log, whoever wrote there."""
    return await _read_ends(consumer, partitions, fetcher.READ_UNCOMMITTED)


async def read_last_stable_offsets(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return the last stable offset of each log."""
    return await _read_ends(consumer, partitions, fetcher.READ_COMMITTED)


async def _read_ends(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], isolation_level: int
) -> dict[TopicPartition, int]:
    # aiokafka asks with the consumer's own isolation level only. The copy shares its connections.
    asking: Any = copy.copy(consumer._fetcher)  # noqa: SLF001 - as above
    asking._isolation_level = isolation_level  # noqa: SLF001 - as above
    ends: dict[TopicPartition, int] = await asking.end_offsets(partitions, consumer._request_timeout_ms)  # noqa: SLF001
    return ends
