"""Polls the database once a second while any client is connected, and notifies subscribers of recalculated programmes.

An update contains the revision and the data date of each recalculated programme; the client then requests the page
again. It also says how fresh what is shown is, first and after every change of that. For a slow subscriber, updates of
one programme collapse to the newest, so that none needs more memory than there are programmes. The first update has the
current state, so that no change is missed between a page and its subscription.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError, is_unreachable
from models.database.queries import ForecastVersion
from streams.error_text import describe_error
from streams.monitoring.freshness import FreshnessStatus
from streams.outages import DATABASE, OUTAGES, Subject

POLL_INTERVAL_SECONDS: Final = 1.0
#: The version of each programme's stored forecasts.
Versions = Mapping[str, ForecastVersion]


class FeedUpdate(NamedTuple):
    """What has changed since the last update of a subscriber."""

    forecast_versions: Versions
    #: Of all programmes together; empty in an update of one programme.
    version: str = ""
    freshness: FreshnessStatus | None = None


class Subscriber:
    """Receives updates of all programmes, or of one."""

    def __init__(self, stopping: asyncio.Event, programme: str | None = None) -> None:
        self._programme, self._pending = programme, FeedUpdate({})
        #: Set when an update is pending or the service stops.
        self.wakeup, self._stopping = asyncio.Event(), stopping

    def notify(self, forecast_versions: Versions, version: str, *, is_initial: bool) -> None:
        """Add changes to the next update; the initial state of all programmes is only their common version."""
        if self._programme is None:
            added = {} if is_initial else forecast_versions
            versions = {**self._pending.forecast_versions, **added}
            self._pending = self._pending._replace(forecast_versions=versions, version=version)
        elif self._programme in forecast_versions:
            versions = {self._programme: forecast_versions[self._programme]}
            self._pending = self._pending._replace(forecast_versions=versions)
        else:
            return
        self.wakeup.set()

    def notify_freshness(self, freshness: FreshnessStatus) -> None:
        """Have the next update say how fresh what is shown is."""
        self._pending = self._pending._replace(freshness=freshness)
        self.wakeup.set()

    async def updates(self, heartbeat_seconds: float) -> AsyncIterator[FeedUpdate]:
        """Yield updates as they come, and an empty one after each heartbeat interval without; end with the service."""
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(heartbeat_seconds):
                    await self.wakeup.wait()
            except TimeoutError:
                yield FeedUpdate({})
                continue
            self.wakeup.clear()
            update, self._pending = self._pending, FeedUpdate({})
            if any(update):
                yield update


class ChangeFeed:
    """The versions of all programmes, at most a second old."""

    def __init__(self, read_versions: Callable[[], Awaitable[Versions]], clock: Callable[[], float]) -> None:
        self._read_versions, self._clock = read_versions, clock
        self._forecast_versions: Versions = {}
        self._read_at = float("-inf")
        #: Of all programmes together; empty before the first query.
        self.version = ""
        self._freshness: FreshnessStatus | None = None
        self.subscribers: set[Subscriber] = set()
        self._read_lock = asyncio.Lock()
        self._has_subscribers, self._stopping = asyncio.Event(), asyncio.Event()

    async def get_forecast_versions(self) -> Versions:
        """Return the version of each programme; raises what the database raises."""
        async with self._read_lock:
            if self._clock() - self._read_at >= POLL_INTERVAL_SECONDS:
                self._publish_changes(await self._read_versions())
                self._read_at = self._clock()
        return self._forecast_versions

    def _publish_changes(self, forecast_versions: Versions) -> None:
        if self.version and forecast_versions == self._forecast_versions:
            return
        is_initial, previous = not self.version, self._forecast_versions
        changed = {name: version for name, version in forecast_versions.items() if previous.get(name) != version}
        self._forecast_versions = forecast_versions
        self.version = blake2b(repr(sorted(forecast_versions.items())).encode(), digest_size=6).hexdigest()
        for subscriber in self.subscribers:
            subscriber.notify(changed, self.version, is_initial=is_initial)

    def publish_freshness(self, freshness: FreshnessStatus) -> None:
        """Tell all subscribers, those to come included, how fresh what is shown is."""
        self._freshness = freshness
        for subscriber in self.subscribers:
            subscriber.notify_freshness(freshness)

    @contextmanager
    def subscribe(self, programme: str | None = None) -> Iterator[Subscriber]:
        """Subscribe to all programmes, or to one, until the block ends."""
        subscriber = Subscriber(self._stopping, programme)
        if self.version:
            subscriber.notify(self._forecast_versions, self.version, is_initial=True)
        if self._freshness is not None:
            subscriber.notify_freshness(self._freshness)
        self.subscribers.add(subscriber)
        self._has_subscribers.set()
        try:
            yield subscriber
        finally:
            self.subscribers.discard(subscriber)
            if not self.subscribers:
                self._has_subscribers.clear()

    async def poll(self) -> None:
        """Poll while there are subscribers, until `stop`."""
        while not self._stopping.is_set():
            if not self.subscribers:
                OUTAGES.end(self)
            await self._has_subscribers.wait()
            try:
                await self.get_forecast_versions()
                OUTAGES.end(self)
            except (DatabaseError, SQLAlchemyError) as error:
                subject = DATABASE if is_unreachable(error) else Subject("looking for changes to show")
                OUTAGES.fail(self, subject, describe_error(error))
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    def stop(self) -> None:
        """End polling and all subscriptions."""
        self._stopping.set()
        self._has_subscribers.set()
        for subscriber in self.subscribers:
            subscriber.wakeup.set()
