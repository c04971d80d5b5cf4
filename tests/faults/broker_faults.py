"""Faults of the broker itself: killed and started again, away for long, standing still."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from sqlalchemy import text

from models.database.engine import write_transaction
from tests.faults.fault import Fault
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.workers import wait_until

_OUTAGE_SECONDS: Final = 120.0


def kill_and_restart_broker(seconds: float, scenario: Scenario) -> float:
    """Kill the broker, and start it again after so many seconds."""
    time.sleep(scenario.rng.uniform(0, 1))
    scenario.kafka.kill()
    time.sleep(seconds)
    assert scenario.workers[0].process.poll() is None, scenario.workers[0].log_text[-3000:]
    # It is away until it answers again.
    scenario.kafka.start()
    return measure_recovery(scenario)


def kill_broker_in_flight(scenario: Scenario) -> float:
    """Kill and start the broker while a batch waits for a lock, and the next ones were fetched behind it."""
    with write_transaction(scenario.engine) as connection:
        connection.execute(text("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE"))
        before = scenario.recorded_records
        time.sleep(scenario.rng.uniform(0.5, 2))
        scenario.kafka.kill()
        scenario.kafka.start()
        assert scenario.recorded_records == before
    return measure_recovery(scenario)


def suspend_broker(scenario: Scenario) -> float:
    """Stop the broker longer than a group waits for a silent member, then let it go on."""
    scenario.kafka.suspend()
    try:
        time.sleep(scenario.rng.uniform(12, 16))
    finally:
        scenario.kafka.resume()
    return measure_recovery(scenario)


def kill_broker_before_dead_letter_commit(scenario: Scenario) -> float:
    """Kill the broker when a batch has dead letters to hand in, before its transaction commits."""
    dying = scenario.start_worker(MILEPOST_FAILPOINT="after-dead-letter=kill@2")
    wait_until(lambda: dying.process.poll() is not None, "a worker dies with its dead letters handed in")
    scenario.kafka.kill()
    scenario.kafka.start()
    return measure_recovery(scenario)


FAULTS: Mapping[str, Fault] = {
    "the broker killed (-9) and started again": Fault(partial(kill_and_restart_broker, 0.0)),
    "the broker killed (-9) and started again, a batch in flight": Fault(kill_broker_in_flight),
    "the broker killed (-9) behind dead letters of a worker that died": Fault(kill_broker_before_dead_letter_commit),
    "the broker away for two minutes": Fault(partial(kill_and_restart_broker, _OUTAGE_SECONDS)),
    "the broker stands still (SIGSTOP), then goes on": Fault(suspend_broker),
}
