"""The history of forecasts by claims, as the pages show it: calculated when asked for, cached by revision.

Of a large programme that takes longer than anybody waits: who asks is told to ask again (`background_queries.py`). All
caches are bounded by the number of moves. Of a programme with more moves than the cache takes, the newest stay, and of
the older ones those that were asked for last.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from models.database.event_history import read_history_entries
from models.domain.history import HistoryEntry
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import Instant
from streams.web.background_queries import StillCalculating
from streams.web.revision_cache import RevisionCache

#: The moves of one programme, and of all programmes, that are cached.
_MAX_PROGRAMME_MOVES: Final = 20_000
_MAX_CACHED_MOVES: Final = 60_000
#: Older moves of one programme, or moves of some of its milestones; and of all programmes.
_MAX_OLDER_MOVES: Final = 2_000
_MAX_CACHED_OLDER_MOVES: Final = 20_000
#: The newest moves of a milestone that are shown, and the moves of single milestones that are cached.
_MAX_MILESTONE_MOVES: Final = 500
_MAX_CACHED_MILESTONE_MOVES: Final = 20_000
#: Last moves of gates, with the milestones that moved with them.
_MAX_CACHED_LAST_MOVES: Final = 20_000

#: Calls a function with a connection and arguments, off the event loop.
RunQuery = Callable[..., Awaitable[Any]]
#: Returns what is in a cache under a key, a programme and a revision, else what a query reads: `ReadModel`.
FindByRevision = Callable[..., Awaitable[Any]]


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


class _OlderMoves(NamedTuple):
    """The newest of some moves: those before a number, and among others."""

    before: int | None
    as_of: Instant | None
    moves: Sequence[Move]

    def find_page(self, before: int | None, as_of: Instant | None, limit: int) -> Sequence[Move] | None:
        """Return the newest moves before a number, or None where these do not tell."""
        is_within = self.before is None or (before is not None and before <= self.before)
        if not is_within or as_of != self.as_of:
            return None
        page = [move for move in self.moves if before is None or move.number < before][-limit:]
        return page if len(page) == limit or len(self.moves) < _MAX_OLDER_MOVES else None


class LastMove(NamedTuple):
    """A gate's last move, and the days by which the same event moved the gate and others."""

    entry: HistoryEntry | None
    days_by_milestone: Mapping[MilestoneRef, int]


class HistoryCache:
    """The moves of programmes, and the history of single milestones."""

    def __init__(self, run_query: RunQuery, find_by_revision: FindByRevision) -> None:
        self._run_query, self._find_by_revision = run_query, find_by_revision
        self._moves = RevisionCache(_MAX_CACHED_MOVES)
        self._older_moves = RevisionCache(_MAX_CACHED_OLDER_MOVES, lambda older: len(older.moves))
        self._milestone_moves = RevisionCache(_MAX_CACHED_MILESTONE_MOVES)
        self._last_moves = RevisionCache(_MAX_CACHED_LAST_MOVES, lambda last: len(last.days_by_milestone))

    async def get_moves(
        self, programme: str, revision: int, before: int | None, limit: int, among: MoveFilter = ALL_MOVES
    ) -> Sequence[Move]:
        """Return the newest moves of a programme, optionally those before a number, or some; the newest first.

        What was said later changes nothing of an earlier history. Raises `StillCalculating`.
        """
        moves = await self._programme_moves(programme, revision)
        page = _select_page(moves, before, limit, among)
        if len(page) < limit and not _is_complete(moves):
            key = programme, _name_milestones(among.milestones)
            older = self._older_moves.get(key, revision)
            found = None if older is None else older.find_page(before, among.as_of, limit)
            if found is None:
                # Read for another page, it does not tell of this one.
                self._older_moves.forget(key)
                older = await self._find_by_revision(
                    self._older_moves, key, programme, revision, _read_older_moves, programme, before, among
                )
                if (found := older.find_page(before, among.as_of, limit)) is None:
                    # Somebody else asked for another page just now.
                    raise StillCalculating
            page = found
        return page[::-1]

    def get_known_moves(
        self, programme: str, before: int | None, limit: int, among: MoveFilter = ALL_MOVES
    ) -> Sequence[Move]:
        """Return such moves as are known already, maybe of an older revision; the newest first."""
        return _select_page(self._moves.get_older(programme) or (), before, limit, among)[::-1]

    async def get_milestone_moves(
        self, programme: str, revision: int, milestones: Sequence[MilestoneRef], as_of: Instant | None = None
    ) -> Mapping[MilestoneRef, Sequence[HistoryEntry]]:
        """Return the newest moves of some milestones, optionally those up to an instant; the oldest first."""
        whole: Sequence[Move] | None = self._moves.get(programme, revision)
        if whole is not None and _is_complete(whole):
            return _select_moves((move.entry for move in whole), milestones, as_of)
        if as_of is not None:
            # The cache holds the newest moves alone, and of many milestones these may all be later.
            past: Mapping[MilestoneRef, Sequence[HistoryEntry]]
            past = await self._run_query(_read_milestone_moves, programme, milestones, as_of)
            return past
        found = {ref: self._milestone_moves.get((programme, ref), revision) for ref in milestones}
        missing = [ref for ref, moves in found.items() if moves is None]
        if missing:
            read = await self._run_query(_read_milestone_moves, programme, missing)
            for ref, entries in read.items():
                found[ref] = entries
                self._milestone_moves.put((programme, ref), revision, entries)
        return {ref: moves for ref, moves in found.items() if moves is not None}

    async def get_last_move(
        self, programme: str, revision: int, gate: MilestoneRef, as_of: Instant | None = None
    ) -> LastMove:
        """Return a gate's last move, optionally up to an instant. Raises `StillCalculating`."""
        moves = await self._programme_moves(programme, revision)
        last = _find_last_move((move.entry for move in moves), gate, as_of)
        if last.entry is None and not _is_complete(moves):
            last = await self._find_by_revision(
                *(self._last_moves, (programme, gate, as_of), programme, revision),
                *(_read_last_move, programme, gate, as_of),
            )
        return last

    async def _programme_moves(self, programme: str, revision: int) -> Sequence[Move]:
        moves: Sequence[Move] = await self._find_by_revision(
            *(self._moves, programme, programme, revision), *(_read_moves, programme, _MAX_PROGRAMME_MOVES, None)
        )
        return moves


def _name_milestones(milestones: Collection[MilestoneRef] | None) -> bytes:
    """Return a short name of some milestones, for a key."""
    return b"" if milestones is None else blake2b("\n".join(sorted(map(str, milestones))).encode()).digest()


def _select_page(moves: Sequence[Move], before: int | None, limit: int, among: MoveFilter) -> Sequence[Move]:
    return [move for move in moves if _is_before(move, before, among.as_of) and among.has_milestone(move)][-limit:]


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


def _read_older_moves(connection: Connection, programme: str, before: int | None, among: MoveFilter) -> _OlderMoves:
    return _OlderMoves(before, among.as_of, _read_moves(connection, programme, _MAX_OLDER_MOVES, before, among))


def _read_last_move(connection: Connection, programme: str, gate: MilestoneRef, as_of: Instant | None) -> LastMove:
    return _find_last_move(read_history_entries(connection, programme), gate, as_of)


def _find_last_move(history: Iterable[HistoryEntry], gate: MilestoneRef, as_of: Instant | None) -> LastMove:
    """Return the last move of a gate in a history, the oldest first."""
    last, moved_with = None, list[HistoryEntry]()
    # An event moves all at one instant.
    for said, of_instant in groupby(history, key=attrgetter("said")):
        if as_of is not None and said > as_of:
            break
        entries = [entry for entry in of_instant if entry.moved_days]
        for entry in entries:
            if entry.milestone[1:] == gate:
                last, moved_with = entry, entries
    days = {
        MilestoneRef(*entry.milestone[1:]): entry.moved_days
        for entry in moved_with
        if last is not None and entry.cause == last.cause and entry.moved_days is not None
    }
    return LastMove(last, days)


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
