"""Faults of workers: killed, ended, stopped, joining and leaving."""

import signal
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from models.failpoints import PLACES
from tests.faults.fault import Fault
from tests.faults.scene import Scene, measured
from tests.workers import wait_until

#: Longer than a group waits for a silent member.
_LONGER_THAN_A_SESSION = 14.0


def kill_at(place: str, scene: Scene) -> float:
    """Have a second worker die at a failpoint; the first goes on with what it had."""
    dying = scene.start_worker(MILEPOST_FAILPOINT=f"{place}=kill@{scene.rng.randint(1, 5)}")
    wait_until(lambda: dying.process.poll() is not None, f"the worker dies at {place}")
    assert dying.process.returncode == -signal.SIGKILL
    return measured(scene)


def terminate_in_a_batch(scene: Scene) -> float:
    """Ask the worker to end in the midst of it, and start another."""
    time.sleep(scene.rng.uniform(0, 1))
    assert scene.workers[0].stop() < scene.settings.stop_seconds + 2
    assert scene.workers[0].process.returncode == 0
    scene.start_worker().wait_until_ready()
    return measured(scene)


def kill_and_start(scene: Scene) -> float:
    """Kill the only worker, and start another."""
    time.sleep(scene.rng.uniform(0, 1))
    scene.workers[0].stop(signal.SIGKILL)
    scene.start_worker()
    return measured(scene)


def stop_longer_than_a_session(scene: Scene) -> float:
    """Stop one of two workers until the group has given it up, then let it go on: it must write nothing of others'."""
    other = scene.start_worker()
    other.wait_until_ready()
    other.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(_LONGER_THAN_A_SESSION)
    finally:
        other.process.send_signal(signal.SIGCONT)
    return measured(scene)


def come_and_go(scene: Scene) -> float:
    """Have workers join and leave every few seconds."""
    for _ in range(4):
        guest = scene.start_worker()
        guest.wait_until_ready()
        time.sleep(scene.rng.uniform(0, 2))
        guest.stop()
    return measured(scene)


#: A worker that died is missed by its group after 10 s.
_TAKEOVER: Final = 12.0

FAULTS: Mapping[str, Fault] = {
    **{
        f"kill -9 at {place}": Fault(partial(kill_at, place), within=_TAKEOVER)
        for place in PLACES
        if place != "block-loop"  # for the watchdog's tests
    },
    "kill -9, and another worker started": Fault(kill_and_start, within=_TAKEOVER),
    "SIGTERM in a batch, and another worker started": Fault(terminate_in_a_batch),
    "SIGSTOP longer than the session, then SIGCONT": Fault(stop_longer_than_a_session),
    "workers join and leave": Fault(come_and_go),
}
