r"""Limits of kafka-python, worked around.

It brings no library for compressed records: see `consumers.codecs`.

It raises at header names that are not UTF-8, which Kafka accepts. Here they are spelled out (`caf\xe9`), as in workers.

It decompresses a batch whole. One that inflates to more than can be held is read by `models.record_batch`.

It drops what a broker said before it hung up, if both arrive together: the reason why a login is refused. And it leaves
the socket of a connection or handshake that failed to the garbage collector.

It can write a header without a value (null, not empty), but refuses to be given one. So headers are given with empty
values. The serializer of values, a hook that is called between the check and the writing, restores the original ones.
"""

from collections.abc import Callable, Iterable, Iterator
from socket import socket
from typing import Any, Final, cast

from kafka.errors import CorruptRecordError
from kafka.net.inet import KafkaNetSocket
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecord, LegacyRecordBatch
from kafka.serializer import Serializer

from consumers.codecs import install_codecs
from models.record_batch import BatchError, exceeds, read_records


def patch_kafka_python() -> None:
    """Let every kafka-python consumer of this process read what the worker reads; may be called again."""
    install_codecs()
    memory_records.DefaultRecordBatch, memory_records.LegacyRecordBatch = _LenientBatch, _BoundedLegacyBatch
    for transport, receive in _RECEIVE.items():
        transport._sock_recv = _data_before_error(receive)  # noqa: SLF001 - it has no other way
    KafkaSSLTransport.handshake = _shake_hands_or_close
    KafkaNetSocket.sock_connect = _connect_or_close


_RECEIVE: Final = {transport: transport._sock_recv for transport in (KafkaTCPTransport, KafkaSSLTransport)}  # noqa: SLF001 - as below
_shake_hands: Final = KafkaSSLTransport.handshake
_connect: Final = KafkaNetSocket.sock_connect


def _data_before_error(receive: Callable[[Any], tuple[bytes, Exception | None]]) -> Any:  # noqa: ANN401 - a method
    """Return a method that receives: an error behind data is left for the next call, which meets it again."""

    def receive_data(transport: Any) -> tuple[bytes, Exception | None]:  # noqa: ANN401 - kafka-python has no types
        data, error = receive(transport)
        return data, None if data else error

    return receive_data


async def _shake_hands_or_close(transport: Any) -> None:  # noqa: ANN401 - as above
    try:
        await _shake_hands(transport)
    except BaseException:
        transport._close()  # noqa: SLF001 - as above
        raise


async def _connect_or_close(factory: Any, net: Any, sock: socket, *args: Any, **options: Any) -> socket:  # noqa: ANN401 - as above
    try:
        return cast("socket", await _connect(factory, net, sock, *args, **options))
    except BaseException:
        # Cancelled too: a client that is closed while it connects.
        sock.close()
        raise


class _LenientBytes(bytearray):
    """Bytes whose slices decode to text that spells out what is not UTF-8, for a parser that decodes strictly."""

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - a number or a slice, as bytearray's
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _LenientBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A batch that is read in bounded memory, and decodes names leniently from the first one on that is not UTF-8."""

    __slots__ = ()
    _buffer: Any

    def __iter__(self) -> Iterator[DefaultRecord]:
        if self._decompressed or not exceeds(self._buffer):
            return cast("Iterator[DefaultRecord]", super().__iter__())
        return self._read_one_by_one()

    def _read_one_by_one(self) -> Iterator[DefaultRecord]:
        try:
            for record in read_records(self._buffer):
                size = len(record.value or b"")
                yield DefaultRecord(
                    size,
                    record.offset,
                    record.timestamp,
                    record.timestamp_type,
                    record.key,
                    record.value,
                    record.headers,
                )
        except BatchError as error:
            raise CorruptRecordError(str(error)) from error

    def _read_msg(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - kafka-python has no types
        try:
            return super()._read_msg(*args, **options)
        except UnicodeDecodeError:
            # The batch's position moves only after a record has been read.
            self._buffer = _LenientBytes(self._buffer)
            return super()._read_msg(*args, **options)


class _BoundedLegacyBatch(LegacyRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A message set from before Kafka 0.11 that is not decompressed beyond what can be held."""

    __slots__ = ()
    _buffer: Any

    def __iter__(self) -> Iterator[LegacyRecord]:
        if exceeds(self._buffer):
            try:
                yield from read_records(self._buffer)
            except BatchError as error:
                raise CorruptRecordError(str(error)) from error
        yield from super().__iter__()


class NullableHeaders(list[tuple[str, bytes | None]]):
    """The headers of a record, some without a value; for a producer with a `NullHeaderSerializer`."""

    def __init__(self, headers: Iterable[tuple[str, bytes | None]]) -> None:
        self.original = list(headers)
        super().__init__((name, value or b"") for name, value in self.original)

    def __bool__(self) -> bool:
        """Return False: kafka-python would count the bytes of the values, for a figure that nobody reads here."""
        return False


class NullHeaderSerializer(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """A `value_serializer` that leaves values unchanged and restores the original headers."""

    def serialize(self, _topic: str, headers: object, value: bytes | None) -> bytes | None:
        """Return the value."""
        if isinstance(headers, NullableHeaders):
            headers[:] = headers.original
        return value
