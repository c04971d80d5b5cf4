"""The Faust application: `create_app(settings, …)` composes it; importing this module does nothing.

The settings of Faust that are not its defaults, and why: docs/decisions/0005-faust-settings.md.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import faust
from faust.tables.manager import TableManager
from faust.types import AppT, Message
from mode import Service

from models.database.recorder import Recorder
from models.errors import MilepostError
from models.settings import Settings
from streams.agents.forecast import ForecastAgent
from streams.agents.record import RecordAgent
from streams.agents.sweep import Sweeper
from streams.clock import Clock
from streams.kafka.config import create_credentials, faust_broker_urls
from streams.kafka.producer import create_producer
from streams.kafka.stop_timeouts import StopTimeouts
from streams.kafka.transport import BatchSource, MicroBatchTransport
from streams.metrics.pipeline import DROPPED_BY_CAP, Metrics
from streams.metrics.store import MetricsStore
from streams.monitoring.dead_letters import DeadLetterMonitor
from streams.monitoring.health import Health
from streams.monitoring.lag import POLL_TIMEOUT_SECONDS, LagMonitor
from streams.monitoring.retractions import RetractionMonitor
from streams.monitoring.watchdog import Watchdog
from streams.outbox import OutboxPublisher
from streams.retry import Retry
from streams.web.probes import AddRoutes, Probes
from streams.web.web_servers import create_web_servers

#: The group notices a dead worker after this long; the others learn of it with their next heartbeat.
SESSION_TIMEOUT_SECONDS: Final = 10.0
HEARTBEAT_INTERVAL_SECONDS: Final = 1.0
#: A worker whose event loop hangs is put out of the group after this long (Faust: 1000 s).
MAX_POLL_INTERVAL_SECONDS: Final = 120.0
REQUEST_TIMEOUT_SECONDS: Final = 20.0
#: What one fetch brings of a partition: several batches' worth of events, without holding megabytes of each. (A larger
#: record comes nevertheless, alone.)
MAX_PARTITION_FETCH_BYTES: Final = 256 * 1024
#: The largest record that the producer may send: more than a dead letter can have, and what brokers take by default.
MAX_REQUEST_BYTES: Final = 1024 * 1024


class FetchedBatchSchema(faust.Schema[Any, Any]):
    """Hands a fetched batch to the stream as it is."""

    def loads_key(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signature
        """Return nothing: a batch has no key."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ANN401, ARG002 - Faust's signature
        """Return the batch."""
        return message.value


class EmptyTableManager(TableManager):
    """Faust's table manager without tables: it also resumes the streams, but need not wait for any to register."""

    async def on_start(self) -> None:
        """Start without the second that Faust waits for tables to appear."""
        await self._update_channels()
        await self.recovery.start()


class FaustApp(faust.App):
    """Faust's application, whose end waits for Kafka no longer than a moment.

    Without a data directory, which would be created where the worker runs and stay empty.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's own
        super().__init__(*args, **options)
        self.stop_timeouts = StopTimeouts()

    async def on_stop(self) -> None:
        """Limit what still waits for Kafka, and stop."""
        self.stop_timeouts.begin()
        await super().on_stop()

    def _create_directories(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class WorkerComponents:
    """The application, and the parts that a runner or a test needs."""

    app: faust.App
    metrics: Metrics
    metrics_store: MetricsStore
    health: Health
    forecast_agent: ForecastAgent
    outbox_publisher: OutboxPublisher
    watchdog: Watchdog
    #: To be started beside the application, in this order.
    services: tuple[Service, ...]


def create_app(  # noqa: PLR0913 - everything it composes comes in as an argument
    settings: Settings,
    recorder: Recorder,
    sockets: Sequence[socket.socket],
    stop_with_error: Callable[[MilepostError], None],
    add_routes: AddRoutes | None = None,
    warnings: Mapping[str, str] = MappingProxyType({}),
) -> WorkerComponents:
    """Return the application, ready to be started in the running event loop.

    `stop_with_error` is called with an error when an operator has to act before a worker can go on. `add_routes` adds
    to what the web server serves; `warnings`, by name, are told at `/ready`.

    The caller checks the database's schema and the topics, and binds the sockets, so that a port in use is reported
    before anything starts. The first is for the board; metrics and probes are on the second if there is one, else on
    the first too.
    """
    clock = Clock()
    app = create_faust_app(settings)
    source, produce = BatchSource(app), create_producer(app, app.stop_timeouts)
    metrics, metrics_store = Metrics(faust.__version__), MetricsStore(settings.max_series, settings.keep_days)
    health = Health(app)
    metrics.started.set(clock.now())
    metrics.database_up.set_function(lambda: bool(health.is_database_up))
    metrics.kafka_up.set_function(lambda: bool(health.is_kafka_up))
    metrics.retry_seconds.set_function(Retry.longest_seconds)
    metrics.series_dropped.labels(DROPPED_BY_CAP).set_function(lambda: metrics_store.dropped_series)
    metrics.init_partitions(settings.events_topic, range(settings.partitions))
    watchdog = Watchdog(
        health,
        settings.stuck_seconds,
        max_elapsed=settings.log_end_seconds + POLL_TIMEOUT_SECONDS,
        event_loops=source.event_loops,
    )
    sweep_requested = asyncio.Event()
    outbox = OutboxPublisher(recorder.engine, settings.changes_topic, produce, clock)
    record_agent = RecordAgent(
        recorder=recorder,
        metrics=metrics,
        health=health,
        settings=settings,
        clock=clock,
        source=source,
        produce=produce,
        watchdog=watchdog,
        sweep_requested=sweep_requested,
        stop_with_error=stop_with_error,
    )
    forecast_agent = ForecastAgent(
        recorder=recorder,
        metrics=metrics,
        metrics_store=metrics_store,
        settings=settings,
        clock=clock,
        source=source,
        outbox=outbox,
        is_catching_up=record_agent.is_catching_up,
        is_recording_many=record_agent.is_recording_many,
    )
    sweeper = Sweeper(forecast_agent, health, sweep_requested, settings.sweep_seconds)
    lag_monitor = LagMonitor(
        recorder=recorder,
        metrics=metrics,
        health=health,
        settings=settings,
        clock=clock,
        source=source,
        watchdog=watchdog,
        stop_with_error=stop_with_error,
    )
    probes = Probes(metrics.registry, health.liveness_problems, health.readiness_problems, lambda: warnings)
    web_servers = create_web_servers(
        settings.board_hosts, sockets, probes, metrics.count_http_error, add_routes, metrics_store
    )
    app.transport = MicroBatchTransport(
        app.conf.broker_consumer,
        app,
        positioned_topics=[settings.events_topic],
        resolve_start_offsets=record_agent.resolve_start_offsets,
        max_records=settings.batch,
        stop_timeouts=app.stop_timeouts,
    )
    schema = FetchedBatchSchema()
    app.agent(app.topic(settings.events_topic, schema=schema), name="record")(record_agent.process_stream)
    app.agent(app.topic(settings.programmes_topic, schema=schema), name="forecast")(forecast_agent.process_stream)
    app.on_partitions_assigned.connect(sweeper.on_assigned)
    monitors = (
        lag_monitor,
        DeadLetterMonitor(metrics=metrics, health=health, settings=settings, clock=clock.now),
        RetractionMonitor(recorder.engine, metrics),
    )
    services = (*web_servers, *monitors, sweeper, outbox)
    return WorkerComponents(app, metrics, metrics_store, health, forecast_agent, outbox, watchdog, services)


def create_faust_app(settings: Settings) -> FaustApp:
    """Return a Faust application with the settings of Milepost and of its broker."""
    return FaustApp(
        settings.group,
        broker=faust_broker_urls(settings),
        broker_credentials=create_credentials(settings),
        broker_session_timeout=SESSION_TIMEOUT_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_INTERVAL_SECONDS,
        broker_rebalance_timeout=SESSION_TIMEOUT_SECONDS,
        broker_request_timeout=REQUEST_TIMEOUT_SECONDS,
        broker_max_poll_interval=MAX_POLL_INTERVAL_SECONDS,
        # No reset skips deleted records: the transport resolves where to go on, and counts what was missed.
        consumer_auto_offset_reset="none",
        consumer_max_fetch_size=MAX_PARTITION_FETCH_BYTES,
        producer_acks=-1,
        producer_compression_type="lz4",
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
