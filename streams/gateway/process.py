"""Runs a gateway in this process until it is asked to stop."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiokafka.errors import KafkaError

from models.errors import MilepostError
from models.settings import Settings
from models.text import one_line
from streams.clock import Clock
from streams.gateway.answers import problem_response
from streams.gateway.bodies import BodyReader
from streams.gateway.events import EventsEndpoint
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.producer import EventProducer
from streams.gateway.tokens import TokensFile
from streams.kafka.config import aiokafka_options
from streams.process import run_until_stopped
from streams.web.guard import GuardedApplication
from streams.web.probes import Probes
from streams.web.web_servers import create_web_servers

logger = logging.getLogger("milepost.gateway")

#: How often the tokens file is read, and how often Kafka is asked whether it answers.
_TOKENS_INTERVAL_SECONDS: Final = 1.0
_KAFKA_INTERVAL_SECONDS: Final = 3.0
_KAFKA_TIMEOUT_SECONDS: Final = 5.0
#: How long a gateway that stops waits for Kafka before it tells those who wait to send again: shorter than its server
#: waits for answers.
_FINISH_SECONDS: Final = 0.7


class Gateway:
    """A gateway that can be started and stopped within a running event loop."""

    def __init__(
        self, settings: Settings, tokens: TokensFile, sockets: Sequence[socket.socket], bodies: BodyReader | None = None
    ) -> None:
        self._tokens, self._clock = tokens, Clock()
        self.metrics = GatewayMetrics()
        self.producer = EventProducer(aiokafka_options(settings), settings.events_topic)
        self.metrics.kafka_up.set_function(lambda: not self.producer.problem)
        self.metrics.tokens_file_broken.set_function(lambda: bool(tokens.problem))
        probes = Probes(self.metrics.registry, dict, self._readiness_problems, self._find_warnings)
        self._endpoint = EventsEndpoint(
            lambda: tokens.table,
            self.producer.publish,
            self.metrics,
            self._clock,
            settings.allowed_sources,
            bodies or BodyReader(),
        )

        def add_routes(guarded: GuardedApplication, _probes: Probes) -> None:
            guarded.error_response = guarded.protocol_error_response = problem_response
            self._endpoint.add_routes(guarded)

        # Whoever has a token may call the gateway by any name.
        self._servers = create_web_servers(None, sockets, probes, self.metrics.count_http_error, add_routes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve until the block ends; raises `MilepostError` when Kafka does not let the gateway in."""
        try:
            await self.producer.start()
        except KafkaError as error:
            raise MilepostError(f"Kafka does not take events: {one_line(error)}") from error
        watching = [asyncio.create_task(self._watch_tokens()), asyncio.create_task(self._watch_kafka())]
        for server in self._servers:
            await server.start()
        try:
            yield
        finally:
            # Before the servers close the connections of those who still wait.
            giving_up = asyncio.get_running_loop().call_later(_FINISH_SECONDS, self.producer.give_up)
            for server in self._servers:
                await server.stop()
            giving_up.cancel()
            for task in watching:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self.producer.stop()

    def _readiness_problems(self) -> Mapping[str, str]:
        return {"kafka": self.producer.problem} if self.producer.problem else {}

    def _find_warnings(self) -> Mapping[str, str]:
        """Return what is to be mended and keeps nobody from publishing."""
        problem = self._tokens.problem
        return {"tokens": f"{problem}; the tokens before it stay in force"} if problem else {}

    async def _watch_tokens(self) -> None:
        while True:
            await asyncio.sleep(_TOKENS_INTERVAL_SECONDS)
            # In a thread: the file may be on a network.
            if await asyncio.to_thread(self._tokens.reload):
                if self._tokens.problem:
                    logger.error("%s; the tokens before it stay in force", self._tokens.problem)
                else:
                    logger.info("the tokens file has changed: %d tokens", len(self._tokens.table.tokens))
                    self._endpoint.note_tokens()

    async def _watch_kafka(self) -> None:
        while True:
            await asyncio.sleep(_KAFKA_INTERVAL_SECONDS)
            await self.producer.check(_KAFKA_TIMEOUT_SECONDS)


def run_gateway_process(settings: Settings, tokens: TokensFile, sockets: Sequence[socket.socket]) -> None:
    """Run a gateway until SIGINT or SIGTERM. Raises `MilepostError` when it cannot start."""
    run_until_stopped(lambda: Gateway(settings, tokens, sockets).running(), sockets, settings.stop_seconds, logger)
