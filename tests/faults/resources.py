"""What a worker needs, before a fault and after it: a leak of either shows as growth."""

from pathlib import Path
from typing import Final, NamedTuple, Self

import psutil

#: A connection to the database for each thread that asks it (5), to the broker for each client of it and its
#: coordinator (a few): some of them are first opened after the fault. What leaks one a try is past it in seconds.
MAX_EXTRA_DESCRIPTORS: Final = 12
#: What a backlog needs while it is recorded, of which the heap keeps a part.
MAX_EXTRA_BYTES: Final = 64 * 1024 * 1024


class ProcessResources(NamedTuple):
    """Of one process, at one moment."""

    descriptors: int
    resident_bytes: int

    @classmethod
    def measure(cls, pid: int) -> Self:
        """Look at a process."""
        process = psutil.Process(pid)
        return cls(process.num_fds(), process.memory_info().rss)

    def has_grown_beyond(self, before: "ProcessResources") -> bool:
        """Return whether this is more than what was before explains."""
        return (
            self.descriptors > before.descriptors + MAX_EXTRA_DESCRIPTORS
            or self.resident_bytes > before.resident_bytes + MAX_EXTRA_BYTES
        )


def read_peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever held, as Linux counts."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines() if "VmHWM" in line]
    return int(line.split()[1]) * 1024
