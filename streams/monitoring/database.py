"""Asks the database every few seconds whether it answers: the readiness of a process that serves the board alone."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import DatabaseError, read_transaction
from models.database.tables import checkpoints
from streams.error_text import describe_error
from streams.outages import DATABASE, OUTAGES, describe_outage

#: How the names of its threads begin.
MONITOR_THREADS: Final = "database-monitor"
CHECK_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 5.0


class DatabaseMonitor:
    """Knows whether the database answers. The caller has checked it once before."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_up = True
        # A thread of its own: those of the board may all wait for a database that is away.
        self._executor = ThreadPoolExecutor(1, MONITOR_THREADS)

    def readiness_problems(self) -> Mapping[str, str]:
        """Return what keeps the board from serving, by name; empty when it is ready."""
        return {} if self._is_up else {"database": describe_outage(DATABASE)}

    async def run(self) -> None:
        """Ask again and again, until cancelled; at most one question is under way."""
        try:
            while True:
                asking = asyncio.get_running_loop().run_in_executor(self._executor, self._ask)
                done, _ = await asyncio.wait([asking], timeout=ANSWER_SECONDS)
                self._note(asking.result() if done else f"no answer within {ANSWER_SECONDS:g} s")
                await asking
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> str | None:
        """Return why the database does not answer, in one line; None when it does."""
        try:
            with read_transaction(self._engine) as connection:
                connection.execute(select(checkpoints.c.programme).limit(1))
        except (DatabaseError, SQLAlchemyError) as error:
            return describe_error(error)
        return None

    def _note(self, problem: str | None) -> None:
        if problem is None:
            OUTAGES.end(self)
        else:
            OUTAGES.fail(self, DATABASE, problem)
        self._is_up = problem is None
