"""`milepost notify`: checks what can be checked before anything starts, then tells the targets."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine

from consumers.rights import Role, require_rights
from deploy.listeners import bind_metrics_listener
from models.configured_engine import open_configured_engine
from models.database.engine import check_schema
from models.database.rights import READER_TABLE_RIGHTS, require_table_rights
from models.errors import MilepostError
from models.settings import Settings
from streams.clock import Clock
from streams.notify.channels import Channel, SystemChannel
from streams.notify.deliveries import MAX_UNDER_WAY, Answer, Outcome
from streams.notify.digests import DigestSender
from streams.notify.gates import GateReader
from streams.notify.message_rate import MessageRate
from streams.notify.people import AppriseSender, PeopleChannel
from streams.notify.process import run_notify_process
from streams.notify.sample import SAMPLE_LINES, SAMPLE_TITLE, sample_event
from streams.notify.targets import Target, TargetsFile, TargetsFileError
from streams.notify.webhook import WebhookSender, find_refusal

logger = logging.getLogger("milepost.notify")

#: Threads that look up gates; each target of people has another one.
_THREADS: Final = 2


def run_notify(settings: Settings) -> None:
    """Tell the targets until the process is asked to stop.

    Raises `MilepostError` when a check fails, before anything starts.
    """
    file = _load_targets(settings)
    with open_configured_engine(settings) as engine, bind_metrics_listener(settings) as sockets:
        check_schema(engine)
        require_table_rights(engine, READER_TABLE_RIGHTS)
        groups = [settings.notify_group(target.name) for target in file.table.targets]
        require_rights(settings, Role.NOTIFY, groups=groups)
        if not sockets:
            logger.warning("there is no /metrics and no /ready: MILEPOST_METRICS says where to serve them")
        with channel_factory(settings, engine, Clock()) as create_channel:
            run_notify_process(settings, file, create_channel, find_problem, sockets)


def send_sample(settings: Settings, name: str) -> None:
    """Send a sample to a target; raises `MilepostError` when it does not take it."""
    target = _load_targets(settings).table.find(name)
    answer = asyncio.run(_send_sample(target, settings.board_url, Clock()))
    if answer.outcome is not Outcome.DELIVERED:
        raise MilepostError(f"target {name} does not take the sample: {answer.detail}")


async def find_problem(target: Target) -> str:
    """Return why a target cannot be used, as far as can be found out without telling it anything."""
    if target.is_system:
        return await find_refusal(target)
    try:
        AppriseSender(target)
    except TargetsFileError as error:
        return str(error)
    return ""


def _load_targets(settings: Settings) -> TargetsFile:
    if settings.notify is None:
        raise MilepostError("whom to tell? MILEPOST_NOTIFY names a file of targets: docs/notify.md has examples")
    file = TargetsFile(settings.notify)
    file.load()
    if not file.table.targets:
        lines = (f"target {name} cannot be used: {problem}" for name, problem in file.table.unusable.items())
        raise MilepostError("\nmilepost: ".join(lines))
    return file


async def _send_sample(target: Target, board_url: str | None, clock: Clock) -> Answer:
    if problem := await find_problem(target):
        return Answer(Outcome.PASSED_OVER, problem)
    if not target.is_system:
        return await asyncio.to_thread(AppriseSender(target).send, SAMPLE_TITLE, SAMPLE_LINES, board_url or "")
    sender = WebhookSender(target, clock)
    try:
        return await sender.send(sample_event(clock.now()))
    finally:
        await sender.close()


@contextmanager
def channel_factory(
    settings: Settings, engine: Engine, clock: Clock
) -> Iterator[Callable[[Target], Channel | DigestSender]]:
    """Give what makes what tells a target."""
    with ThreadPoolExecutor(_THREADS, "notify-gates") as executor:
        gates, board_url = GateReader(engine, executor), settings.board_url
        #: Kept from one assignment of partitions to the next.
        rates = defaultdict[str, MessageRate](MessageRate)

        def create_channel(target: Target) -> Channel | DigestSender:
            if target.is_system:
                return SystemChannel(target, WebhookSender(target, clock), gates.is_gate, MAX_UNDER_WAY)
            sender = AppriseSender(target)
            if target.digest_times is not None:
                return DigestSender(target, sender, engine, clock, board_url)
            return PeopleChannel(target, sender, engine, gates.is_gate, clock, board_url, rates[target.name])

        yield create_channel
