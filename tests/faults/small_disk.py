"""A file system of a few megabytes, to be full: mounted, for which one has to be root."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK = bytes(64 * 1024)


class MountError(Exception):
    """No file system can be mounted here; the message is one line."""


class SmallFileSystem:
    """A folder on a file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(_CHUNK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink()


@contextmanager
def small_file_system(megabytes: int, owner: int) -> Iterator[SmallFileSystem]:
    """Mount a file system that belongs to a user (by number) until the block ends; raises `CannotMountError`."""
    with tempfile.TemporaryDirectory(prefix="milepost-small-") as folder:
        Path(folder).chmod(0o755)  # a server runs as another user
        disk = Path(folder) / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise MountError(f"no file system can be mounted here: {mounted.stderr.strip()}")
        try:
            os.chown(disk, owner, -1)
            yield SmallFileSystem(disk)
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: S607 - where the system has it
