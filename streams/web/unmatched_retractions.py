"""Adds to the state of the pipeline the retractions whose event is not there, which the database knows.

They are read at most every ten seconds.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from cachetools import TTLCache
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError
from models.database.retractions import read_unmatched_retractions
from streams.web.pipeline_status import PipelineReader, PipelineSchema, PipelineStatus, UnmatchedRetractionSchema
from streams.web.read_model import ReadModel

MAX_RETRACTIONS: Final = 50
_CACHE_SECONDS: Final = 10

_Retractions = tuple[Sequence[UnmatchedRetractionSchema], str | None]


class PipelineWithRetractions:
    """Reads the state of the pipeline, with some of the retractions whose event is not there."""

    def __init__(self, pipeline: PipelineReader, read_model: ReadModel) -> None:
        self._pipeline, self._read_model = pipeline, read_model
        self._cache = TTLCache[str, _Retractions](1, ttl=_CACHE_SECONDS)
        self._read_lock = asyncio.Lock()

    async def read(self) -> PipelineSchema:
        """Return the state; the retractions are at most ten seconds old."""
        async with self._read_lock:
            if (found := self._cache.get("retractions")) is None:
                found = self._cache["retractions"] = await self._read_retractions()
        retractions, error = found
        state = await self._pipeline.read()
        return msgspec.structs.replace(state, retractions=retractions, retractions_error=error)

    async def read_status(self) -> PipelineStatus | None:
        """Return what workers say."""
        return await self._pipeline.read_status()

    async def _read_retractions(self) -> _Retractions:
        try:
            rows = await self._read_model.run_query(read_unmatched_retractions, MAX_RETRACTIONS)
        except (DatabaseError, SQLAlchemyError):
            return (), "The database does not answer."
        return [UnmatchedRetractionSchema(row.source, row.id, row.retracts, row.programme) for row in rows], None
