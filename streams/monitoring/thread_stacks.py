"""What every thread of this process does: for the log of a process that has to end itself."""

import sys
import threading
import traceback


def format_thread_stacks() -> str:
    """Return the stack of every thread."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread 0x{identifier:016x} ({names.get(identifier, 'unknown')}):\n" + "".join(traceback.format_stack(frame))
        for identifier, frame in sys._current_frames().items()  # noqa: SLF001 - the documented way
    )
