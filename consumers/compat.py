r"""Records whose headers have names that are no UTF-8: Kafka takes them, kafka-python raises at them.

Such a name is spelled out (`caf\xe9`), as a worker reads it: what is compared is then alike.
"""
# Headers without a value, past kafka-python: it can write them (null, not empty), and refuses to be given them.
#
# It checks a record's headers, asks the serializer of values (a hook of its own), and only then writes them. So the
# headers are given with empty values, and get their true ones when that hook is called.

from collections.abc import Iterable
from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch
from kafka.serializer import Serializer

from models.header_names import LenientBytes


def patch_kafka_python() -> None:
    """Let every kafka-python consumer of this process read names that are no UTF-8; may be called again."""
    memory_records.DefaultRecordBatch = _LenientKafkaPythonBatch


class _LenientKafkaPythonBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A batch that, once a name cannot be read, decodes names patiently."""

    __slots__ = ()
    _buffer: Any

    def _read_msg(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - kafka-python has no types
        try:
            return super()._read_msg(*args, **options)
        except UnicodeDecodeError:
            # Where it stands moves only behind a record that was read.
            self._buffer = LenientBytes(self._buffer)
            return super()._read_msg(*args, **options)


class NullableHeaders(list[tuple[str, bytes | None]]):
    """The headers of a record, some without a value; for a producer whose `value_serializer` is `TrueHeaders`."""

    def __init__(self, headers: Iterable[tuple[str, bytes | None]]) -> None:
        self.original = list(headers)
        super().__init__((name, value or b"") for name, value in self.original)

    def __bool__(self) -> bool:
        """Return False: kafka-python would count the bytes of values, for a figure that is not read here."""
        return False


class NullHeaderSerializer(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """A serializer that leaves values as they are, and puts the true headers in place."""

    def serialize(self, _topic: str, headers: object, value: bytes | None) -> bytes | None:
        """Return the value."""
        if isinstance(headers, NullableHeaders):
            headers[:] = headers.original
        return value
