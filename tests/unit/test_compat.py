"""Names of headers that are no UTF-8, in what was fetched: every record of it comes once. And a consumer stops."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as BuilderInPython
from aiokafka.structs import TopicPartition
from kafka.errors import KafkaConnectionError
from kafka.net.inet import KafkaNetSocket
from kafka.net.selector import NetworkSelector
from kafka.record.memory_records import MemoryRecords

from consumers import compat
from streams.kafka.compat import patch_aiokafka
from tests.integration.test_rejections import raw_header_name

PLAIN, STRANGE = "trace", raw_header_name(b"caf\xe9")


def batch_of(first: int, names: Sequence[str], compression: int = 0) -> bytes:
    """Return a batch as a broker keeps it, one record for each header's name."""
    builder = BuilderInPython(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for number, name in enumerate(names):
        assert builder.append(number, timestamp=1, key=None, value=b"v", headers=[(name, b"1")])
    # Where it lies in the log is the broker's to say, and not part of the checksum.
    return first.to_bytes(8) + bytes(builder.build())[8:]


def read(fetched: bytes, start: int = 0) -> list[tuple[int, str]]:
    """Return the offsets and header names that a consumer reads of what was fetched."""
    patch_aiokafka()
    records: Any = fetcher.PartitionRecords(
        TopicPartition("t", 0),
        fetcher.MemoryRecords(fetched),
        aborted_transactions=None,
        fetch_offset=start,
        key_deserializer=None,
        value_deserializer=None,
        check_crcs=True,
        isolation_level=fetcher.READ_UNCOMMITTED,
    )
    return [(record.offset, record.headers[0][0]) for record in records]


@pytest.mark.parametrize("compression", [0, 1, 3], ids=["plain", "gzip", "lz4"])
def test_what_lies_before_and_behind_a_strange_name_is_read_once(compression: int) -> None:
    batches: list[list[str]] = [[PLAIN, PLAIN], [PLAIN], [PLAIN, STRANGE, PLAIN], [PLAIN, PLAIN], [STRANGE], [PLAIN]]
    names = [name for batch in batches for name in batch]
    logged, first = list[bytes](), 0
    for batch in batches:
        logged.append(batch_of(first, batch, compression))
        first += len(batch)

    spelled = [(offset, r"caf\xe9" if name == STRANGE else PLAIN) for offset, name in enumerate(names)]
    assert read(b"".join(logged)) == spelled
    # A fetch begins with the batch that holds the offset asked for.
    assert read(b"".join(logged[2:]), start=4) == spelled[4:]
    assert read(b"".join(logged[2:]), start=5) == spelled[5:]


def test_what_is_corrupt_is_still_said() -> None:
    broken = bytearray(batch_of(0, [PLAIN]) + batch_of(1, [STRANGE]) + batch_of(2, [PLAIN]))
    broken[-1] ^= 0xFF

    with pytest.raises(CorruptRecordException):
        read(bytes(broken))


@pytest.mark.parametrize("compression", [0, 1, 3], ids=["plain", "gzip", "lz4"])
def test_the_other_client_spells_them_alike(compression: int) -> None:
    compat.patch_kafka_python()
    names = [PLAIN, STRANGE, PLAIN]
    records = MemoryRecords(batch_of(0, names, compression) + batch_of(3, [PLAIN], compression))
    found = []
    while records.has_next():
        found += [(record.offset, record.headers[0][0]) for record in records.next_batch()]

    assert found == [(0, PLAIN), (1, r"caf\xe9"), (2, PLAIN), (3, PLAIN)]


class KeptSockets(KafkaNetSocket):  # type: ignore[misc]  # kafka-python has no types
    """Connects as the client does, and keeps the sockets."""

    SCHEMES = ()

    def __init__(self) -> None:
        self.made: list[socket.socket] = []

    def socket(self, *args: int) -> socket.socket:
        self.made.append(super().socket(*args))
        return self.made[-1]


@pytest.mark.parametrize("is_refused", [True, False], ids=["refused", "given up"])
def test_a_connection_that_is_not_made_leaves_no_open_socket(*, is_refused: bool) -> None:
    compat.patch_kafka_python()
    kept = KeptSockets()
    with socket.create_server(("127.0.0.1", 0)) as server, closing(NetworkSelector()) as net:
        [address] = kept.dns_lookup(*server.getsockname())
        if is_refused:
            server.close()
        connecting = kept.connect(net, address)
        # It waits until it may write.
        connecting.send(None)
        if is_refused:
            with pytest.raises(KafkaConnectionError):
                connecting.send(None)
        else:
            connecting.close()

    assert [made.fileno() for made in kept.made] == [-1]


def test_a_consumer_stops_although_a_fetch_rests_after_an_error() -> None:
    patch_aiokafka()

    async def stop() -> bool:
        stopping: Any = fetcher.Fetcher(AIOKafkaClient(), SubscriptionState())
        await asyncio.sleep(0)
        resting = asyncio.create_task(asyncio.sleep(60))  # as a fetch does while its broker is away
        stopping._pending_tasks.add(resting)
        await asyncio.sleep(0)
        await stopping.close()
        return resting.cancelled()

    assert asyncio.run(stop())
