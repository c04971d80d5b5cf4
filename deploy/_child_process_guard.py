"""Runs one command, and ends it when the process that asked for it is gone.

Standard input is a pipe whose other end only that process holds. The kernel closes it however the process ends, kill -9
included, and this program then ends the command: first politely, after a grace by force. Unlike a death signal of
the kernel this works on every Unix.

    python _child_process_guard.py GRACE_SECONDS LOCK_FD COMMAND…

It is started by path and knows nothing but the standard library, so that it costs a few milliseconds and little memory.
"""

import os
import signal
import subprocess
import sys
import threading


def _terminate(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    process.terminate()
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def _terminate_with_owner(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    while os.read(0, 1024):
        pass
    _terminate(process, grace_seconds)


def main(arguments: list[str]) -> int:
    """Start the command, say its process id on standard output, and stay as long as it does."""
    grace, lock = float(arguments[0]), int(arguments[1])
    # The command inherits the lock: it stays taken for exactly as long as the command lives, not as long as we do.
    command = subprocess.Popen(arguments[2:], stdin=subprocess.DEVNULL, stdout=2, pass_fds=[lock])  # noqa: S603 - our own caller's
    # Whoever ends the leash ends what it holds.
    signal.signal(signal.SIGTERM, lambda _number, _frame: command.terminate())
    threading.Thread(target=_terminate_with_owner, args=[command, grace], daemon=True).start()
    sys.stdout.write(f"{command.pid}\n")
    sys.stdout.close()
    return command.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
