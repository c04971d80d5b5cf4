"""A cache of what was calculated of a programme, valid for one revision of it."""

from collections.abc import Callable, Hashable
from typing import Any

from cachetools import LRUCache


class RevisionCache:
    """What was calculated of programmes, valid for one revision of each; bounded by its size."""

    def __init__(self, max_size: int, size_of: Callable[[Any], int] = len) -> None:
        # What is empty counts.
        self._values = LRUCache[Hashable, tuple[int, Any]](
            max_size, getsizeof=lambda cached: min(size_of(cached[1]) + 1, max_size)
        )

    def get(self, key: Hashable, revision: int) -> Any | None:  # noqa: ANN401 - what was put
        """Return what is known for a revision; None for nothing."""
        known = self._values.get(key)
        return None if known is None or known[0] != revision else known[1]

    def get_older(self, key: Hashable) -> Any | None:  # noqa: ANN401 - what was put
        """Return what is known for the last revision that was asked for; None for nothing."""
        known = self._values.get(key)
        return None if known is None else known[1]

    def forget(self, key: Hashable) -> None:
        """Forget what is known."""
        self._values.pop(key, None)

    def put(self, key: Hashable, revision: int, value: object) -> None:
        """Keep a value; the one that was used the longest ago gives way."""
        self._values[key] = revision, value
