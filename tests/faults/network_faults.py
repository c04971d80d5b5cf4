"""Faults of the network, between a worker and its Kafka or its database."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tests.faults.fault import Fault
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, measured

#: Longer than a group waits for a silent member.
_LONGER_THAN_A_SESSION: Final = 14.0

Side = Callable[[Scene], Proxy]


def _kafka(scene: Scene) -> Proxy:
    return scene.kafka.proxy


def _database(scene: Scene) -> Proxy:
    return scene.database_proxy


def cut(side: Side, scene: Scene) -> float:
    """Reset the connections again and again."""
    for _ in range(20):
        side(scene).cut()
        time.sleep(scene.rng.uniform(0, 0.4))
    return measured(scene)


def refuse(side: Side, scene: Scene) -> float:
    """Let nobody through for a while."""
    side(scene).refuse()
    time.sleep(scene.rng.uniform(5, 10))
    return _healed(side, scene)


def delay(side: Side, scene: Scene) -> float:
    """Have every byte, there and back, take two seconds longer."""
    side(scene).delay(2)
    time.sleep(10)
    return _healed(side, scene)


def swallow(side: Side, seconds: tuple[float, float], scene: Scene) -> float:
    """Keep the connections, and let nothing through."""
    side(scene).swallow()
    time.sleep(scene.rng.uniform(*seconds))
    return _healed(side, scene)


def _healed(side: Side, scene: Scene) -> float:
    assert scene.workers[0].process.poll() is None, scene.workers[0].log[-3000:]
    side(scene).heal()
    return measured(scene)


_SHORT: Final = (5.0, 10.0)

FAULTS: Mapping[str, Fault] = {
    "connections to the database reset, 20 times": Fault(partial(cut, _database)),
    "the database refuses connections": Fault(partial(refuse, _database)),
    "2 s latency to the database": Fault(partial(delay, _database)),
    "the database's connections half open": Fault(partial(swallow, _database, _SHORT)),
    "connections to Kafka reset, 20 times": Fault(partial(cut, _kafka)),
    "Kafka refuses connections": Fault(partial(refuse, _kafka)),
    "2 s latency to Kafka": Fault(partial(delay, _kafka)),
    "Kafka's connections half open": Fault(partial(swallow, _kafka, _SHORT)),
    "Kafka's connections half open longer than the session": Fault(
        partial(swallow, _kafka, (_LONGER_THAN_A_SESSION, _LONGER_THAN_A_SESSION + 4))
    ),
}
