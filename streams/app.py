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

from models.database.positions import LogMadeAnewError, TakenUp
from models.database.recorder import Store
from models.settings import Settings
from streams.agents.forecast import Forecaster
from streams.agents.record import Recorder
from streams.agents.sweep import Sweeper
from streams.kafka.config import broker_urls, client_options, credentials
from streams.kafka.producer import producer_of
from streams.kafka.transport import Delivery, MicroBatchTransport, consumer_of
from streams.metrics.pipeline import DROPPED_BY_CAP, Metrics
from streams.metrics.store import Shelf
from streams.monitoring.health import Health
from streams.monitoring.lag import PATIENCE_SECONDS, LogEnds
from streams.monitoring.watchdog import Watchdog
from streams.outbox import Teller
from streams.retry import GivenUpError, until_done
from streams.web.server import Pages, Web

logger = logging.getLogger("milepost.app")

#: A worker that died is noticed after this long; the others learn of it with their next heartbeat, and go on.
SESSION_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 1.0
#: A worker whose loop hangs is put out of the group after this long (Faust: 1000 s).
MAX_POLL_SECONDS: Final = 120.0
REQUEST_SECONDS: Final = 20.0
#: What one fetch brings of a partition: several batches' worth of events, without holding megabytes of each. (A
#: record that is larger comes all the same, alone.)
MAX_FETCH_BYTES: Final = 256 * 1024
#: The largest record the producer may send: a dead letter is as large as what was rejected, and its headers.
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024


class DeliverySchema(faust.Schema[Any, Any]):
    """Hands a delivery to the stream as it is."""

    def loads_key(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signature
        """Return nothing: a delivery has no key."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ANN401, ARG002 - Faust's signature
        """Return the delivery."""
        return message.value


class NoTables(TableManager):
    """Faust's table manager without tables: it also resumes the streams, but need not wait for any to register."""

    async def on_start(self) -> None:
        """Start without the second that Faust leaves for tables to appear."""
        await self._update_channels()
        await self.recovery.start()


class App(faust.App):
    """Faust's application without a folder of its own: it would be made where the worker stands, and stay empty."""

    def _create_directories(self) -> None:
        """Leave the file system alone."""


@dataclass(frozen=True, slots=True)
class Milepost:
    """The application and the parts that a runner or a test wants to see."""

    app: faust.App
    metrics: Metrics
    shelf: Shelf
    health: Health
    forecaster: Forecaster
    teller: Teller
    watchdog: Watchdog
    #: To be started beside the application, in this order.
    services: tuple[Service, ...]


def create_app(
    settings: Settings,
    store: Store,
    listening: socket.socket,
    refuse: Callable[[str], None],
    pages: Pages | None = None,
) -> Milepost:
    """Return the application, ready to be started in the running event loop.

    `refuse` is called with one line when the worker must not go on as things are, and has to be stopped. `pages` adds
    to what is served.

    The store's schema and the topics are the caller's to check; the socket is bound already, so that a taken port
    is told before anything is started.
    """
    app = App(
        settings.group,
        broker=broker_urls(settings),
        broker_credentials=credentials(settings),
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_rebalance_timeout=SESSION_SECONDS,
        broker_request_timeout=REQUEST_SECONDS,
        broker_max_poll_interval=MAX_POLL_SECONDS,
        # Nobody jumps over what was deleted: the transport asks where to go on, and what is missed is counted.
        consumer_auto_offset_reset="none",
        consumer_max_fetch_size=MAX_FETCH_BYTES,
        producer_acks=-1,
        producer_max_request_size=MAX_REQUEST_BYTES,
        producer_request_timeout=REQUEST_SECONDS,
        topic_allow_declare=False,
        topic_disable_leader=True,
        agent_supervisor="mode.supervisors.CrashingSupervisor",
        web_enabled=False,
        worker_redirect_stdouts=False,
        store="memory://",
        TableManager=NoTables,
        value_serializer="raw",
        key_serializer="raw",
        stream_wait_empty=True,
    )
    metrics, shelf, health = Metrics(faust.__version__), Shelf(settings.max_series, settings.keep_days), Health(app)
    metrics.started.set(time.time())  # noqa: TID251 - the edge is where the clock comes from
    metrics.database_up.set_function(lambda: bool(health.database_answers))
    metrics.kafka_up.set_function(lambda: bool(health.kafka_answers))
    metrics.series_dropped.labels(DROPPED_BY_CAP).set_function(lambda: shelf.left_out)
    metrics.know_partitions(settings.events_topic, range(settings.partitions))
    recording, drawing = ThreadPoolExecutor(1, "record"), ThreadPoolExecutor(2, "forecast")
    telling, looking = ThreadPoolExecutor(1, "tell"), ThreadPoolExecutor(1, "look")

    def loops() -> list[asyncio.AbstractEventLoop]:
        # The thread that fetches has a loop of its own.
        fetching = consumer_of(app)._thread.thread_loop  # noqa: SLF001 - asked only to say what it was doing
        return [app.loop, fetching]

    watchdog = Watchdog(
        health,
        settings.stuck_seconds,
        longest=settings.log_end_seconds + PATIENCE_SECONDS,
        clock=time.monotonic,
        loops=loops,
    )

    def is_ours(delivery: Delivery) -> bool:
        return consumer_of(app).is_current(delivery.generation)

    teller = Teller(store.engine, settings.changes_topic, producer_of(app), telling)
    forecaster = Forecaster(
        store,
        metrics,
        shelf,
        settings,
        drawing,
        clock=time.time,  # noqa: TID251 - as above
        today=_today,
        is_ours=is_ours,
        is_catching_up=lambda: recorder.is_catching_up,
        tell=teller.tell,
    )
    sweeper = Sweeper(forecaster, health, every=settings.sweep_seconds)
    recorder = Recorder(
        store,
        metrics,
        health,
        settings,
        producer_of(app),
        recording,
        clock=time.time,  # noqa: TID251 - the edge is where the clock comes from
        is_ours=is_ours,
        admit_next=lambda delivery: consumer_of(app).admit_next(delivery),
        read_again=lambda: consumer_of(app).read_again(),
        sweep=sweeper.soon,
        alive=watchdog.alive,
    )

    async def take_up(logs: Mapping[TP, tuple[int, int]]) -> Mapping[TP, int]:
        generation = app.consumer_generation_id
        ends = {tp.partition: end for tp, end in logs.items()}

        async def ask() -> dict[int, TakenUp]:
            try:
                return await app.loop.run_in_executor(recording, store.take_up, settings.events_topic, ends)
            except Exception:
                # What does not pass ends the worker by itself.
                watchdog.alive()
                raise

        try:
            taken = await until_done(
                "asking the database where to read",
                ask,
                lambda: consumer_of(app).is_current(generation),
            )
        except LogMadeAnewError as error:
            refuse(str(error))
            raise GivenUpError from error
        for partition, place in taken.items():
            if place.missed:
                logger.error(
                    "%s:%s: %s records were deleted before they were read; going on from offset %s",
                    settings.events_topic,
                    partition,
                    place.missed,
                    place.position,
                )
            metrics.missed_records.labels(settings.events_topic, str(partition)).inc(place.missed)
        return {tp: taken[tp.partition].position for tp in logs}

    app.transport = MicroBatchTransport(
        app.conf.broker_consumer,
        app,
        positioned=[settings.events_topic],
        take_up=take_up,
        expect=recorder.expect,
        max_records=settings.batch,
    )
    app.agent(app.topic(settings.events_topic, schema=DeliverySchema()), name="record")(recorder.agent)
    app.agent(app.topic(settings.programmes_topic, schema=DeliverySchema()), name="forecast")(forecaster.agent)
    app.on_partitions_assigned.connect(sweeper.on_assigned)
    services = (
        Web(listening, metrics, shelf, alive=health.not_alive, ready=health.not_ready, pages=pages),
        LogEnds(
            store,
            metrics,
            health,
            settings.events_topic,
            settings.partitions,
            looking,
            every=settings.log_end_seconds,
            clock=time.time,  # noqa: TID251 - as above
            connection=client_options(settings),
            read_again=lambda: consumer_of(app).read_again(),
            refuse=refuse,
            seen=lambda waiting: watchdog.look(health.ought_to_move(settings.events_topic, waiting)),
        ),
        sweeper,
        teller,
    )
    return Milepost(app, metrics, shelf, health, forecaster, teller, watchdog, services)


def _today() -> date:
    return datetime.now(UTC).date()  # noqa: TID251 - the edge is where the clock comes from
