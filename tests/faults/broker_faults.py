"""Faults of the broker itself: killed and started again, away for long, standing still."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from sqlalchemy import text

from models.database.engine import writing
from tests.faults.fault import Fault
from tests.faults.scene import Scene, measured
from tests.workers import wait_until

_TWO_MINUTES: Final = 120.0


def kill_and_start(seconds: float, scene: Scene) -> float:
    """Kill the broker, and start it again after so many seconds."""
    time.sleep(scene.rng.uniform(0, 1))
    scene.kafka.kill()
    time.sleep(seconds)
    assert scene.workers[0].process.poll() is None, scene.workers[0].log[-3000:]
    # It is away until it answers again.
    scene.kafka.start()
    return measured(scene)


def kill_in_flight(scene: Scene) -> float:
    """Kill and start the broker while a batch waits for a lock, and the next ones were fetched behind it."""
    with writing(scene.engine) as connection:
        connection.execute(text("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE"))
        before = scene.recorded
        time.sleep(scene.rng.uniform(0.5, 2))
        scene.kafka.kill()
        scene.kafka.start()
        assert scene.recorded == before
    return measured(scene)


def stand_still(scene: Scene) -> float:
    """Stop the broker longer than a group waits for a silent member, then let it go on."""
    scene.kafka.suspend()
    try:
        time.sleep(scene.rng.uniform(12, 16))
    finally:
        scene.kafka.resume()
    return measured(scene)


def take_a_letter_away(scene: Scene) -> float:
    """Kill the broker when a batch has dead letters to hand in, before its transaction commits."""
    dying = scene.start_worker(MILEPOST_FAILPOINT="after-dead-letter=kill@2")
    wait_until(lambda: dying.process.poll() is not None, "a worker dies with its dead letters handed in")
    scene.kafka.kill()
    scene.kafka.start()
    return measured(scene)


FAULTS: Mapping[str, Fault] = {
    "the broker killed (-9) and started again": Fault(partial(kill_and_start, 0.0)),
    "the broker killed (-9) and started again, a batch in flight": Fault(kill_in_flight),
    "the broker killed (-9) behind dead letters of a worker that died": Fault(take_a_letter_away),
    "the broker away for two minutes": Fault(partial(kill_and_start, _TWO_MINUTES)),
    "the broker stands still (SIGSTOP), then goes on": Fault(stand_still),
}
