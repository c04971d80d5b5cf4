"""The Faust application: `create_app(settings, …)` puts it together; importing this module does nothing.

Settings of Faust that are chosen on purpose, and why: docs/decisions/0005-faust-settings.md.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import faust
from faust.tables.manager import TableManager
from faust.types import TP, AppT, Message
from mode import Service

from models.database.positions import StartOffset, TopicRecreatedError
from models.database.recorder import Recorder
from models.settings import Settings
from streams.agents.forecast import ForecastAgent
from streams.agents.record import RecordAgent
from streams.agents.sweep import Sweeper
from streams.kafka.config import aiokafka_options, create_credentials, faust_broker_urls
from streams.kafka.producer import create_producer
from streams.kafka.transport import FetchedBatch, MicroBatchTransport, get_consumer
from streams.metrics.pipeline import DROPPED_BY_CAP, Metrics
from streams.metrics.store import MetricsStore
from streams.monitoring.health import Health
from streams.monitoring.lag import POLL_TIMEOUT_SECONDS, LagMonitor
from streams.monitoring.watchdog import Watchdog
from streams.outbox import OutboxPublisher
from streams.retry import RevokedError, retry_until_done
from streams.web.server import AddRoutes, WebServer, WorkerProbes, create_application

logger = logging.getLogger("milepost.app")

#: A worker that died is noticed after this long; the others learn of it with their next heartbeat, and go on.
SESSION_TIMEOUT_SECONDS: Final = 10.0
HEARTBEAT_INTERVAL_SECONDS: Final = 1.0
#: A worker whose loop hangs is put out of the group after this long (Faust: 1000 s).
MAX_POLL_INTERVAL_SECONDS: Final = 120.0
REQUEST_TIMEOUT_SECONDS: Final = 20.0
#: What one fetch brings of a partition: several batches' worth of events, without holding megabytes of each. (A
#: record that is larger comes all the same, alone.)
MAX_PARTITION_FETCH_BYTES: Final = 256 * 1024
#: The largest record the producer may send: a dead letter is as large as what was rejected, and its headers.
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024


class FetchedBatchSchema(faust.Schema[Any, Any]):
    """Hands a delivery to the stream as it is."""

    def loads_key(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signature
        """Return nothing: a delivery has no key."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ANN401, ARG002 - Faust's signature
        """Return the delivery."""
        return message.value


class EmptyTableManager(TableManager):
    """Faust's table manager without tables: it also resumes the streams, but need not wait for any to register."""

    async def on_start(self) -> None:
        """Start without the second that Faust leaves for tables to appear."""
        await self._update_channels()
        await self.recovery.start()


class FaustApp(faust.App):
    """Faust's application without a folder of its own: it would be made where the worker stands, and stay empty."""

    def _create_directories(self) -> None:
        """Leave the file system alone."""


@dataclass(frozen=True, slots=True)
class WorkerComponents:
    """The application and the parts that a runner or a test wants to see."""

    app: faust.App
    metrics: Metrics
    metrics_store: MetricsStore
    health: Health
    forecast_agent: ForecastAgent
    outbox_publisher: OutboxPublisher
    watchdog: Watchdog
    #: To be started beside the application, in this order.
    services: tuple[Service, ...]


def create_app(
    settings: Settings,
    recorder: Recorder,
    server_socket: socket.socket,
    stop_with_error: Callable[[str], None],
    add_routes: AddRoutes | None = None,
) -> WorkerComponents:
    """Return the application, ready to be started in the running event loop.

    `stop_with_error` is called with one line when the worker must not go on as things are. `add_routes` adds to what
    is served.

    The recorder's schema and the topics are the caller's to check; the socket is bound already, so that a taken port
    is told before anything is started.
    """
    app = FaustApp(
        settings.group,
        broker=faust_broker_urls(settings),
        broker_credentials=create_credentials(settings),
        broker_session_timeout=SESSION_TIMEOUT_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_INTERVAL_SECONDS,
        broker_rebalance_timeout=SESSION_TIMEOUT_SECONDS,
        broker_request_timeout=REQUEST_TIMEOUT_SECONDS,
        broker_max_poll_interval=MAX_POLL_INTERVAL_SECONDS,
        # Nobody jumps over what was deleted: the transport asks where to go on, and what is missed is counted.
        consumer_auto_offset_reset="none",
        consumer_max_fetch_size=MAX_PARTITION_FETCH_BYTES,
        producer_acks=-1,
        producer_max_request_size=MAX_REQUEST_BYTES,
        producer_request_timeout=REQUEST_TIMEOUT_SECONDS,
        topic_allow_declare=False,
        topic_disable_leader=True,
        agent_supervisor="mode.supervisors.CrashingSupervisor",
        web_enabled=False,
        worker_redirect_stdouts=False,
        store="memory://",
        TableManager=EmptyTableManager,
        value_serializer="raw",
        key_serializer="raw",
        stream_wait_empty=True,
    )
    metrics, shelf, health = (
        Metrics(faust.__version__),
        MetricsStore(settings.max_series, settings.keep_days),
        Health(app),
    )
    metrics.started.set(time.time())  # noqa: TID251 - the edge is where the clock comes from
    metrics.database_up.set_function(lambda: bool(health.is_database_up))
    metrics.kafka_up.set_function(lambda: bool(health.is_kafka_up))
    metrics.series_dropped.labels(DROPPED_BY_CAP).set_function(lambda: shelf.dropped_milestones)
    metrics.init_partitions(settings.events_topic, range(settings.partitions))
    recording, drawing = ThreadPoolExecutor(1, "record"), ThreadPoolExecutor(2, "forecast")
    telling, looking = ThreadPoolExecutor(1, "tell"), ThreadPoolExecutor(1, "look")

    def event_loops() -> list[asyncio.AbstractEventLoop]:
        # The thread that fetches has a loop of its own.
        fetching = get_consumer(app)._thread.thread_loop  # noqa: SLF001 - asked only to say what it was doing
        return [app.loop, fetching]

    watchdog = Watchdog(
        health,
        settings.stuck_seconds,
        max_elapsed=settings.log_end_seconds + POLL_TIMEOUT_SECONDS,
        clock=time.monotonic,
        event_loops=event_loops,
    )

    def is_assigned(batch: FetchedBatch) -> bool:
        return get_consumer(app).is_current_generation(batch.generation)

    teller = OutboxPublisher(recorder.engine, settings.changes_topic, create_producer(app), telling)
    forecaster = ForecastAgent(
        recorder,
        metrics,
        shelf,
        settings,
        drawing,
        clock=time.time,  # noqa: TID251 - as above
        today=_today,
        is_assigned=is_assigned,
        is_catching_up=lambda: record_agent.is_catching_up,
        wake_outbox=teller.wake,
    )
    sweeper = Sweeper(forecaster, health, interval=settings.sweep_seconds)
    record_agent = RecordAgent(
        recorder,
        metrics,
        health,
        settings,
        create_producer(app),
        recording,
        clock=time.time,  # noqa: TID251 - the edge is where the clock comes from
        is_assigned=is_assigned,
        mark_recorded=lambda delivery: get_consumer(app).mark_recorded(delivery),
        rewind=lambda: get_consumer(app).rewind(),
        request_sweep=sweeper.request_sweep,
        reset_watchdog=watchdog.reset,
    )

    async def resolve_start_offsets(log_bounds: Mapping[TP, tuple[int, int]]) -> Mapping[TP, int]:
        generation = app.consumer_generation_id
        ends = {tp.partition: end for tp, end in log_bounds.items()}

        async def query_start_offsets() -> dict[int, StartOffset]:
            try:
                return await app.loop.run_in_executor(
                    recording, recorder.resolve_start_offsets, settings.events_topic, ends
                )
            except Exception:
                # What does not pass ends the worker by itself.
                watchdog.reset()
                raise

        try:
            taken = await retry_until_done(
                "asking the database where to read",
                query_start_offsets,
                lambda: get_consumer(app).is_current_generation(generation),
            )
        except TopicRecreatedError as error:
            stop_with_error(str(error))
            raise RevokedError from error
        for partition, place in taken.items():
            if place.missed:
                logger.error(
                    "%s:%s: %s records were deleted before they were read; going on from offset %s",
                    settings.events_topic,
                    partition,
                    place.missed,
                    place.offset,
                )
            metrics.missed_records.labels(settings.events_topic, str(partition)).inc(place.missed)
        return {tp: taken[tp.partition].offset for tp in log_bounds}

    app.transport = MicroBatchTransport(
        app.conf.broker_consumer,
        app,
        positioned_topics=[settings.events_topic],
        resolve_start_offsets=resolve_start_offsets,
        on_fetched=record_agent.set_next,
        max_records=settings.batch,
    )
    app.agent(app.topic(settings.events_topic, schema=FetchedBatchSchema()), name="record")(record_agent.process_stream)
    app.agent(app.topic(settings.programmes_topic, schema=FetchedBatchSchema()), name="forecast")(
        forecaster.process_stream
    )
    app.on_partitions_assigned.connect(sweeper.on_assigned)
    probes = WorkerProbes(metrics.registry, health.liveness_problems, health.readiness_problems)
    services = (
        WebServer(server_socket, create_application(probes, shelf, add_routes)),
        LagMonitor(
            recorder,
            metrics,
            health,
            settings.events_topic,
            settings.partitions,
            looking,
            interval=settings.log_end_seconds,
            clock=time.time,  # noqa: TID251 - as above
            client_options=aiokafka_options(settings),
            rewind=lambda: get_consumer(app).rewind(),
            stop_with_error=stop_with_error,
            on_progress=lambda waiting: watchdog.observe(health.expected_progress(settings.events_topic, waiting)),
        ),
        sweeper,
        teller,
    )
    return WorkerComponents(app, metrics, shelf, health, forecaster, teller, watchdog, services)


def _today() -> date:
    return datetime.now(UTC).date()  # noqa: TID251 - the edge is where the clock comes from
