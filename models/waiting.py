"""Who waits for a gate, and how far it may still slip before each of them moves.

Pure, like the picture that it reads. A gate that comes later by some days moves what waits for it only once the slack
on the way is used up: what a path has of it is the sum over its links of how much later the one that waits comes than
it would have to, and of several paths the shortest counts.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from models.milestones import MilestoneKey
from models.schedule import Driver, Picture, Standing

_NEVER: Final = 1 << 60


class Waiter(NamedTuple):
    """An open milestone that waits for a gate, directly or through others."""

    standing: Standing
    #: The one it waits for on the way from the gate with the least slack, and how long after that it comes at least.
    after: Driver
    lag_days: int
    #: By how many days the gate may come later before this moves; none when it never would.
    slack_days: int | None

    @property
    def is_held(self) -> bool:
        """Whether one day more of the gate is one day more of this."""
        return self.slack_days == 0


def waiting_for(shown: Picture, key: MilestoneKey) -> Sequence[Waiter]:
    """Return who waits for a milestone of a picture, those who would move first at the head."""
    network, standings = shown.network, shown.standings
    start = network.places[key]
    slack = {start: 0 if standings[start].is_open and standings[start].forecast is not None else _NEVER}
    waiters = []
    cancelled = shown.inputs.cancelled
    for place in () if cancelled[start] else network.order:
        standing = standings[place]
        ways = [
            (_slack(standings[gate], standing, lag_days, slack[gate]), gate, lag_days)
            for gate, lag_days in network.before[place]
            if gate in slack
        ]
        if not ways or cancelled[place]:
            continue
        least, gate, lag_days = min(ways)
        # What has happened moves no more, and nothing moves through it.
        slack[place] = least if standing.is_open else _NEVER
        if standing.is_open:
            after = Driver(*network.milestones[gate][1:])
            waiters.append(Waiter(standing, after, lag_days, None if least >= _NEVER else least))
    return sorted(waiters, key=lambda one: (one.slack_days is None, one.slack_days, -(one.standing.slip_days or 0)))


def _slack(gate: Standing, waiting: Standing, lag_days: int, before: int) -> int:
    if gate.forecast is None or waiting.forecast is None or before >= _NEVER:
        return _NEVER
    return before + (waiting.forecast - gate.forecast).days - lag_days
