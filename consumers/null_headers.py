"""Headers without a value, past kafka-python: it can write them (null, not empty), and refuses to be given them.

It checks a record's headers, asks the serializer of values (a hook of its own), and only then writes them. So the
headers are given with empty values, and get their true ones when that hook is called.
"""

from collections.abc import Iterable

from kafka.serializer import Serializer


class NullableHeaders(list[tuple[str, bytes | None]]):
    """The headers of a record, some without a value; for a producer whose `value_serializer` is `TrueHeaders`."""

    def __init__(self, headers: Iterable[tuple[str, bytes | None]]) -> None:
        self.true = list(headers)
        super().__init__((name, value or b"") for name, value in self.true)

    def __bool__(self) -> bool:
        """Return False: kafka-python would count the bytes of values, for a figure that is not read here."""
        return False


class TrueHeaders(Serializer):  # type: ignore[misc]  # kafka-python has no types
    """A serializer that leaves values as they are, and puts the true headers in place."""

    def serialize(self, _topic: str, headers: object, value: bytes | None) -> bytes | None:
        """Return the value."""
        if isinstance(headers, NullableHeaders):
            headers[:] = headers.true
        return value
