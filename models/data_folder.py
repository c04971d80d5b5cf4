"""Folders for data on this machine. What is in `.milepost` is for its owner alone."""

from pathlib import Path
from typing import Final

#: The folder of the default database, and of all that the demo and the embedded Kafka keep.
DATA_FOLDER: Final = ".milepost"


def make_folder(folder: Path) -> None:
    """Create a folder with its parents; a `.milepost` among them, an existing one too, is closed to other users.

    Nothing below a folder of mode 0700 can be reached by others, whatever its own mode is. Raises `OSError`.
    """
    for each in (*reversed(folder.parents), folder):
        if each.name == DATA_FOLDER:
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if each.stat().st_mode & 0o077:
                each.chmod(0o700)
    folder.mkdir(parents=True, exist_ok=True)
