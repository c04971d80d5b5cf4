"""Faults of publishers: a clock that is off by hours, and everything said a hundred times."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.fault import Fault
from tests.faults.load import PROGRAMMES, shuffled
from tests.faults.scene import Scene, measured
from tests.publisher import structured
from tests.reading import Event
from tests.workers import publish, publish_records

#: Said a hundred times each.
_REPEATED: Final = 100
_TIMES: Final = 100


def _reported(scene: Scene, number: int, off: timedelta) -> Event:
    moment = datetime.now(UTC) + off
    return {
        "specversion": "1.0",
        "id": f"clock-{off.total_seconds():.0f}-{number}",
        "source": "https://site-office.example",
        "type": "milepost.milestone.reported.v1",
        "subject": f"programme-{scene.rng.randrange(PROGRAMMES)}/project-1",
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": {"milestone": "permit-approved", "classifier": "EST", "date": "2027-05-01"},
    }


def be_off_by_hours(scene: Scene) -> float:
    """Stamp events hours ahead and hours behind: those of the future are rejected, whatever else holds."""
    ahead = [_reported(scene, number, timedelta(hours=5)) for number in range(100)]
    behind = [_reported(scene, number, timedelta(hours=-5)) for number in range(100)]
    publish(scene.settings, [event for both in zip(ahead, behind, strict=True) for event in both])
    scene.also_said += behind
    scene.also_rejected += len(ahead)
    return measured(scene)


def say_everything_again(scene: Scene) -> float:
    """Say a hundred events a hundred times, in any order, to any partition."""
    events = [event | {"id": f"again-{event['id']}"} for event in shuffled(scene.rng.randrange(10**6), _REPEATED)]
    events = [event for event in events if "retracts" not in event["data"]]
    every = events * _TIMES
    scene.rng.shuffle(every)
    publish_records(
        scene.settings, ((bytes(str(scene.rng.randrange(1000)), "ascii"), *structured(event)) for event in every)
    )
    scene.also_said += events
    return measured(scene)


FAULTS: Mapping[str, Fault] = {
    "a publisher's clock off by hours": Fault(be_off_by_hours),
    "a hundred events said a hundred times each": Fault(say_everything_again),
}
