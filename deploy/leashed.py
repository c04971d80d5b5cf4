"""Running a command so that it ends with the block that asked for it, and with this process in whichever way."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def leashed(
    command: Sequence[str], folder: Path, output: IO[bytes], held: IO[bytes], grace_seconds: float
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command in a folder until the block ends; give its leash (leash.py) and its process id.

    `held` is open in the command as long as that lives. Told to end, it has its grace, and is then killed.
    """
    leash = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
        [
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py"))),
            *(str(grace_seconds), str(held.fileno())),
            *command,
        ],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=output,
        pass_fds=[held.fileno()],
        # Ctrl-C in a terminal reaches a whole group: whoever uses the command is to stop before it does.
        start_new_session=True,
    )
    assert leash.stdin and leash.stdout  # noqa: S101, PT018 - for the type checker: both were asked for above
    try:
        yield leash, int(leash.stdout.readline() or 0)
    finally:
        leash.stdin.close()
        leash.stdout.close()
        try:
            ended = leash.wait(grace_seconds + 2) >= 0
        except subprocess.TimeoutExpired:
            ended = False
        if not ended:
            # The leash itself was killed, or hangs: it leads a group in which the command is.
            with suppress(ProcessLookupError):
                os.killpg(leash.pid, signal.SIGKILL)
            leash.wait()
