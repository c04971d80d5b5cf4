"""People in the demo: what they would be told of the slip, as `milepost notify` says it, for the terminal."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from sqlalchemy import Engine

from deploy.demo.background import run_in_background
from deploy.demo.player import DemoMessage
from deploy.demo.story import PROGRAMME
from models.domain.forecast_changes import FORECAST_CHANGED
from models.settings import Settings
from streams.clock import Clock
from streams.notify.deliveries import Answer, Outcome
from streams.notify.gates import GateReader
from streams.notify.message_rate import MessageRate
from streams.notify.people import PeopleChannel
from streams.notify.process import Notifier
from streams.notify.targets import Filters, Target, TargetsFile, TargetTable

_NAME: Final = "demo"
_START_SECONDS: Final = 30.0


class _Target(TargetsFile):
    """The one target, which stands in no file."""

    def __init__(self) -> None:
        super().__init__(Path())
        filters = Filters(frozenset({PROGRAMME}), None, None, frozenset({FORECAST_CHANGED}), 1, is_for_gates=False)
        target = Target(_NAME, "", (), None, filters, is_private_allowed=False, fingerprint=_NAME)
        self.table = TargetTable([target])

    def reload(self) -> bool:
        """Return that nothing changed."""
        return False


class DemoMessages:
    """The messages so far; a sender for them."""

    def __init__(self) -> None:
        self._messages = SimpleQueue[DemoMessage]()

    def send(self, title: str, lines: Sequence[str], link: str) -> Answer:
        """Keep a message."""
        self._messages.put(DemoMessage(title, [*lines, link]))
        return Answer(Outcome.DELIVERED)

    def wait_for(self, words: str, seconds: float) -> DemoMessage | None:
        """Return the next message with words in its title; None when none comes in time."""
        try:
            while words not in (message := self._messages.get(timeout=seconds)).title:
                pass
        except Empty:
            return None
        return message


@contextmanager
def run_demo_notify(settings: Settings, engine: Engine) -> Iterator[DemoMessages]:
    """Tell the terminal until the block ends; of what comes from now on."""
    started = threading.Event()
    messages, board_url = DemoMessages(), settings.board_url or f"http://{settings.web}"

    async def tell(ending: asyncio.Event) -> None:
        clock, gates = Clock(), GateReader(engine, None)

        def create_channel(target: Target) -> PeopleChannel:
            return PeopleChannel(target, messages, engine, gates.is_gate, clock, board_url, MessageRate())

        notifier = Notifier(settings, _Target(), create_channel, _find_no_problem, clock)
        async with notifier.running([]):
            while not notifier.metrics.registry.get_sample_value(  # noqa: ASYNC110 - a metric has no event
                "milepost_notify_assigned_partitions", {"target": _NAME}
            ):
                await asyncio.sleep(0.1)
            started.set()
            await ending.wait()

    with run_in_background(tell, "demo-notify"):
        started.wait(_START_SECONDS)
        yield messages


async def _find_no_problem(_target: Target) -> str:
    return ""
