"""Ports that nobody has, at this moment."""
# Running a command so that it ends with the block that asked for it, and with this process in whichever way.

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def free_port(host: str, preferred: int) -> int:
    """Return the port that is wanted when nobody has it, else another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError):
        # Asking first: a server on all addresses does not keep every system from binding one of them.
        with socket.socket(family) as client:
            client.settimeout(1)
            taken = client.connect_ex((host, preferred)) == 0
        for port in (0,) if taken else (preferred, 0):
            with suppress(OSError), socket.socket(family) as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((host, port))
                return int(server.getsockname()[1])
    # Nothing can be served there: whoever tries says why.
    return preferred


@contextmanager
def run_child_process(
    command: Sequence[str], working_dir: Path, output: IO[bytes], inherited_file: IO[bytes], grace_seconds: float
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command in a folder until the block ends; give its leash (_child_process_guard.py) and its process id.

    `held` is open in the command as long as that lives. Told to end, it has its grace, and is then killed.
    """
    leash = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
        [
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("_child_process_guard.py"))),
            *(str(grace_seconds), str(inherited_file.fileno())),
            *command,
        ],
        cwd=working_dir,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=output,
        pass_fds=[inherited_file.fileno()],
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
