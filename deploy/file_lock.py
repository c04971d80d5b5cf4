"""An exclusive lock on a file in which its holder writes who it is.

The kernel releases it when the last process that has the file open ends, so no crash leaves one behind.
"""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

_POLL_S: Final = 0.02


class FileLockedError(Exception):
    """Another process holds the lock."""

    def __init__(self, holder: str) -> None:
        """Take what the holder wrote into the file."""
        self.holder = holder


def lock_file(path: Path, is_worth_waiting: Callable[[str], bool] = lambda _holder: False) -> IO[str]:
    """Lock a file and return it open: closing it releases the lock.

    While another process holds it, `is_worth_waiting` gets what that wrote. Raises `FileLockedError` when it is not.
    """
    lock = path.open("a+", encoding="utf-8")
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                if not is_worth_waiting(holder := lock.read().strip()):
                    raise FileLockedError(holder) from None
                time.sleep(_POLL_S)
            else:
                return lock
    except BaseException:
        lock.close()
        raise


def write_holder(lock: IO[str], holder: str) -> None:
    """Replace what the file says about the holder."""
    lock.truncate(0)
    lock.write(holder)
    lock.flush()
