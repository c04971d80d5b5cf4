"""Tells people, through Apprise: what one event changed is one message, and a flood of messages one summary."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final, Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models.database.engine import read_transaction
from models.database.ledger import EventKey
from models.domain.claims import MilestoneKey
from models.errors import MilepostError
from models.text import one_line
from models.views.change_message import Message, MilestoneChange, compose_message, read_picture
from streams.clock import Clock
from streams.notify.changes import Cause, Change
from streams.notify.channels import (
    ChangeDelivery,
    IsGate,
    PendingChange,
    PutDelivery,
    delivery_of,
    failed_by_database,
)
from streams.notify.deliveries import Answer, Outcome
from streams.notify.markup import make_harmless
from streams.notify.message_rate import MAX_MESSAGES, MessageRate
from streams.notify.targets import Target, TargetsFileError
from streams.web.urls import PageUrls

#: A worker publishes what one event moved within a second; a message waits until so long nothing more has come.
QUIET_SECONDS: Final = 1.0
#: And no longer than this.
_MAX_GATHER_SECONDS: Final = 5.0
#: The same of a flood, as when a past is loaded: it becomes one summary, and not one for each batch of it.
_FLOOD_QUIET_SECONDS: Final = 3.0
_MAX_FLOOD_SECONDS: Final = 60.0
_SERVICE_SECONDS: Final = 30.0
#: A line of mail has at most 998 bytes (RFC 5322, 2.1.1), and Apprise folds no header: servers refuse a longer subject.
_MAX_SUBJECT_BYTES: Final = 900
#: How Apprise's own words for a failure begin that it logs for developers alone.
_FAILURE_DETAILS: Final = ("Socket Exception:",)
#: Programmes of a summary that are read and told of by name of milestones; more are counted.
_MAX_SUMMARY_PROGRAMMES: Final = 20


class Sender(Protocol):
    """Sends a text to people."""

    def send(self, title: str, lines: Sequence[str], link: str) -> Answer:
        """Send a message, once; blocks."""


class AppriseSender:
    """Sends to the address of a target."""

    def __init__(self, target: Target) -> None:
        """Raise `TargetsFileError` for an address that Apprise cannot use, or without Apprise."""
        try:
            import apprise  # noqa: PLC0415 - of the extra `milepost[notify]`
        except ImportError:
            raise TargetsFileError("messages to people need Apprise: install milepost[notify]") from None
        self._scheme = target.scheme
        asset = apprise.AppriseAsset(
            app_id="Milepost",
            app_desc="Milepost",
            app_url="",
            # No service is asked to load a picture from elsewhere.
            image_url_mask="",
            image_url_logo="",
            http_redirects=False,
            allow_templates=False,
            storage_mode=apprise.PersistentStoreMode.MEMORY,
            service_timeout=_SERVICE_SECONDS,
        )
        # One address, never a list of them or the address of a configuration.
        self._service: Any = apprise.Apprise.instantiate(target.url, asset=asset, suppress_exceptions=True)
        self._text_format = apprise.NotifyFormat.TEXT
        if self._service is None:
            advice = " (Microsoft has ended them: say workflows://)" if target.scheme == "msteams" else ""
            raise TargetsFileError(f"its url is none that Apprise can use for {target.scheme}{advice}")

    def send(self, title: str, lines: Sequence[str], link: str) -> Answer:
        """Send a message, once; blocks. What is too long for the service is cut between lines."""
        harmless = [make_harmless(line, self._scheme) for line in lines]
        title = make_harmless(title, self._scheme)
        if self._scheme.removesuffix("s") == "mailto":
            title = _fit_subject(title)
        # Apprise adds escapes, and the title where a service has none.
        room = self._service.body_maxlen * 3 // 4 - len(title) - len(link)
        kept = list[str]()
        for line in harmless:
            if sum(map(len, kept)) + len(kept) + len(line) > room:
                kept.append("…")
                break
            kept.append(line)
        body = "\n".join([*kept, *([link] if link else [])])
        with _last_warning() as warning:
            is_sent = self._service.notify(body=body, title=title, body_format=self._text_format)
        if is_sent:
            return Answer(Outcome.DELIVERED)
        return Answer(Outcome.FAILED, f"the service did not take it: {warning() or 'no reason is given'}")


def _fit_subject(title: str) -> str:
    """Return a title, cut where it would be too long a line of mail once it is encoded: three bytes for each byte."""
    room = _MAX_SUBJECT_BYTES
    for index, character in enumerate(title):
        room -= 3 * len(character.encode())
        if room < 0:
            return f"{title[:index].rstrip()}\N{HORIZONTAL ELLIPSIS}"
    return title


@contextmanager
def _last_warning() -> Iterator[Callable[[], str]]:
    """Give what Apprise said last in this thread, and what a mail server answered: a failure has no other reason."""
    thread, warnings, details = threading.get_ident(), list[str](), list[str]()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread != thread:
                return
            text = record.getMessage()
            if record.levelno >= logging.WARNING:
                warnings[:] = [text]
            elif text.startswith(_FAILURE_DETAILS):
                details[:] = [text]

    handler, logger = Handler(logging.DEBUG), logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield lambda: one_line(" ".join([*warnings, *details]))
    finally:
        logger.removeHandler(handler)


class PeopleChannel:
    """Tells people of changes."""

    max_under_way = 1

    def __init__(  # noqa: PLR0913 - everything it composes comes in as an argument
        self,
        target: Target,
        sender: Sender,
        engine: Engine,
        is_gate: IsGate,
        clock: Clock,
        board_url: str | None,
        rate: MessageRate,
    ) -> None:
        self._target, self._sender, self._engine, self._is_gate = target, sender, engine, is_gate
        self._clock, self._board_url, self._rate = clock, board_url, rate
        # A service that hangs holds up no other target.
        self._executor: Executor = ThreadPoolExecutor(1, f"notify-{target.name}")
        self._loop = asyncio.get_running_loop()
        #: What is gathered, by event, with when it began and when it was last added to.
        self._gathering: dict[Cause, tuple[float, float, list[PendingChange]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._put: PutDelivery | None = None

    @property
    def collected(self) -> int:
        """How many changes are gathered."""
        return sum(len(pending) for _, _, pending in self._gathering.values())

    def add(self, pending: PendingChange, put: PutDelivery) -> None:
        """Gather a change with the others of the same event."""
        now = self._loop.time()
        cause = pending.change.cause
        began, _, gathered = self._gathering.get(cause, (now, now, list[PendingChange]()))
        gathered.append(pending)
        self._gathering[cause] = began, now, gathered
        self._put = put
        if self._timer is None:
            self._timer = self._loop.call_later(QUIET_SECONDS, self._flush)

    def _flush(self) -> None:
        """Put what is complete: a message for each event, or a summary of all of them."""
        self._timer = None
        complete = self._find_complete(self._loop.time())
        if complete and self._put is not None and (sent_as := self._rate.take(len(complete), self._clock.now())):
            groups = [self._gathering.pop(cause)[2] for cause in complete]
            for group in groups if sent_as == len(complete) else [[*chain.from_iterable(groups)]]:
                self._put(delivery_of(*group))
        if self._gathering:
            self._timer = self._loop.call_later(QUIET_SECONDS, self._flush)

    def _find_complete(self, now: float) -> list[Cause]:
        """Return the events of which nothing more is expected; of a flood all or none."""
        if len(self._gathering) > MAX_MESSAGES:
            newest = max(last for _, last, _ in self._gathering.values())
            oldest = min(began for began, _, _ in self._gathering.values())
            is_over = now - newest >= _FLOOD_QUIET_SECONDS or now - oldest >= _MAX_FLOOD_SECONDS
            return [*self._gathering] if is_over else []
        return [
            cause
            for cause, (began, last, _) in self._gathering.items()
            if now - last >= QUIET_SECONDS * 0.9 or now - began >= _MAX_GATHER_SECONDS
        ]

    async def deliver(self, delivery: ChangeDelivery) -> Answer:
        """Compose the message as things stand, and send it."""
        changes = [pending.change for pending in delivery.content]
        try:
            if self._target.filters.is_for_gates:
                changes = [change for change in changes if await self._is_gate(change)]
            combined = combine_changes(changes)
            if not combined:
                return Answer(Outcome.NOT_WANTED)
            causes = list(dict.fromkeys(change.cause for change in changes))
            message = await self._loop.run_in_executor(self._executor, self._compose, combined, causes)
        except (SQLAlchemyError, MilepostError) as error:
            return failed_by_database(error)
        lines = [*message.lines, *([message.rest] if message.rest else []), message.programme]
        return await self._loop.run_in_executor(
            self._executor, self._sender.send, message.title, lines, self._link_to(message)
        )

    def _compose(self, changes: Sequence[MilestoneChange], causes: Sequence[Cause]) -> Message:
        cause = EventKey(causes[0].source, causes[0].id) if len(causes) == 1 else None
        programmes = list(dict.fromkeys(change.key.programme for change in changes))[:_MAX_SUMMARY_PROGRAMMES]
        today = self._clock.today()
        with read_transaction(self._engine) as connection:
            pictures = {name: read_picture(connection, name, today, cause) for name in programmes}
        told = [change for change in changes if change.key.programme in pictures]
        return compose_message(told, pictures, len(causes))

    def _link_to(self, message: Message) -> str:
        if self._board_url is None:
            return ""
        urls = PageUrls()
        if message.about is None:
            return f"{self._board_url}{urls.overview_url()}"
        view = "gates" if message.is_about_gate else "milestones"
        return f"{self._board_url}{urls.milestone_url(message.about.programme, message.about, view)}"

    async def close(self) -> None:
        """Gather nothing any more; what is under way in a thread ends by itself."""
        if self._timer is not None:
            self._timer.cancel()
        self._gathering.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)


def combine_changes(changes: Sequence[Change]) -> list[MilestoneChange]:
    """Return what happened to each milestone; nothing of one that is where it was."""
    combined: dict[MilestoneKey, MilestoneChange] = {}
    for change in changes:
        before = combined.get(change.milestone)
        if change.is_move:
            previous = change.previous if before is None else before.previous
            is_achieved = before is not None and before.is_achieved
            combined[change.milestone] = MilestoneChange(change.milestone, previous, change.current, is_achieved)
        elif change.is_achievement:
            previous = None if before is None else before.previous
            combined[change.milestone] = MilestoneChange(change.milestone, previous, change.current, is_achieved=True)
    return [each for each in combined.values() if each.is_achieved or each.previous != each.current]
