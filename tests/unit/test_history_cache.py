"""What the board keeps of histories: by revision, bounded, and the pages of moves beyond that."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date
from typing import TypeVar, TypeVarTuple

import pytest
from sqlalchemy import Connection

from models.database.event_history import has_more_events
from models.database.recorder import Recorder
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import Instant
from streams.web import history_cache
from streams.web.history_cache import HistoryCache, Move, MoveFilter
from streams.web.read_model import ReadModel
from tests.helpers.events import date_report
from tests.helpers.recorder import TOPIC, TopicLog, event_batch, fail_on_rejection, migrated_engine

GATE = MilestoneRef("quay", "gate")


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class CountingReadModel(ReadModel):
    """Counts how often all events of a programme, or those about a milestone, are read."""

    count = 0

    async def run_query(self, query: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Run a query."""
        self.count += getattr(query, "__name__", "") != has_more_events.__name__
        return await super().run_query(query, *args)


#: Returns a new one, which knows nothing, of a database in which the gate moved nine times, and at the third time two
#: others with it.
NewReadModel = Callable[[], CountingReadModel]


@pytest.fixture
def new_read_model(sqlite_url: str) -> Iterator[NewReadModel]:
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
        made: list[CountingReadModel] = []

        def new() -> CountingReadModel:
            made.append(CountingReadModel(engine, lambda: date(2026, 2, 1)))
            return made[-1]

        yield new
        for read_model in made:
            asyncio.run(read_model.close())


def names(moves: list[Move]) -> list[str]:
    return [f"{move.number} {move.entry.milestone.project} {move.entry.said_on.day}" for move in moves]


def moves_of(cache: HistoryCache, before: int | None, limit: int, revision: int = 1) -> list[str]:
    return names(list(asyncio.run(cache.get_moves("north", revision, before, limit))))


def test_moves_are_read_once_for_each_revision(new_read_model: NewReadModel) -> None:
    read_model = new_read_model()
    cache = read_model.history

    async def read_at_once() -> None:
        await asyncio.gather(*(cache.get_moves("north", 1, None, 5) for _ in range(4)))

    asyncio.run(read_at_once())
    assert moves_of(cache, None, 100) == moves_of(cache, None, 100)
    assert read_model.count == 1
    moves_of(cache, None, 5, revision=2)
    assert read_model.count == 2


def test_moves_are_the_newest_first_and_in_the_order_of_rows_within_an_instant(new_read_model: NewReadModel) -> None:
    assert moves_of(new_read_model().history, 8, 6) == [
        *("7 quay 5", "6 quay 4", "5 lot-2 3", "4 lot-10 3", "3 quay 3", "2 quay 2"),
    ]


@pytest.mark.parametrize("kept", [1, 3, 100])
def test_pages_follow_one_another_whatever_is_kept(
    new_read_model: NewReadModel, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    whole = moves_of(new_read_model().history, None, 100)
    assert len(whole) == 11
    monkeypatch.setattr(history_cache, "_MAX_PROGRAMME_MOVES", kept)
    cache, found, before = new_read_model().history, list[str](), None
    while page := moves_of(cache, before, 2):
        found += page
        before = int(page[-1].split()[0])
    assert found == whole


def test_moves_of_a_milestone_are_read_once_for_each_revision(new_read_model: NewReadModel) -> None:
    read_model = new_read_model()
    cache = read_model.history
    for revision, count in ((1, 1), (1, 1), (2, 2)):
        moves = asyncio.run(cache.get_milestone_moves("north", revision, [GATE]))
        assert [move.said_on.day for move in moves[GATE]] == list(range(1, 10))
        assert read_model.count == count
    # Of two, only the one that is not known is read; one without history has no moves.
    other = MilestoneRef("quay", "never")
    assert asyncio.run(cache.get_milestone_moves("north", 2, [GATE, other]))[other] == []


@pytest.mark.parametrize("kept", [5, 100])
def test_moves_of_a_milestone_come_from_those_of_the_programme_when_these_are_complete(
    new_read_model: NewReadModel, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    alone = asyncio.run(new_read_model().history.get_milestone_moves("north", 1, [GATE]))
    monkeypatch.setattr(history_cache, "_MAX_PROGRAMME_MOVES", kept)
    read_model = new_read_model()
    cache = read_model.history
    moves_of(cache, None, 1)
    read_model.count = 0
    assert asyncio.run(cache.get_milestone_moves("north", 1, [GATE])) == alone
    assert read_model.count == (0 if kept == 100 else 1)


def test_a_gates_last_move_has_those_that_the_same_event_moved(new_read_model: NewReadModel) -> None:
    cache = new_read_model().history
    last, days = asyncio.run(cache.get_last_move("north", 1, GATE))
    assert last is not None
    assert (last.said_on.day, days) == (9, {GATE: 1})
    assert asyncio.run(new_read_model().history.get_last_move("north", 1, MilestoneRef("lot-2", "built"))) == (
        None,
        {},
    )


def test_a_gates_last_move_is_found_among_moves_that_are_too_old_to_be_kept(
    new_read_model: NewReadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_cache, "_MAX_PROGRAMME_MOVES", 2)
    cache = new_read_model().history
    third = Instant("2026-01-03T23:00:00")
    last, days = asyncio.run(cache.get_last_move("north", 1, GATE, third))
    assert last is not None
    assert (last.said_on.day, days) == (3, {GATE: 1})


def test_moves_of_some_milestones_are_found_behind_newer_ones_of_others(
    new_read_model: NewReadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_cache, "_MAX_PROGRAMME_MOVES", 2)
    monkeypatch.setattr(history_cache, "_MAX_OLDER_MOVES", 2)
    read_model = new_read_model()
    lots = MoveFilter(None, [MilestoneRef("lot-2", "built"), MilestoneRef("lot-10", "built")])

    def page(before: int | None, among: MoveFilter, limit: int = 1) -> list[str]:
        return names(list(asyncio.run(read_model.history.get_moves("north", 1, before, limit, among))))

    assert page(None, lots, 2) == ["5 lot-2 3", "4 lot-10 3"]
    count = read_model.count
    assert page(5, lots) == ["4 lot-10 3"]
    assert read_model.count == count, "these were read with the page before"
    assert page(4, lots) == []
    assert page(4, MoveFilter(None, [GATE]), 2) == ["3 quay 3", "2 quay 2"]
