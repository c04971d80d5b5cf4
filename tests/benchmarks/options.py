"""How much is done to measure something."""

from typing import NamedTuple


class RunOptions(NamedTuple):
    """How large a benchmark is, compared with what its targets speak of, and how often it is run."""

    scale: float = 1.0
    runs: int = 3

    def scaled(self, count: int, *, multiple_of: int = 1) -> int:
        """Return a number at this scale: not nothing, and a multiple of something."""
        return max(1, round(count * self.scale / multiple_of)) * multiple_of
