"""Runs `milepost notify` in this process until it is asked to stop."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from models.errors import MilepostError
from models.settings import Settings
from models.text import one_line
from streams.clock import Clock
from streams.kafka.config import aiokafka_options
from streams.notify.channels import Channel
from streams.notify.deliveries import DEFAULT_RETRY_POLICY, RetryPolicy, cancel
from streams.notify.digests import DigestSender
from streams.notify.metrics import NotifyMetrics
from streams.notify.run import TargetRun
from streams.notify.targets import Target, TargetsFile
from streams.outages import KAFKA, OUTAGES
from streams.process import run_until_stopped
from streams.web.probes import Probes
from streams.web.web_servers import create_web_servers

logger = logging.getLogger("milepost.notify")

#: How often the file of targets is read, and how often Kafka is asked whether it answers.
_FILE_INTERVAL_SECONDS: Final = 2.0
_KAFKA_INTERVAL_SECONDS: Final = 3.0
_KAFKA_TIMEOUT_SECONDS: Final = 5.0

CreateChannel = Callable[[Target], Channel | DigestSender]
#: Returns why a target cannot be used; empty when it can.
FindProblem = Callable[[Target], Awaitable[str]]


class Notifier:
    """Tells every target, within a running event loop."""

    def __init__(  # noqa: PLR0913 - everything it composes comes in as an argument
        self,
        settings: Settings,
        file: TargetsFile,
        create_channel: CreateChannel,
        find_problem: FindProblem,
        clock: Clock,
        policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        self._settings, self._file = settings, file
        self._create_channel, self._find_problem = create_channel, find_problem
        self._clock, self._policy = clock, policy
        self.metrics = NotifyMetrics()
        self._runs: dict[str, tuple[TargetRun, asyncio.Task[None]]] = {}
        #: Why targets of the file are not told, by name.
        self._unusable: Mapping[str, str] = {}
        self._problem = ""
        self.metrics.kafka_up.set_function(lambda: not self._problem)
        self.metrics.targets_file_broken.set_function(lambda: bool(file.problem))
        self.probes = Probes(self.metrics.registry, dict, self._readiness_problems, self._find_warnings)

    @asynccontextmanager
    async def running(self, sockets: Sequence[socket.socket]) -> AsyncIterator[asyncio.Task[None]]:
        """Tell targets until the block ends, and give a task that ends by a bug alone.

        Raises `MilepostError` when Kafka does not answer.
        """
        client = AIOKafkaClient(**aiokafka_options(self._settings))
        servers = create_web_servers(None, sockets, self.probes, self.metrics.count_http_error)
        try:
            try:
                await client.bootstrap()
            except KafkaError as error:
                raise MilepostError(f"Kafka does not answer: {one_line(error)}") from error
            for server in servers:
                await server.start()
            watching = asyncio.create_task(self._watch(client))
            try:
                yield watching
            finally:
                await cancel(watching)
        finally:
            for server in servers:
                await server.stop()
            await client.close()

    async def _watch(self, client: AIOKafkaClient) -> None:
        """Keep the targets of the file running."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_kafka(client))
                await self._apply(tasks)
                while True:
                    await asyncio.sleep(_FILE_INTERVAL_SECONDS)
                    # In a thread: the files may be on a network.
                    if await asyncio.to_thread(self._file.reload):
                        await self._apply(tasks)
        finally:
            self._runs.clear()

    async def _apply(self, tasks: asyncio.TaskGroup) -> None:
        """Start the targets that are new or changed, and stop those that are changed or gone."""
        if self._file.problem:
            logger.error("%s; the targets before it stay", self._file.problem)
            return
        table = self._file.table
        refused = {target.name: problem for target in table.targets if (problem := await self._find_problem(target))}
        self._unusable = {**table.unusable, **refused}
        for name, problem in self._unusable.items():
            logger.error("target %s cannot be used: %s", name, problem)
        self.metrics.set_unusable(self._unusable)
        wanted = {target.name: target for target in table.targets if target.name not in refused}
        for name, (run, task) in [*self._runs.items()]:
            if wanted.get(name) != run.target:
                logger.info("target %s has changed or is gone", name)
                await cancel(task)
                del self._runs[name]
        for name, target in wanted.items():
            if name not in self._runs:
                run = TargetRun(target, self._settings, self._create_channel, self.metrics, self._clock, self._policy)
                self._runs[name] = run, tasks.create_task(run.run())

    async def _watch_kafka(self, client: AIOKafkaClient) -> None:
        while True:
            try:
                async with asyncio.timeout(_KAFKA_TIMEOUT_SECONDS):
                    is_reached = await client.force_metadata_update()
            except (TimeoutError, KafkaError):
                is_reached = False
            self._problem = "" if is_reached else f"Kafka at {self._settings.kafka} does not answer"
            if is_reached:
                OUTAGES.end(self)
            else:
                OUTAGES.fail(self, KAFKA, f"nothing within {_KAFKA_TIMEOUT_SECONDS:g} s")
            await asyncio.sleep(_KAFKA_INTERVAL_SECONDS)

    def _readiness_problems(self) -> Mapping[str, str]:
        return {"kafka": self._problem} if self._problem else {}

    def _find_warnings(self) -> Mapping[str, str]:
        """Return what is to be mended and keeps no other target from being told."""
        off = "is switched off since it answered 410, until its entry changes"
        return (
            ({"targets": f"{self._file.problem}; the targets before it stay"} if self._file.problem else {})
            | {f"target {name}": f"cannot be used: {problem}" for name, problem in self._unusable.items()}
            | {f"target {name}": off for name, (run, _) in self._runs.items() if run.is_off}
        )


def run_notify_process(
    settings: Settings,
    file: TargetsFile,
    create_channel: CreateChannel,
    find_problem: FindProblem,
    sockets: Sequence[socket.socket],
) -> None:
    """Tell targets until SIGINT or SIGTERM. Raises `MilepostError` when it cannot start."""
    notifier = Notifier(settings, file, create_channel, find_problem, Clock())
    run_until_stopped(lambda: notifier.running(sockets), sockets, settings.stop_seconds, logger)
