"""The faults: each given a scene with one ready worker and a load running, each returns its recovery in seconds.

Recovery counts from the moment the fault is over (a killed worker: from its death, another being there or started)
until all that was published by then is recorded.
"""

import signal
import time
from collections.abc import Callable, Mapping
from functools import partial

from sqlalchemy import text

from models.database import writing
from models.failpoints import PLACES
from tests.faults.scene import Scene, measured
from tests.workers import wait_until

Scenario = Callable[[Scene], float]

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


def cut_the_database(scene: Scene) -> float:
    """Reset the connections to the database again and again."""
    for _ in range(20):
        scene.proxy.cut()
        time.sleep(scene.rng.uniform(0, 0.4))
    return measured(scene)


def refuse_the_database(scene: Scene) -> float:
    """Let nobody reach the database for a while."""
    scene.proxy.refuse()
    time.sleep(scene.rng.uniform(5, 10))
    assert scene.workers[0].process.poll() is None
    scene.proxy.heal()
    return measured(scene)


def delay_the_database(scene: Scene) -> float:
    """Have every byte to and from the database take two seconds longer."""
    scene.proxy.delay(2)
    time.sleep(10)
    scene.proxy.heal()
    return measured(scene)


def half_open_database(scene: Scene) -> float:
    """Keep the connections to the database, and let nothing through."""
    scene.proxy.swallow()
    time.sleep(scene.rng.uniform(5, 10))
    scene.proxy.heal()
    return measured(scene)


def terminate_backends(scene: Scene) -> float:
    """Have the database end its sessions, as a restart does."""
    for _ in range(10):
        with writing(scene.engine) as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        time.sleep(scene.rng.uniform(0, 0.5))
    return measured(scene)


def lock_the_ledger(scene: Scene) -> float:
    """Hold a lock that every batch needs."""
    with writing(scene.engine) as connection:
        connection.execute(text("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE"))
        time.sleep(scene.rng.uniform(5, 10))
    return measured(scene)


def read_only_database(scene: Scene) -> float:
    """Let the database be read but not written, for every new session."""
    name = scene.engine.url.database
    end_sessions = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with writing(scene.engine) as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
        connection.execute(text(end_sessions))
    time.sleep(scene.rng.uniform(3, 6))
    assert scene.workers[0].process.poll() is None
    with scene.engine.connect() as connection:
        connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"))
        connection.commit()
        connection.execute(text(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'))
        connection.execute(text(end_sessions))
        connection.commit()
        connection.invalidate()
    return measured(scene)


SCENARIOS: Mapping[str, Scenario] = {
    **{
        f"kill -9 at {place}": partial(kill_at, place)
        for place in PLACES
        if place != "block-loop"  # for the watchdog's tests
    },
    "kill -9, and another worker started": kill_and_start,
    "SIGTERM in a batch, and another worker started": terminate_in_a_batch,
    "SIGSTOP longer than the session, then SIGCONT": stop_longer_than_a_session,
    "workers join and leave": come_and_go,
    "connections to the database reset, 20 times": cut_the_database,
    "the database refuses connections": refuse_the_database,
    "2 s latency to the database": delay_the_database,
    "the database's connections half open": half_open_database,
    "the database ends its sessions, 10 times": terminate_backends,
    "a lock on the ledger": lock_the_ledger,
    "the database read-only": read_only_database,
}
