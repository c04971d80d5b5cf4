"""Faults of workers: killed, ended, stopped, joining and leaving."""

import signal
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from models.failpoints import FAILPOINT_NAMES
from tests.faults.fault import Fault
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.workers import wait_until

#: Longer than a group waits for a silent member.
_SESSION_EXCEEDED_SECONDS = 14.0


def kill_at_failpoint(failpoint_name: str, scenario: Scenario) -> float:
    """Have a second worker die at a failpoint; the first goes on with what it had."""
    dying = scenario.start_worker(MILEPOST_FAILPOINT=f"{failpoint_name}=kill@{scenario.rng.randint(1, 5)}")
    wait_until(lambda: dying.process.poll() is not None, f"the worker dies at {failpoint_name}")
    assert dying.process.returncode == -signal.SIGKILL
    return measure_recovery(scenario)


def terminate_in_batch(scenario: Scenario) -> float:
    """Ask the worker to end in the midst of it, and start another."""
    time.sleep(scenario.rng.uniform(0, 1))
    assert scenario.workers[0].stop() < scenario.settings.stop_seconds + 2
    assert scenario.workers[0].process.returncode == 0
    scenario.start_worker().wait_until_ready()
    return measure_recovery(scenario)


def terminate_while_broker_hangs(scenario: Scenario) -> float:
    """Ask the worker to end while the broker stands still (SIGSTOP), and start another once the broker goes on."""
    scenario.kafka.suspend()
    try:
        time.sleep(scenario.rng.uniform(0, 1))
        seconds = scenario.workers[0].stop()
        assert scenario.workers[0].process.returncode == 0, scenario.workers[0].log_text[-3000:]
        assert seconds < scenario.settings.stop_seconds, f"the worker took {seconds:.1f} s"
        scenario.notes.append(f"the worker ended after {seconds:.1f} s")
    finally:
        scenario.kafka.resume()
    scenario.start_worker().wait_until_ready()
    return measure_recovery(scenario)


def kill_and_replace_worker(scenario: Scenario) -> float:
    """Kill the only worker, and start another."""
    time.sleep(scenario.rng.uniform(0, 1))
    scenario.workers[0].stop(signal.SIGKILL)
    scenario.start_worker()
    return measure_recovery(scenario)


def suspend_beyond_session(scenario: Scenario) -> float:
    """Stop one of two workers until the group has given it up, then let it go on: it must write nothing of others'."""
    other = scenario.start_worker()
    other.wait_until_ready()
    other.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(_SESSION_EXCEEDED_SECONDS)
    finally:
        other.process.send_signal(signal.SIGCONT)
    return measure_recovery(scenario)


def join_and_leave(scenario: Scenario) -> float:
    """Have workers join and leave every few seconds."""
    for _ in range(4):
        guest = scenario.start_worker()
        guest.wait_until_ready()
        time.sleep(scenario.rng.uniform(0, 2))
        guest.stop()
    return measure_recovery(scenario)


#: A worker that died is missed by its group after 10 s.
_TAKEOVER_SECONDS: Final = 12.0

FAULTS: Mapping[str, Fault] = {
    **{
        f"kill -9 at {place}": Fault(partial(kill_at_failpoint, place), max_recovery_seconds=_TAKEOVER_SECONDS)
        for place in FAILPOINT_NAMES
        if place != "block-loop"  # for the watchdog's tests
    },
    "kill -9, and another worker started": Fault(kill_and_replace_worker, max_recovery_seconds=_TAKEOVER_SECONDS),
    "SIGTERM in a batch, and another worker started": Fault(terminate_in_batch),
    "SIGTERM to the worker while the broker stands still (SIGSTOP)": Fault(
        terminate_while_broker_hangs, max_recovery_seconds=_TAKEOVER_SECONDS
    ),
    "SIGSTOP longer than the session, then SIGCONT": Fault(suspend_beyond_session),
    "workers join and leave": Fault(join_and_leave),
}
