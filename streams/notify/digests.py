"""Sends digests: `milepost report` of the time since the last one. Contract, section 10.

The group of a target remembers when the newest digest that was sent was due: the next one begins there. So what a time
of failures or a stop left out is in the next one, and that is sent once.
"""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import read_transaction
from models.domain.report_span import Span
from models.domain.timestamps import instant_from_epoch_ms
from models.errors import MilepostError
from models.views.report import read_report
from models.views.report_lines import span_text
from models.views.report_text import report_to_text
from streams.clock import Clock
from streams.notify.channels import failed_by_database
from streams.notify.deliveries import DEFAULT_RETRY_POLICY, GRACE_SECONDS, Answer, Outcome, RetryPolicy, cancel
from streams.notify.digest_filter import narrow_report
from streams.notify.digest_times import DigestTimes
from streams.notify.metrics import NotifyMetrics
from streams.notify.people import Sender
from streams.notify.targets import Target
from streams.outages import OUTAGES, Subject
from streams.web.urls import PageUrls

#: How long after a digest is due it is made: workers record until then what arrived before.
RECORDING_SECONDS: Final = 10.0
#: How long to sleep at most: the system's clock may be set.
_MAX_SLEEP_SECONDS: Final = 10.0
_MS_PER_SECOND: Final = 1000


class DigestSender:
    """Makes and sends the digests of a target."""

    def __init__(self, target: Target, sender: Sender, engine: Engine, clock: Clock, board_url: str | None) -> None:
        self._target, self._sender, self._engine, self._clock = target, sender, engine, clock
        self._board_url = board_url
        self._executor = ThreadPoolExecutor(1, f"notify-{target.name}")

    async def send(self, since: int, until: int) -> Answer:
        """Send the report of the span between two times (seconds since the epoch), once."""
        span = Span(*(instant_from_epoch_ms(seconds * _MS_PER_SECOND) for seconds in (since, until)))
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._send, span)

    def _send(self, span: Span) -> Answer:
        names = self._target.filters.programmes
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        try:
            with read_transaction(self._engine) as connection:
                report = read_report(
                    connection, None if names is None else sorted(names), span, now.date(), now.timestamp()
                )
        except (SQLAlchemyError, MilepostError) as error:
            return failed_by_database(error)
        narrowed = [narrow_report(programme, self._target.filters) for programme in report.programmes]
        report = report._replace(programmes=narrowed)
        lines = [*report_to_text(report)] or ["There is no programme of which anything could be said."]
        link = "" if self._board_url is None else f"{self._board_url}{PageUrls().overview_url()}"
        return self._sender.send(f"Milepost report: {span_text(span)}", lines, link)

    async def close(self) -> None:
        """Send nothing any more; what is under way in a thread ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def newest_due(times: DigestTimes, now: float) -> int:
    """Return when the last digest was due, in seconds since the epoch."""
    return round(times.newest_due(datetime.fromtimestamp(now, UTC)).timestamp())


def first_due_after(times: DigestTimes, last: int) -> int:
    """Return when the digest after one is due, in seconds since the epoch."""
    return round(times.next_due(datetime.fromtimestamp(last, UTC)).timestamp())


class DigestSchedule:
    """Sends each digest of a target when it is due, and tries again what fails."""

    def __init__(  # noqa: PLR0913 - everything it composes comes in as an argument
        self,
        target: Target,
        times: DigestTimes,
        sender: DigestSender,
        metrics: NotifyMetrics,
        clock: Clock,
        policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        self._target, self._times, self._sender = target, times, sender
        self._metrics, self._clock, self._policy = metrics, clock, policy
        #: Set while nothing is being sent.
        self._idle = asyncio.Event()
        self._idle.set()

    async def stop(self, running: asyncio.Task[None]) -> None:
        """End a run, and close the sender; what is being sent gets a little time, not to be sent again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._idle.wait()
        await cancel(running)
        await self._sender.close()

    async def run(self, last: int, note_sent: Callable[[int], None]) -> None:
        """Send what is due after the last digest, and tell when each was due that is sent."""
        name, waits = self._target.name, self._policy.waits(random.Random())  # noqa: S311 - jitter is no secret
        try:
            while True:
                due = newest_due(self._times, self._clock.now() - RECORDING_SECONDS)
                if due <= last:
                    self._metrics.set_digest_due(name, None)
                    left = first_due_after(self._times, last) + RECORDING_SECONDS - self._clock.now()
                    await asyncio.sleep(min(max(left, 0.0), _MAX_SLEEP_SECONDS))
                    continue
                self._metrics.set_digest_due(name, first_due_after(self._times, last))
                self._idle.clear()
                answer = await self._sender.send(last, due)
                self._metrics.count(name, answer.outcome)
                if answer.outcome is Outcome.DELIVERED:
                    OUTAGES.end(self)
                    last, waits = due, self._policy.waits(random.Random())  # noqa: S311 - as above
                    note_sent(due)
                    self._idle.set()
                else:
                    self._idle.set()
                    OUTAGES.fail(self, Subject(f"the digest for {name}"), answer.detail)
                    await asyncio.sleep(next(waits))
        finally:
            OUTAGES.end(self)
