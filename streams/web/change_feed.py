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
from models.database.queries import Drawn, read_drawn
from models.text import one_line

logger = logging.getLogger("milepost.board")

POLL_SECONDS: Final = 1.0

#: Runs a reading off the event loop.
Read = Callable[[Callable[[Connection], dict[str, Drawn]]], Awaitable[dict[str, Drawn]]]


class News(NamedTuple):
    """What a listener has not been told yet."""

    drawn: dict[str, Drawn]
    #: What names all programmes as they are drawn now; empty when that is no news.
    turn: str = ""


class Listener:
    """One that is told what was drawn anew: all of it, or what concerns one programme only."""

    def __init__(self, closing: asyncio.Event, only: str | None = None) -> None:
        self._only = only
        self._pending = News({})
        self._stirred, self._closing = asyncio.Event(), closing

    def begin(self, drawn: Mapping[str, Drawn], turn: str) -> None:
        """Have it told how things are: of all programmes no more than the name of that."""
        self.tell({} if self._only is None else drawn, turn)

    def tell(self, drawn: Mapping[str, Drawn], turn: str) -> None:
        """Have it told what concerns it of what is new."""
        if self._only is None:
            self._pending = News({**self._pending.drawn, **drawn}, turn)
        elif self._only in drawn:
            self._pending = News({self._only: drawn[self._only]})
        else:
            return
        self._stirred.set()

    def wake(self) -> None:
        """Have it look whether there is anything to wait for."""
        self._stirred.set()

    async def news(self, patience: float) -> AsyncIterator[News]:
        """Return what is new, as soon as there is something; nothing, every so many seconds; end with the service."""
        while not self._closing.is_set():
            try:
                async with asyncio.timeout(patience):
                    await self._stirred.wait()
            except TimeoutError:
                yield News({})
                continue
            self._stirred.clear()
            new, self._pending = self._pending, News({})
            if any(new):
                yield new


class Watch:
    """Knows of what every programme is drawn, at most a second ago."""

    def __init__(self, read: Read, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._drawn: dict[str, Drawn] = {}
        self._read_at = float("-inf")
        #: Names what all programmes together are drawn of; empty before that was read.
        self.digest = ""
        self._listeners: set[Listener] = set()
        self._reading = asyncio.Lock()
        self._somebody, self._closing = asyncio.Event(), asyncio.Event()
        self._silent = False

    @property
    def listening(self) -> int:
        """How many are told."""
        return len(self._listeners)

    async def drawn(self) -> Mapping[str, Drawn]:
        """Return of what every programme is drawn; raises what the database raises."""
        async with self._reading:
            if self._clock() - self._read_at >= POLL_SECONDS:
                self._note(await self._read(read_drawn))
                self._read_at = self._clock()
        return self._drawn

    def _note(self, drawn: dict[str, Drawn]) -> None:
        new = {name: its for name, its in drawn.items() if self._drawn.get(name) != its}
        if self.digest and not new and len(drawn) == len(self._drawn):
            return
        first = not self.digest
        self._drawn = drawn
        self.digest = blake2b(repr(sorted(drawn.items())).encode(), digest_size=6).hexdigest()
        for listener in self._listeners:
            (listener.begin if first else listener.tell)(new, self.digest)

    @contextmanager
    def listener(self, only: str | None = None) -> Iterator[Listener]:
        """Give a listener that is told until the block ends: how things are known to be, then what is new."""
        listener = Listener(self._closing, only)
        if self.digest:
            listener.begin(self._drawn, self.digest)
        self._listeners.add(listener)
        self._somebody.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._somebody.clear()

    async def poll(self) -> None:
        """Look again and again while anybody listens, until told to stop."""
        while not self._closing.is_set():
            await self._somebody.wait()
            try:
                await self.drawn()
            except (DatabaseError, SQLAlchemyError) as error:
                if not self._silent:
                    logger.warning("the board cannot see what is new: %s", one_line(error))
                self._silent = True
            else:
                self._silent = False
            await asyncio.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Tell nobody any more, and have all who listen end."""
        self._closing.set()
        self._somebody.set()
        for listener in self._listeners:
            listener.wake()
