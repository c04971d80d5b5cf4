"""How fresh what is shown is: the newest event, and since when what keeps the board from being current.

Every process that serves the board looks every few seconds, whether or not anybody reads: an outage has to have a
beginning. What is wrong is what the process itself and the workers say (Kafka and database that do not answer, records
that wait), and what the database says: programmes whose forecasts lack recorded events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.database.freshness import Freshness, OutdatedForecasts
from streams.error_text import describe_error

CHECK_SECONDS: Final = 2.0
#: How long one look at the database may take, and after how long without an answer that is a problem.
ANSWER_SECONDS: Final = 5.0
MAX_UNANSWERED_SECONDS: Final = 20.0
#: How long records may wait to be read, and recorded events for their forecasts: a backlog of events makes forecasts
#: pause for a minute.
MAX_LAG_SECONDS: Final = 60.0
MAX_OUTDATED_SECONDS: Final = 90.0

#: Why the board is not current, by name, with the beginning in seconds since the epoch where that is known.
Problems = Mapping[str, tuple[str, float | None]]


class Problem(NamedTuple):
    """Why the board is not current."""

    name: str
    reason: str
    #: When it was seen first, in seconds since the epoch; None for what no time changes.
    since: float | None


class FreshnessStatus(NamedTuple):
    """How fresh what is shown is."""

    #: When the broker appended the newest accepted event, in seconds since the epoch; None before the first.
    newest_event: float | None
    problems: tuple[Problem, ...]


#: What is not known is no outage, and has no beginning.
_WITHOUT_BEGINNING: Final = frozenset({"workers"})
#: Before the first look.
UNKNOWN: Final = FreshnessStatus(None, (Problem("board", "has just started", None),))


class FreshnessMonitor:
    """Knows how fresh what is shown is."""

    def __init__(
        self,
        read_problems: Callable[[], Awaitable[Problems]],
        read_database: Callable[[], Awaitable[Freshness]],
        publish: Callable[[FreshnessStatus], None],
        now: Callable[[], float],
    ) -> None:
        """Take what asks this process and the workers, what asks the database, whom to tell of changes, and the time.

        The time is in seconds since the epoch.
        """
        self._read_problems, self._read_database, self._publish = read_problems, read_database, publish
        self.now = now
        self.status = UNKNOWN
        #: Since when each problem has been there.
        self._since: dict[str, float] = {}
        self._freshness = Freshness(None, {})
        self._answered_at = now()
        #: Since when the forecasts of a programme lack a revision.
        self._outdated: dict[str, tuple[int, float]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            started = self.now()
            await self.observe()
            # At most a tenth of the time, however large the database is.
            await asyncio.sleep(max(CHECK_SECONDS, 9 * (self.now() - started)))

    async def observe(self) -> None:
        """Look once."""
        found = dict(await self._read_problems())
        if (problem := await self._ask_database()) is not None:
            found.setdefault("database", (problem, None))
        if (outdated := self._find_outdated()) is not None:
            found["forecasts"] = outdated
        now = self.now()
        self._since = {name: self._since.get(name, now) for name in found}
        problems = [Problem(name, reason, self._beginning(name, since)) for name, (reason, since) in found.items()]
        newest_ms = self._freshness.newest_event_ms
        status = FreshnessStatus(None if newest_ms is None else newest_ms / 1000, tuple(problems))
        if status != self.status:
            self.status = status
            self._publish(status)

    def _beginning(self, name: str, since: float | None) -> float | None:
        return None if name in _WITHOUT_BEGINNING else self._since[name] if since is None else since

    async def _ask_database(self) -> str | None:
        """Read the database; return why that is impossible, in one line."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._freshness = await self._read_database()
        except TimeoutError:
            # The board's threads may be busy with pages.
            silent = self.now() - self._answered_at
            return f"does not answer: nothing within {silent:.0f} s" if silent > MAX_UNANSWERED_SECONDS else None
        except (DatabaseError, SQLAlchemyError) as error:
            return f"does not answer: {describe_error(error)}"
        self._answered_at = self.now()
        self._note_outdated(self._freshness.outdated)
        return None

    def _note_outdated(self, outdated: Mapping[str, OutdatedForecasts]) -> None:
        now, noted = self.now(), {}
        for name, (revision, forecast_revision) in outdated.items():
            wanted, since = self._outdated.get(name, (revision, now))
            # Under steady flow, forecasts always lack something, each time something newer.
            noted[name] = (revision, now) if forecast_revision >= wanted else (wanted, since)
        self._outdated = noted

    def _find_outdated(self) -> tuple[str, float] | None:
        limit = self.now() - MAX_OUTDATED_SECONDS
        late = {name: since for name, (_, since) in self._outdated.items() if since < limit}
        if not late:
            return None
        first = min(late, key=lambda name: (late[name], name))
        others = f" and of {len(late) - 1} more" if len(late) > 1 else ""
        return f"those of programme {first}{others} lack recorded events", late[first]
