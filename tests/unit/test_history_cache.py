"""What the board keeps of histories: by revision, bounded, and the pages of moves beyond that."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from models.database.engine import read_transaction
from models.database.recorder import Recorder
from models.domain.schedule import MilestoneRef
from streams.web import history_cache
from streams.web.history_cache import HistoryCache, Move
from tests.helpers.events import date_report
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine

GATE = MilestoneRef("quay", "gate")


class Queries:
    """Runs queries, and counts them."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.count = engine, 0

    async def run(self, query: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - as the query
        self.count += 1
        await asyncio.sleep(0)
        with read_transaction(self._engine) as connection:
            assert isinstance(connection, Connection)
            return query(connection, *arguments)


@pytest.fixture
def queries(sqlite_url: str) -> Iterator[Queries]:
    """Give a database in which the gate moved nine times, and at the third time two others with it."""
    with migrated_engine(sqlite_url) as engine:
        log, recorder = TopicLog(), Recorder(engine)
        recorder.resolve_start_offsets(TOPIC, {0: (0, 0)})
        events = [
            date_report(f"gate-{day}", "quay/gate", "PLN", f"2026-06-{day:02}", time=f"2026-01-{day:02}T00:00:00Z")
            for day in range(1, 10)
        ]
        events += [
            date_report(name, f"{name}/built", "PLN", "2026-07-01", time="2026-01-03T00:00:00Z")
            for name in ("lot-10", "lot-2")
        ]
        recorder.record(event_batch([log.append(event) for event in events]), fail_on_rejection)
        yield Queries(engine)


def names(moves: list[Move]) -> list[str]:
    return [f"{move.number} {move.entry.milestone.project} {move.entry.said_on.day}" for move in moves]


def moves_of(cache: HistoryCache, before: int | None, limit: int, revision: int = 1) -> list[str]:
    return names(list(asyncio.run(cache.get_moves("north", revision, before, limit))))


def test_moves_are_read_once_for_each_revision(queries: Queries) -> None:
    cache = HistoryCache(queries.run)

    async def read_at_once() -> None:
        await asyncio.gather(*(cache.get_moves("north", 1, None, 5) for _ in range(4)))

    asyncio.run(read_at_once())
    assert moves_of(cache, None, 100) == moves_of(cache, None, 100)
    assert queries.count == 1
    moves_of(cache, None, 5, revision=2)
    assert queries.count == 2


def test_moves_are_the_newest_first_and_in_the_order_of_rows_within_an_instant(queries: Queries) -> None:
    assert moves_of(HistoryCache(queries.run), 8, 6) == [
        *("7 quay 5", "6 quay 4", "5 lot-2 3", "4 lot-10 3", "3 quay 3", "2 quay 2"),
    ]


@pytest.mark.parametrize("kept", [1, 3, 100])
def test_pages_follow_one_another_whatever_is_kept(
    queries: Queries, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    whole = moves_of(HistoryCache(queries.run), None, 100)
    assert len(whole) == 11
    monkeypatch.setattr(history_cache, "_MAX_PROGRAMME_MOVES", kept)
    cache, found, before = HistoryCache(queries.run), list[str](), None
    while page := moves_of(cache, before, 2):
        found += page
        before = int(page[-1].split()[0])
    assert found == whole


def test_moves_of_a_milestone_are_read_once_for_each_revision(queries: Queries) -> None:
    cache = HistoryCache(queries.run)
    for revision, count in ((1, 1), (1, 1), (2, 2)):
        moves = asyncio.run(cache.get_milestone_moves("north", revision, [GATE]))
        assert [move.said_on.day for move in moves[GATE]] == list(range(1, 10))
        assert queries.count == count
    # Of two, only the one that is not known is read; one without history has no moves.
    other = MilestoneRef("quay", "never")
    assert asyncio.run(cache.get_milestone_moves("north", 2, [GATE, other]))[other] == []


@pytest.mark.parametrize("kept", [5, 100])
def test_moves_of_a_milestone_come_from_those_of_the_programme_when_these_are_complete(
    queries: Queries, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    alone = asyncio.run(HistoryCache(queries.run).get_milestone_moves("north", 1, [GATE]))
    monkeypatch.setattr(history_cache, "_MAX_PROGRAMME_MOVES", kept)
    cache = HistoryCache(queries.run)
    moves_of(cache, None, 1)
    queries.count = 0
    assert asyncio.run(cache.get_milestone_moves("north", 1, [GATE])) == alone
    assert queries.count == (0 if kept == 100 else 1)


def test_a_gates_last_move_has_those_that_the_same_event_moved(queries: Queries) -> None:
    cache = HistoryCache(queries.run)
    last, days = asyncio.run(cache.get_last_move("north", 1, GATE))
    assert last is not None
    assert (last.said_on.day, days) == (9, {GATE: 1})
    assert asyncio.run(HistoryCache(queries.run).get_last_move("north", 1, MilestoneRef("lot-2", "built"))) == (
        None,
        {},
    )
