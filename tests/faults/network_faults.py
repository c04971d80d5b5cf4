"""Faults of the network, between a worker and its Kafka or its database."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tests.faults.fault import Fault
from tests.faults.proxy import Proxy
from tests.faults.scenario import Scenario, measure_recovery

#: Longer than a group waits for a silent member.
_BEYOND_SESSION_SECONDS: Final = 14.0

ProxyOf = Callable[[Scenario], Proxy]


def _kafka_proxy(scenario: Scenario) -> Proxy:
    return scenario.kafka.proxy


def _database_proxy(scenario: Scenario) -> Proxy:
    return scenario.database_proxy


def reset_connections(proxy_of: ProxyOf, scenario: Scenario) -> float:
    """Reset the connections again and again."""
    for _ in range(20):
        proxy_of(scenario).reset_connections()
        time.sleep(scenario.rng.uniform(0, 0.4))
    return measure_recovery(scenario)


def refuse_connections(proxy_of: ProxyOf, scenario: Scenario) -> float:
    """Let nobody through for a while."""
    proxy_of(scenario).refuse_connections()
    time.sleep(scenario.rng.uniform(5, 10))
    return _heal_and_measure(proxy_of, scenario)


def add_latency(proxy_of: ProxyOf, scenario: Scenario) -> float:
    """Have every byte, there and back, take two seconds longer."""
    proxy_of(scenario).add_latency(2)
    time.sleep(10)
    return _heal_and_measure(proxy_of, scenario)


def blackhole(proxy_of: ProxyOf, seconds: tuple[float, float], scenario: Scenario) -> float:
    """Keep the connections, and let nothing through."""
    proxy_of(scenario).blackhole()
    time.sleep(scenario.rng.uniform(*seconds))
    return _heal_and_measure(proxy_of, scenario)


def _heal_and_measure(proxy_of: ProxyOf, scenario: Scenario) -> float:
    assert scenario.workers[0].process.poll() is None, scenario.workers[0].log_text[-3000:]
    proxy_of(scenario).heal()
    return measure_recovery(scenario)


_BRIEF_SECONDS: Final = (5.0, 10.0)

FAULTS: Mapping[str, Fault] = {
    "connections to the database reset, 20 times": Fault(partial(reset_connections, _database_proxy)),
    "the database refuses connections": Fault(partial(refuse_connections, _database_proxy)),
    "2 s latency to the database": Fault(partial(add_latency, _database_proxy)),
    "the database's connections half open": Fault(partial(blackhole, _database_proxy, _BRIEF_SECONDS)),
    "connections to Kafka reset, 20 times": Fault(partial(reset_connections, _kafka_proxy)),
    "Kafka refuses connections": Fault(partial(refuse_connections, _kafka_proxy)),
    "2 s latency to Kafka": Fault(partial(add_latency, _kafka_proxy)),
    "Kafka's connections half open": Fault(partial(blackhole, _kafka_proxy, _BRIEF_SECONDS)),
    "Kafka's connections half open longer than the session": Fault(
        partial(blackhole, _kafka_proxy, (_BEYOND_SESSION_SECONDS, _BEYOND_SESSION_SECONDS + 4))
    ),
}
