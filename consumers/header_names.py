r"""Records whose headers have names that are no UTF-8: Kafka takes them, kafka-python raises at them.

Such a name is spelled out (`caf\xe9`), as a worker reads it: what is compared is then alike.
"""

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch

from models.header_names import PatientBytes


def read_any_names() -> None:
    """Let every kafka-python consumer of this process read names that are no UTF-8; may be called again."""
    memory_records.DefaultRecordBatch = _PatientBatch


class _PatientBatch(DefaultRecordBatch):  # type: ignore[misc]  # kafka-python has no types
    """A batch that, once a name cannot be read, decodes names patiently."""

    __slots__ = ()
    _buffer: Any

    def _read_msg(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - kafka-python has no types
        try:
            return super()._read_msg(*args, **options)
        except UnicodeDecodeError:
            # Where it stands moves only behind a record that was read.
            self._buffer = PatientBytes(self._buffer)
            return super()._read_msg(*args, **options)
