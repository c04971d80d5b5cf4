"""What a worker needs, before a fault and after it: a leak of either shows as growth."""

from typing import Final, NamedTuple, Self

import psutil

#: A connection to the database for each thread that asks it (5), to the broker for each client of it and its
#: coordinator (a few): some of them are first opened after the fault. What leaks one a try is past it in seconds.
MORE_DESCRIPTORS: Final = 12
#: What a backlog needs while it is recorded, of which the heap keeps a part.
MORE_BYTES: Final = 64 * 1024 * 1024


class Effort(NamedTuple):
    """Of one process, at one moment."""

    descriptors: int
    bytes: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Look at a process."""
        process = psutil.Process(pid)
        return cls(process.num_fds(), process.memory_info().rss)

    def excess(self, before: "Effort") -> bool:
        """Return whether this is more than what was before explains."""
        return self.descriptors > before.descriptors + MORE_DESCRIPTORS or self.bytes > before.bytes + MORE_BYTES
