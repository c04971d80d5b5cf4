"""What the database knows anew: one poll a second for all who look, none while nobody does.

A notice says of which revision and day a programme is drawn now; whoever gets it asks for what it shows again. For
a listener that is slow, notices of one programme collapse to the newest, so that none needs more room than there are
programmes. A listener is told first how things are, so that nothing is missed between reading a page and listening.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.database.queries import ForecastVersion, read_forecast_versions
from models.text import one_line

logger = logging.getLogger("milepost.board")

POLL_INTERVAL_SECONDS: Final = 1.0

#: Runs a reading off the event loop.
RunVersionQuery = Callable[[Callable[[Connection], dict[str, ForecastVersion]]], Awaitable[dict[str, ForecastVersion]]]


class FeedUpdate(NamedTuple):
    """What a listener has not been told yet."""

    forecast_versions: dict[str, ForecastVersion]
    #: What names all programmes as they are drawn now; empty when that is no news.
    version: str = ""


class Subscriber:
    """One that is told what was drawn anew: all of it, or what concerns one programme only."""

    def __init__(self, stopping: asyncio.Event, programme: str | None = None) -> None:
        self._programme = programme
        self._pending = FeedUpdate({})
        self._wakeup, self._stopping = asyncio.Event(), stopping

    def notify_initial(self, forecast_versions: Mapping[str, ForecastVersion], version: str) -> None:
        """Have it told how things are: of all programmes no more than the name of that."""
        self.notify({} if self._programme is None else forecast_versions, version)

    def notify(self, forecast_versions: Mapping[str, ForecastVersion], version: str) -> None:
        """Have it told what concerns it of what is new."""
        if self._programme is None:
            self._pending = FeedUpdate({**self._pending.forecast_versions, **forecast_versions}, version)
        elif self._programme in forecast_versions:
            self._pending = FeedUpdate({self._programme: forecast_versions[self._programme]})
        else:
            return
        self._wakeup.set()

    def wake(self) -> None:
        """Have it look whether there is anything to wait for."""
        self._wakeup.set()

    async def updates(self, heartbeat_seconds: float) -> AsyncIterator[FeedUpdate]:
        """Return what is new, as soon as there is something; nothing, every so many seconds; end with the service."""
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(heartbeat_seconds):
                    await self._wakeup.wait()
            except TimeoutError:
                yield FeedUpdate({})
                continue
            self._wakeup.clear()
            new, self._pending = self._pending, FeedUpdate({})
            if any(new):
                yield new


class ChangeFeed:
    """Knows of what every programme is drawn, at most a second ago."""

    def __init__(self, run_query: RunVersionQuery, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_query, self._clock = run_query, clock
        self._forecast_versions: dict[str, ForecastVersion] = {}
        self._read_at = float("-inf")
        #: Names what all programmes together are drawn of; empty before that was read.
        self.version = ""
        self._subscribers: set[Subscriber] = set()
        self._read_lock = asyncio.Lock()
        self._has_subscribers, self._stopping = asyncio.Event(), asyncio.Event()
        self._is_failing = False

    @property
    def subscriber_count(self) -> int:
        """How many are told."""
        return len(self._subscribers)

    async def get_forecast_versions(self) -> Mapping[str, ForecastVersion]:
        """Return of what every programme is drawn; raises what the database raises."""
        async with self._read_lock:
            if self._clock() - self._read_at >= POLL_INTERVAL_SECONDS:
                self._publish_changes(await self._run_query(read_forecast_versions))
                self._read_at = self._clock()
        return self._forecast_versions

    def _publish_changes(self, forecast_versions: dict[str, ForecastVersion]) -> None:
        new = {name: its for name, its in forecast_versions.items() if self._forecast_versions.get(name) != its}
        if self.version and not new and len(forecast_versions) == len(self._forecast_versions):
            return
        first = not self.version
        self._forecast_versions = forecast_versions
        self.version = blake2b(repr(sorted(forecast_versions.items())).encode(), digest_size=6).hexdigest()
        for listener in self._subscribers:
            (listener.notify_initial if first else listener.notify)(new, self.version)

    @contextmanager
    def subscribe(self, programme: str | None = None) -> Iterator[Subscriber]:
        """Give a listener that is told until the block ends: how things are known to be, then what is new."""
        listener = Subscriber(self._stopping, programme)
        if self.version:
            listener.notify_initial(self._forecast_versions, self.version)
        self._subscribers.add(listener)
        self._has_subscribers.set()
        try:
            yield listener
        finally:
            self._subscribers.discard(listener)
            if not self._subscribers:
                self._has_subscribers.clear()

    async def poll(self) -> None:
        """Look again and again while anybody listens, until told to stop."""
        while not self._stopping.is_set():
            await self._has_subscribers.wait()
            try:
                await self.get_forecast_versions()
            except (DatabaseError, SQLAlchemyError) as error:
                if not self._is_failing:
                    logger.warning("the board cannot see what is new: %s", one_line(error))
                self._is_failing = True
            else:
                self._is_failing = False
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    def stop(self) -> None:
        """Tell nobody any more, and have all who listen end."""
        self._stopping.set()
        self._has_subscribers.set()
        for listener in self._subscribers:
            listener.wake()
