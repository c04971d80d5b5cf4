"""What libraries log of what is tried again: every broker that is away, every rebalance, every lost connection.

A worker logs outages and assignments in its own words, once; see `streams.outages`. A message is kept back only if it
is one of those below: what is not known to be harmless is logged as it comes.
"""

import logging
from typing import Final

from models.errors import TOO_FEW_REPLICAS
from streams.outages import EVENTS_TOPIC, KAFKA, OUTAGES

#: How messages begin, before their arguments are filled in, that a rebalance brings, and nothing else.
_REBALANCE: Final = ("Heartbeat failed for group %s because it is rebalancing",)
#: That are about one attempt, of an operation that is tried again.
_ATTEMPTS: Final = (
    "Attempt to fetch offsets for partition",
    "Cannot send %r to %s",
    "Could not send %r",
    "Error sending %s to node",
    "Failed fetch messages from",
    "Failed fetch offsets from",
    "Failed to commit on finallization",
    "Got error produce response",
    "Group Coordinator Request failed",
    "Heartbeat failed for group %s: coordinator",
    "Heartbeat failed for group %s: generation id is not",
    "Heartbeat failed: local member_id was not recognized",
    "Heartbeat send request failed",
    "Heartbeat session expired",
    "LeaveGroup request failed",
    "Marking the coordinator dead",
    "OffsetCommit failed before join",
    "OffsetCommit failed for group %s",
    "Unable connect to",
    "Unable to request metadata from",
    "Unable to update metadata from",
)
#: Of mode, about the loop of the fetching thread: under load it turned some seconds late. Where it does not turn any
#: more, no position moves, and the watchdog says so.
_LATE_LOOP: Final = "Thread keepalive is not responding"
#: Of psycopg, whose error with the cause is raised as well.
_LOST_CONNECTION: Final = "error ignored "
#: That have the cause why nothing answers.
_CAUSES: Final = ("Unable connect to",)
#: Whose last argument is the cause why events are not taken.
_REFUSALS: Final = ("Got error produce response",)
#: The names of aiokafka's errors: a board has the same log, and does without Kafka's clients.
_REPLICA_ERRORS: Final = frozenset({"NotEnoughReplicasError", "NotEnoughReplicasAfterAppendError"})
#: A message that still comes after this long, while Kafka answers otherwise, tells something.
HOLD_SECONDS: Final = 30.0
#: After this long without it, a message is new again.
_FORGET_SECONDS: Final = 60.0


class AttemptFilter(logging.Filter):
    """Keeps back what aiokafka logs of attempts: in an outage and soon after, and at first also without one."""

    def __init__(self) -> None:
        super().__init__()
        #: Since when each message comes without an outage, and when it came last.
        self._seen: dict[str, tuple[float, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log it."""
        message = str(record.msg)
        if record.name == "psycopg":
            return not message.startswith(_LOST_CONNECTION)
        if not record.name.startswith("aiokafka"):
            return _LATE_LOOP not in message
        if message.startswith(_REBALANCE):
            return False
        if not message.startswith(_ATTEMPTS):
            return True
        if message.startswith(_CAUSES):
            OUTAGES.add_detail(KAFKA, record.getMessage())
        if message.startswith(_REFUSALS) and isinstance(record.args, tuple) and isinstance(record.args[-1], type):
            refusal = record.args[-1].__name__
            OUTAGES.add_detail(EVENTS_TOPIC, TOO_FEW_REPLICAS if refusal in _REPLICA_ERRORS else refusal)
        since, last = self._seen.get(message, (record.created, record.created))
        is_outage = any(OUTAGES.was_away(subject, HOLD_SECONDS) for subject in (KAFKA, EVENTS_TOPIC))
        if is_outage or record.created - last > _FORGET_SECONDS:
            since = record.created
        self._seen[message] = since, record.created
        return record.created - since >= HOLD_SECONDS
