"""How a target is told: a channel is made anew for each assignment of partitions, and closed with it."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import ErrorKind, classify_error
from models.errors import MilepostError
from streams.error_text import describe_error
from streams.notify.changes import Change
from streams.notify.deliveries import Answer, Delivery, Outcome
from streams.notify.targets import Target
from streams.notify.webhook import SignedEvent, WebhookSender


class PendingChange(NamedTuple):
    """A change that is not delivered yet, and its record."""

    change: Change
    partition: int
    offset: int
    #: When the record was written, in seconds since the epoch.
    time: float
    #: Since when its delivery fails, in seconds since the epoch; 0 when it does not.
    failing_since: float


#: The changes that are told together.
ChangeDelivery = Delivery[tuple[PendingChange, ...]]
PutDelivery = Callable[[ChangeDelivery], None]
#: Returns whether others wait for the milestone of a change.
IsGate = Callable[[Change], Awaitable[bool]]


class Channel(Protocol):
    """Tells a target of changes."""

    #: How many deliveries are under way at once.
    max_under_way: int

    @property
    def collected(self) -> int:
        """How many changes are taken, and not put into a delivery yet."""

    def add(self, pending: PendingChange, put: PutDelivery) -> None:
        """Take a change; put deliveries, now or later."""

    async def deliver(self, delivery: ChangeDelivery) -> Answer:
        """Make one attempt."""

    async def close(self) -> None:
        """Put nothing any more, and close what is open."""


def delivery_of(*pending: PendingChange) -> ChangeDelivery:
    """Return the delivery of changes that are told together."""
    failing = [change.failing_since for change in pending if change.failing_since]
    return Delivery(pending, {each.change.milestone for each in pending}, min(failing, default=0.0))


def failed_by_database(error: Exception) -> Answer:
    """Return the answer for an error of the database that may pass; raises any other."""
    if classify_error(error) is not ErrorKind.TRANSIENT:
        raise error
    return Answer(Outcome.FAILED, f"the database does not answer: {describe_error(error)}")


class SystemChannel:
    """Tells a system: each change for itself."""

    collected = 0

    def __init__(self, target: Target, sender: WebhookSender, is_gate: IsGate, max_under_way: int) -> None:
        self._target, self._sender, self._is_gate, self.max_under_way = target, sender, is_gate, max_under_way

    def add(self, pending: PendingChange, put: PutDelivery) -> None:
        """Put the delivery of a change."""
        put(delivery_of(pending))

    async def deliver(self, delivery: ChangeDelivery) -> Answer:
        """Send the change."""
        change = delivery.content[0].change
        if self._target.filters.is_for_gates:
            try:
                is_gate = await self._is_gate(change)
            except (SQLAlchemyError, MilepostError) as error:
                return failed_by_database(error)
            if not is_gate:
                return Answer(Outcome.NOT_WANTED)
        return await self._sender.send(SignedEvent(change.id, change.event))

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()
