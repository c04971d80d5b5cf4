"""Child processes that end with the block that started them, and with this process however it ends."""

import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

_POLL_S: Final = 0.02
#: Below every system's ports for outgoing connections: a port of the system's choice may become the local end of a
#: connection before the server itself listens on it.
_SERVER_PORTS: Final = range(20_000, 32_768)
_GUARD: Final = Path(__file__).with_name("_child_process_guard.py")


class ChildProcess(NamedTuple):
    """A command that runs, and the guard process above it."""

    pid: int
    guard: subprocess.Popen[bytes]

    def startup_problem(self, is_up: Callable[[], bool], timeout_seconds: float) -> str | None:
        """Wait until it is up; return None, or what went wrong as the end of a sentence about it."""
        answered = poll_until(lambda: self.guard.poll() is not None or is_up(), timeout_seconds, _POLL_S)
        if self.guard.poll() is not None:
            return "ended while it started"
        return None if answered else f"is not up after {timeout_seconds:.0f} s"


@contextmanager
def run_child_process(
    command: Sequence[str], working_dir: Path, output: IO[bytes], inherited_file: IO[Any], grace_seconds: float
) -> Iterator[ChildProcess]:
    """Run a command until the block ends, under a guard process (_child_process_guard.py).

    The command inherits the open file, so that a lock on it lasts as long as the command. It is asked to end, and
    killed when it still runs after its grace.
    """
    guard = subprocess.Popen(  # noqa: S603 - the arguments are our own
        [sys.executable, "-I", "-S", str(_GUARD), str(grace_seconds), str(inherited_file.fileno()), *command],
        cwd=working_dir,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=output,
        pass_fds=[inherited_file.fileno()],
        # Ctrl-C in a terminal reaches a whole process group; what uses the command has to stop first.
        start_new_session=True,
    )
    assert guard.stdin and guard.stdout  # noqa: S101, PT018 - for the type checker: both are pipes
    try:
        yield ChildProcess(int(guard.stdout.readline() or 0), guard)
    finally:
        guard.stdin.close()
        guard.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            guard.wait(grace_seconds + 2)
        if guard.returncode is None or guard.returncode < 0:
            # The guard was killed or hangs. It leads the process group of the command.
            with suppress(ProcessLookupError):
                os.killpg(guard.pid, signal.SIGKILL)
            guard.wait()


def poll_until(
    is_true: Callable[[], bool],
    timeout_seconds: float,
    poll_seconds: float,
    sleep: Callable[[float], object] = time.sleep,
) -> bool:
    """Wait until a condition holds; return whether it did in time."""
    deadline = time.monotonic() + timeout_seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        sleep(poll_seconds)
    return True


def is_listening(host: str, port: int) -> bool:
    """Return whether a server answers there."""
    with _tcp_socket(host) as client:
        client.settimeout(1)
        return client.connect_ex((host, port)) == 0


def bind_port(host: str, port: int) -> socket.socket:
    """Return a socket that holds a port, any free one for 0; connections of a server just stopped do not count."""
    server = _tcp_socket(host)
    try:
        if port:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                server.bind((host, port or secrets.choice(_SERVER_PORTS)))
            except OSError as error:
                if port or error.errno != errno.EADDRINUSE:
                    raise
            else:
                return server
    except OSError:
        server.close()
        raise


def free_port(host: str, preferred: int) -> int:
    """Return the preferred port when it is free, else another."""
    with suppress(OSError):
        # A server on all addresses does not keep every system from binding one of them, so ask first.
        for port in (0,) if is_listening(host, preferred) else (preferred, 0):
            with suppress(OSError), bind_port(host, port) as server:
                return int(server.getsockname()[1])
    # Nothing can be served on this host: the caller's own attempt reports why.
    return preferred


def _tcp_socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
