"""Names of headers: any bytes to Kafka, text to its clients, which decode them strictly and raise at others."""

from typing import Any


class LenientBytes(bytearray):
    r"""Bytes whose parts, asked for text, spell out what is none (`\\xff`): for a parser that decodes strictly."""

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - a number or a slice, as bytearray's
        part = super().__getitem__(index)
        return LenientBytes(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        """Return text."""
        return super().decode(encoding, errors)
