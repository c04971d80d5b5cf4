"""Runs one command, and ends it when the process that started this one is gone.

Standard input is a pipe whose other end only that process holds. The kernel closes it however the process ends, kill -9
included; the guard then asks the command to end, and kills it after a grace. Unlike the kernel's death signal this
works on every Unix.

    python _child_process_guard.py GRACE_SECONDS LOCK_FD COMMAND…

It is started by path and imports only the standard library, so it costs a few milliseconds and little memory.
"""

import os
import signal
import subprocess
import sys
import threading


def _end_with_owner(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    while os.read(0, 1024):
        pass
    process.terminate()
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def main(arguments: list[str]) -> int:
    """Start the command, print its process id, and return its exit status when it ends."""
    grace, lock = float(arguments[0]), int(arguments[1])
    # The command inherits the lock, which is held exactly as long as the command lives, not as long as the guard.
    command = subprocess.Popen(arguments[2:], stdin=subprocess.DEVNULL, stdout=2, pass_fds=[lock])  # noqa: S603 - our own caller's
    # Ending the guard ends the command.
    signal.signal(signal.SIGTERM, lambda _number, _frame: command.terminate())
    threading.Thread(target=_end_with_owner, args=[command, grace], daemon=True).start()
    sys.stdout.write(f"{command.pid}\n")
    sys.stdout.close()
    return command.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
