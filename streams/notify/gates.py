"""For which milestones others wait: asked of the database, for targets that are told of gates alone."""

import asyncio
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from typing import Final

from cachetools import TTLCache
from sqlalchemy import Engine

from models.database.engine import read_transaction
from models.database.queries import read_gates
from models.domain.claims import MilestoneKey
from streams.notify.changes import Change, is_surely_gate

#: What others wait for changes rarely, and changes of a programme come many at a time.
_CACHE_SECONDS: Final = 5.0
_MAX_PROGRAMMES: Final = 100


class GateReader:
    """Knows the gates of the programmes that were asked for last; without an executor, it reads in the loop's own."""

    def __init__(self, engine: Engine, executor: Executor | None) -> None:
        self._engine, self._executor = engine, executor
        self._gates = TTLCache[str, AbstractSet[MilestoneKey]](_MAX_PROGRAMMES, _CACHE_SECONDS)

    async def is_gate(self, change: Change) -> bool:
        """Return whether others wait for the milestone of a change. Raises what the database raises."""
        if is_surely_gate(change):
            return True
        programme = change.milestone.programme
        gates = self._gates.get(programme)
        if gates is None:
            gates = await asyncio.get_running_loop().run_in_executor(self._executor, self._read, programme)
            self._gates[programme] = gates
        return change.milestone in gates

    def _read(self, programme: str) -> AbstractSet[MilestoneKey]:
        with read_transaction(self._engine) as connection:
            return read_gates(connection, programme)
