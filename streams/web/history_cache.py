"""The history of forecasts by claims, as the pages show it: calculated when asked for, cached by revision.

Both caches are bounded by the number of moves. Of a programme with more moves than the cache takes, the newest
stay, and older pages are calculated each time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

from cachetools import LRUCache
from sqlalchemy import Connection

from models.database.event_history import read_history_entries
from models.domain.history import HistoryEntry
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import Instant

#: The moves of one programme, and of all programmes, that are cached.
_MAX_PROGRAMME_MOVES: Final = 20_000
_MAX_CACHED_MOVES: Final = 60_000
#: The newest moves of a milestone that are shown, and the moves of single milestones that are cached.
_MAX_MILESTONE_MOVES: Final = 500
_MAX_CACHED_MILESTONE_MOVES: Final = 20_000

#: Calls a function with a connection and arguments, off the event loop.
RunQuery = Callable[..., Awaitable[Any]]


class Move(NamedTuple):
    """A forecast that moved, and its number among the moves of its programme, the oldest first."""

    number: int
    entry: HistoryEntry


class MoveFilter(NamedTuple):
    """Which moves are wanted: those up to an instant, and of some milestones; None for all."""

    as_of: Instant | None = None
    milestones: Collection[MilestoneRef] | None = None

    def has_milestone(self, move: Move) -> bool:
        """Return whether a move is of a wanted milestone."""
        return self.milestones is None or MilestoneRef(*move.entry.milestone[1:]) in self.milestones


ALL_MOVES: Final = MoveFilter()


class _Cached(NamedTuple):
    revision: int
    rows: Sequence[Any]


class HistoryCache:
    """The moves of programmes, and the history of single milestones."""

    def __init__(self, run_query: RunQuery) -> None:
        self._run_query = run_query
        self._moves = LRUCache[str, _Cached](_MAX_CACHED_MOVES, getsizeof=_size)
        self._milestone_moves = LRUCache[tuple[str, MilestoneRef], _Cached](
            _MAX_CACHED_MILESTONE_MOVES, getsizeof=_size
        )
        self._locks: dict[str, asyncio.Lock] = {}

    async def get_moves(
        self, programme: str, revision: int, before: int | None, limit: int, among: MoveFilter = ALL_MOVES
    ) -> Sequence[Move]:
        """Return the newest moves of a programme, optionally those before a number, or some; the newest first.

        What was said later changes nothing of an earlier history.
        """
        moves = await self._programme_moves(programme, revision)
        page = [move for move in moves if _is_before(move, before, among.as_of) and among.has_milestone(move)][-limit:]
        if len(page) < limit and not _is_complete(moves):
            page = list(await self._run_query(_read_moves, programme, limit, before, among))
        return page[::-1]

    async def get_milestone_moves(
        self, programme: str, revision: int, milestones: Sequence[MilestoneRef], as_of: Instant | None = None
    ) -> Mapping[MilestoneRef, Sequence[HistoryEntry]]:
        """Return the newest moves of some milestones, optionally those up to an instant; the oldest first."""
        whole = self._moves.get(programme)
        if whole is not None and whole.revision == revision and _is_complete(whole.rows):
            return _select_moves((move.entry for move in whole.rows), milestones, as_of)
        if as_of is not None:
            # The cache holds the newest moves alone, and of many milestones these may all be later.
            past: Mapping[MilestoneRef, Sequence[HistoryEntry]]
            past = await self._run_query(_read_milestone_moves, programme, milestones, as_of)
            return past
        found = {ref: self._milestone_moves.get((programme, ref)) for ref in milestones}
        missing = [ref for ref, cached in found.items() if cached is None or cached.revision != revision]
        if missing:
            read = await self._run_query(_read_milestone_moves, programme, missing)
            for ref, entries in read.items():
                found[ref] = self._milestone_moves[programme, ref] = _Cached(revision, entries)
        return {ref: cached.rows for ref, cached in found.items() if cached is not None}

    async def get_last_move(
        self, programme: str, revision: int, gate: MilestoneRef, as_of: Instant | None = None
    ) -> tuple[HistoryEntry | None, dict[MilestoneRef, int]]:
        """Return a gate's last move, and the days by which the same event moved the gate and others."""
        moves = await self._programme_moves(programme, revision)
        before = (move.entry for move in moves if _is_before(move, None, as_of))
        entries = [entry for entry in before if entry.moved_days is not None]
        last = next((entry for entry in reversed(entries) if entry.milestone[1:] == gate), None)
        if last is None:
            return None, {}
        return last, {
            MilestoneRef(*entry.milestone[1:]): entry.moved_days
            for entry in entries
            if entry.cause == last.cause and entry.said == last.said and entry.moved_days is not None
        }

    async def _programme_moves(self, programme: str, revision: int) -> Sequence[Move]:
        if (cached := self._moves.get(programme)) is not None and cached.revision == revision:
            return cached.rows
        async with self._locks.setdefault(programme, asyncio.Lock()):
            # Another request may have read them while this one waited for the lock.
            if (cached := self._moves.get(programme)) is None or cached.revision != revision:
                try:
                    moves = await self._run_query(_read_moves, programme, _MAX_PROGRAMME_MOVES, None)
                finally:
                    self._locks.pop(programme, None)
                cached = self._moves[programme] = _Cached(revision, moves)
            return cached.rows


def _size(cached: _Cached) -> int:
    # One without rows counts.
    return len(cached.rows) + 1


def _is_complete(moves: Sequence[Move]) -> bool:
    return not moves or moves[0].number == 1


def _is_before(move: Move, number: int | None, as_of: Instant | None) -> bool:
    return (number is None or move.number < number) and (as_of is None or move.entry.said <= as_of)


def _read_moves(
    connection: Connection, programme: str, limit: int, before: int | None, among: MoveFilter = ALL_MOVES
) -> Sequence[Move]:
    """Return the newest moves of a programme before a number, the oldest first."""
    moved = (entry for entry in read_history_entries(connection, programme) if entry.previous != entry.current)
    # The pages go backwards. There, what was said at one instant is to be in the order of rows.
    instants = (list(entries)[::-1] for _, entries in groupby(moved, key=attrgetter("said")))
    newest = deque[Move](maxlen=limit)
    for move in map(Move._make, enumerate(chain.from_iterable(instants), start=1)):
        if not _is_before(move, before, among.as_of):
            break
        if among.has_milestone(move):
            newest.append(move)
    return list(newest)


def _read_milestone_moves(
    connection: Connection, programme: str, milestones: Sequence[MilestoneRef], as_of: Instant | None = None
) -> Mapping[MilestoneRef, Sequence[HistoryEntry]]:
    entries = read_history_entries(connection, programme, milestones)
    return _select_moves((entry for entry in entries if entry.previous != entry.current), milestones, as_of)


def _select_moves(
    moves: Iterable[HistoryEntry], milestones: Sequence[MilestoneRef], as_of: Instant | None
) -> Mapping[MilestoneRef, Sequence[HistoryEntry]]:
    found: dict[MilestoneRef, deque[HistoryEntry]] = {ref: deque(maxlen=_MAX_MILESTONE_MOVES) for ref in milestones}
    for entry in moves:
        if as_of is not None and entry.said > as_of:
            break
        if (of_milestone := found.get(MilestoneRef(*entry.milestone[1:]))) is not None:
            of_milestone.append(entry)
    return {ref: list(entries) for ref, entries in found.items()}
