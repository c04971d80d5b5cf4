"""The Faust side on a real Kafka: what is read, recorded, told and shown."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Final, cast

import pytest
from cloudevents.core.bindings.kafka import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from faust.types import TP
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from sqlalchemy import Engine, delete, make_url, select, text, update

from models.database import tables
from models.database.engine import make_engine, write_transaction
from models.database.projector import ForecastResult
from models.database.recorder import (
    Batch,
    ProgrammeChange,
    PublishRejected,
    Recorder,
    RecordingResult,
    WhileWaiting,
    noop,
)
from models.domain.cloudevents import decode
from models.domain.events import Event as Said
from models.domain.events import Rejection
from models.domain.schedule import compute_schedule
from models.settings import Settings
from streams import app
from streams.agents import forecast, record
from streams.agents.forecast import ForecastAgent
from streams.app import WorkerComponents
from streams.kafka import transport
from streams.kafka.consumer_thread import KafkaRecord
from streams.kafka.transport import FetchedBatch, get_consumer
from tests.helpers.databases import connected
from tests.helpers.event_generators import Headers, random_events, shuffled_with_duplicates, structured_record
from tests.helpers.oracle import JsonEvent, expected_milestones
from tests.helpers.recorder import count_events, json_status_row, load_facts
from tests.helpers.workers import (
    TIMEOUT_SECONDS,
    MetricsPage,
    publish,
    publish_records,
    read_topic,
    running_app,
    wait_until_async,
)

DATA_DATE = date(2026, 11, 23)


@pytest.fixture
def store(fresh_settings: Settings) -> Recorder:
    """Give a second store on the worker's database, to look into it."""
    return Recorder(make_engine(fresh_settings.database))


def numbered_report(number: int, subject: str = "north/plant", milestone: str = "permit-approved") -> JsonEvent:
    """Return the n-th of many reports."""
    return {
        "specversion": "1.0",
        "id": f"report-{number}",
        "source": "//office.example",
        "type": "milepost.milestone.reported.v1",
        "subject": subject,
        "time": f"2026-03-{1 + number % 28:02d}T09:00:00Z",
        "data": {"milestone": milestone, "classifier": "PLN", "date": f"2027-01-{1 + number % 28:02d}"},
    }


def rows(store: Recorder, data_date: date = DATA_DATE) -> list[dict[str, Any]]:
    """Return the picture of a day, as `status --json` prints it, without the revision."""
    facts, _ = load_facts(store)
    return [json_status_row(standing) for standing in compute_schedule(facts, data_date).statuses]


def with_sdk(number: int, encode: Callable[..., Any]) -> tuple[bytes | None, list[tuple[str, bytes]], bytes]:
    """Return a record as the official CloudEvents SDK makes it."""
    event = numbered_report(number)
    attributes = {name: event[name] for name in ("specversion", "id", "source", "type", "subject")}
    moment = datetime.fromisoformat(event["time"]).astimezone(UTC)
    message = encode(
        CloudEvent(
            attributes | {"time": moment, "datacontenttype": "application/json", "partitionkey": "north"}, event["data"]
        ),
        JSONFormat(),
    )
    key = message.key.encode() if isinstance(message.key, str) else message.key
    return key, list(message.headers.items()), message.value


async def all_recorded(milepost: WorkerComponents, expected: int) -> None:
    """Wait until a worker has seen so many events, whatever became of them."""
    events = milepost.metrics.events

    def seen() -> float:
        samples = [sample for family in events.collect() for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    await wait_until_async(lambda: seen() >= expected, f"{expected} events are seen")
    assert seen() == expected


class HeldStore(Recorder):
    """Writes nothing until it may go on."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.held, self.go_on = 0, threading.Event()

    def record(self, batch: Batch, reject: PublishRejected, meanwhile: WhileWaiting = noop) -> RecordingResult:
        """Wait, then write."""
        self.held += 1
        assert self.go_on.wait(TIMEOUT_SECONDS)
        return super().record(batch, reject, meanwhile)


class TestEvents:
    def test_both_content_modes_of_the_official_sdk_are_read(self, fresh_settings: Settings, store: Recorder) -> None:
        publish_records(
            fresh_settings, [with_sdk(number, to_binary if number % 2 else to_structured) for number in range(20)]
        )

        async def run() -> None:
            async with running_app(fresh_settings) as milepost:
                await all_recorded(milepost, 20)

        asyncio.run(run())

        assert count_events(store) == 20
        assert rows(store) == expected_milestones([numbered_report(number) for number in range(20)], DATA_DATE)

    @pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
    def test_every_compression_codec_is_read(self, sqlite_settings: Settings, codec: str) -> None:
        async def produce() -> None:
            # aiokafka compresses with what the product brings; kafka-python would need a library for each codec.
            from aiokafka import AIOKafkaProducer  # noqa: PLC0415

            producer = AIOKafkaProducer(bootstrap_servers=sqlite_settings.kafka, compression_type=codec, linger_ms=20)
            await producer.start()
            try:
                for number in range(50):
                    headers, value = structured_record(numbered_report(number))
                    await producer.send(sqlite_settings.events_topic, value, headers=headers)
            finally:
                await producer.stop()

        async def run() -> None:
            await produce()
            async with running_app(sqlite_settings) as milepost:
                await all_recorded(milepost, 50)

        asyncio.run(run())

        assert count_events(Recorder(make_engine(sqlite_settings.database))) == 50

    @pytest.mark.parametrize(
        "key",
        [
            pytest.param(lambda event: event["subject"].split("/")[0].encode(), id="programme"),
            pytest.param(lambda event: event["subject"].encode(), id="project"),
            pytest.param(lambda _: None, id="none"),
        ],
    )
    def test_nothing_depends_on_how_publishers_key_their_records(
        self, sqlite_settings: Settings, key: Callable[[JsonEvent], bytes | None]
    ) -> None:
        events = random_events(7, 600, programmes=4, projects=12, with_dependencies=True)
        # However long ago a milestone was achieved or cancelled, it is to be seen.
        sqlite_settings = sqlite_settings.model_copy(update={"keep_days": 100_000})
        published = publish(sqlite_settings, shuffled_with_duplicates(events, 7), key_of=key)

        async def run() -> MetricsPage:
            async with running_app(sqlite_settings) as milepost:
                await all_recorded(milepost, published)
                revisions = milepost_revisions(sqlite_settings)
                day = datetime.now(UTC).date()
                await wait_until_async(
                    lambda: not milepost.metrics_store.outdated_programmes(revisions, day), "all programmes are shown"
                )
                return MetricsPage(b"".join(milepost.metrics_store.iter_families()).decode())

        page = asyncio.run(run())

        store = Recorder(make_engine(sqlite_settings.database))
        assert count_events(store) == len(events)
        expected = expected_milestones(events, DATA_DATE)
        assert rows(store) == expected
        shown = {
            (labels["programme"], labels["project"], labels["milestone"])
            for labels in page.labels("milepost_milestone_state")
        }
        assert shown == {(row["programme"], row["project"], row["milestone"]) for row in expected}


def milepost_revisions(settings: Settings) -> dict[str, int]:
    """Return the revisions in a worker's database."""
    return Recorder(make_engine(settings.database)).read_revisions()


class TestRejections:
    def test_a_rejected_record_is_kept_whole_with_its_reason_and_where_it_came_from(
        self, sqlite_settings: Settings
    ) -> None:
        publish_records(
            sqlite_settings,
            [
                (b"north", [("trace", b"\xff\x00"), ("content-type", b"application/cloudevents+json")], b"{not json"),
                (b"north", *structured_record(numbered_report(1))),
            ],
        )

        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                await all_recorded(milepost, 2)
                assert milepost.metrics.rejected.labels("malformed")._value.get() == 1

        asyncio.run(run())

        [letter] = read_topic(sqlite_settings, sqlite_settings.dead_letters_topic)
        headers = dict(letter.headers)
        topic, partition, offset = letter.key.decode().rsplit(":", 2)
        assert letter.value == b"{not json"
        assert topic == sqlite_settings.events_topic
        assert headers["trace"] == b"\xff\x00"
        assert headers["content-type"] == b"application/cloudevents+json"
        assert headers["milepost-reason"] == b"malformed"
        assert headers["milepost-topic"].decode() == topic
        assert headers["milepost-partition"].decode() == partition
        assert headers["milepost-offset"].decode() == offset
        assert headers["milepost-detail"]
        assert "milepost-source" not in headers

    def test_other_content_under_the_same_name_is_a_conflict_whatever_the_content_mode(
        self, sqlite_settings: Settings
    ) -> None:
        other = numbered_report(1) | {"subject": "north/other"}
        publish_records(
            sqlite_settings,
            [
                (b"north", *structured_record(numbered_report(1))),
                with_sdk(1, to_binary),
                (b"north", *structured_record(other)),
            ],
        )

        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                await all_recorded(milepost, 3)

        asyncio.run(run())

        [letter] = read_topic(sqlite_settings, sqlite_settings.dead_letters_topic)
        headers = dict(letter.headers)
        assert headers["milepost-reason"] == b"conflicting-duplicate"
        assert headers["milepost-source"] == b"//office.example"
        assert json.loads(letter.value)["subject"] == "north/other"


class TestPositions:
    def test_committed_offsets_follow_what_is_recorded(self, sqlite_settings: Settings) -> None:
        publish(sqlite_settings, [numbered_report(number, f"p{number % 9}/plant") for number in range(300)])

        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                await all_recorded(milepost, 300)
                publish(
                    sqlite_settings, [numbered_report(number, f"p{number % 9}/plant") for number in range(300, 400)]
                )
                await all_recorded(milepost, 400)

        asyncio.run(run())

        assert committed(sqlite_settings) == Recorder(make_engine(sqlite_settings.database)).read_positions(
            sqlite_settings.events_topic
        )

    @pytest.mark.parametrize("where", ["behind", "ahead", "missing"])
    def test_the_database_decides_where_to_read_whatever_the_group_says(
        self, sqlite_settings: Settings, where: str
    ) -> None:
        first, then = (
            [numbered_report(number, f"p{number % 9}/plant") for number in part] for part in (range(90), range(90, 180))
        )
        publish(sqlite_settings, first)

        async def run(settings: Settings, expected: int) -> float:
            async with running_app(settings) as milepost:
                await all_recorded(milepost, expected)
                return float(milepost.metrics.events.labels("accepted", "milepost.milestone.reported.v1")._value.get())

        asyncio.run(run(sqlite_settings, 90))
        publish(sqlite_settings, then)
        settings = sqlite_settings
        if where == "missing":
            settings = settings.model_copy(update={"group": f"{settings.group}-other"})
        else:
            commit(settings, dict.fromkeys(range(4), 0 if where == "behind" else 10000))

        accepted = asyncio.run(run(settings, 90))

        assert accepted == 90
        assert count_events(Recorder(make_engine(settings.database))) == 180

    def test_a_database_restored_from_an_older_copy_is_filled_again_without_a_restart(
        self, fresh_settings: Settings, store: Recorder
    ) -> None:
        publish(fresh_settings, [numbered_report(number) for number in range(60)])

        async def run() -> None:
            async with running_app(fresh_settings) as milepost:
                await all_recorded(milepost, 60)
                with write_transaction(store.engine) as connection:
                    for table in (tables.ledger, tables.milestones, tables.programmes):
                        connection.execute(delete(table))
                    connection.execute(update(tables.positions).values(next_offset=0))
                publish(fresh_settings, [numbered_report(60)])
                await all_recorded(milepost, 60 + 61)

        asyncio.run(run())

        assert count_events(store) == 61
        assert rows(store) == expected_milestones([numbered_report(number) for number in range(61)], DATA_DATE)

    def test_a_database_that_was_deleted_is_filled_again_by_the_next_worker(self, sqlite_settings: Settings) -> None:
        publish(sqlite_settings, [numbered_report(number) for number in range(40)])

        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                await all_recorded(milepost, 40)

        asyncio.run(run())
        store = Recorder(make_engine(sqlite_settings.database))
        with write_transaction(store.engine) as connection:
            for table in tables.metadata.sorted_tables:
                connection.execute(delete(table))
        asyncio.run(run())

        assert count_events(store) == 40

    def test_records_deleted_unread_are_counted_and_the_rest_is_read(self, sqlite_settings: Settings) -> None:
        publish(sqlite_settings, [numbered_report(number) for number in range(30)])
        records = read_topic(sqlite_settings, sqlite_settings.events_topic)
        partition = records[0].partition
        store = Recorder(make_engine(sqlite_settings.database))
        store.resolve_start_offsets(sqlite_settings.events_topic, {partition: (0, 30)})
        admin = KafkaAdminClient(bootstrap_servers=sqlite_settings.kafka)
        admin.delete_records({TopicPartition(sqlite_settings.events_topic, partition): 12})
        admin.close()

        async def run() -> float:
            async with running_app(sqlite_settings) as milepost:
                await all_recorded(milepost, 18)
                missed = milepost.metrics.missed_records.labels(sqlite_settings.events_topic, str(partition))
                return float(missed._value.get())

        assert asyncio.run(run()) == 12
        assert count_events(store) == 18


def committed(settings: Settings) -> dict[int, int]:
    """Return the group's committed offsets of the events topic."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        found = admin.list_group_offsets(settings.group)
    finally:
        admin.close()
    offsets = found.get(settings.group, found)
    return {tp.partition: at.offset for tp, at in offsets.items() if tp.topic == settings.events_topic}


def commit(settings: Settings, offsets: dict[int, int]) -> None:
    """Set the group's committed offsets, as an operator's tool would."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        admin.alter_group_offsets(
            settings.group,
            {
                TopicPartition(settings.events_topic, partition): OffsetAndMetadata(offset, "", None)
                for partition, offset in offsets.items()
            },
        )
    finally:
        admin.close()


class Refusing(Recorder):
    """A store whose database is away for the first few batches."""

    def __init__(self, store: Recorder, failures: int) -> None:
        super().__init__(store.engine)
        self.failures = failures

    def record(self, batch: Batch, reject: PublishRejected, meanwhile: WhileWaiting = noop) -> RecordingResult:
        """Fail as a connection fails, then record."""
        if self.failures:
            self.failures -= 1
            raise TimeoutError("the database is away")
        return super().record(batch, reject, meanwhile)


SIGNAL: Final[tuple[bytes, Headers, bytes]] = (b"north", [], b'{"revision": 1, "appended_ms": 1}')


def hold_drawing(monkeypatch: pytest.MonkeyPatch, taken: list[FetchedBatch]) -> asyncio.Event:
    """Have drawing wait for what this returns, and note every delivery that it takes."""
    go_on, take = asyncio.Event(), ForecastAgent.process_batch

    async def hold(forecaster: ForecastAgent, delivery: FetchedBatch) -> None:
        # A copy: the delivery gives its records up when it is acknowledged.
        noted = replace(delivery)
        taken.append(noted)
        await go_on.wait()
        await take(forecaster, delivery)
        noted.is_done = delivery.is_done

    monkeypatch.setattr(ForecastAgent, "process_batch", hold)
    return go_on


class TestTrouble:
    def test_what_passes_is_tried_again_inside_the_agent_and_nothing_is_lost(self, sqlite_settings: Settings) -> None:
        store = Refusing(Recorder(make_engine(sqlite_settings.database)), failures=3)
        publish(sqlite_settings, [numbered_report(number) for number in range(25)])

        async def run() -> None:
            async with running_app(sqlite_settings, store) as milepost:
                await all_recorded(milepost, 25)

        asyncio.run(run())

        assert store.failures == 0
        assert count_events(store) == 25

    def test_connections_that_the_database_cuts_are_opened_again_and_nothing_is_lost_or_doubled(
        self, postgresql_settings: Settings
    ) -> None:
        settings = postgresql_settings.model_copy(update={"batch": 50})
        store = Recorder(make_engine(settings.database))
        cut = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        async def run() -> None:
            async with running_app(settings) as milepost:
                for start in range(0, 1000, 200):
                    publish(
                        settings,
                        [numbered_report(number, f"p{number % 7}/plant") for number in range(start, start + 200)],
                    )
                    with store.engine.connect() as connection:
                        connection.execute(cut)
                await wait_until_async(lambda: count_events(store) == 1000, "all is recorded")
                accepted = milepost.metrics.events.labels("accepted", "milepost.milestone.reported.v1")
                # A connection cut in the very moment of a commit leaves a batch that is recorded and never counted.
                assert accepted._value.get() <= 1000

        asyncio.run(run())

        assert count_events(store) == 1000

    def test_a_worker_that_waits_for_its_database_longer_than_a_group_waits_for_a_poll_goes_on_afterwards(
        self, postgresql_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings, patience = postgresql_settings.model_copy(update={"batch": 1}), 2.0
        name = make_url(settings.database).database
        monkeypatch.setattr(app, "MAX_POLL_INTERVAL_SECONDS", patience)
        admin = make_engine(make_url(settings.database).set(database="postgres").render_as_string(hide_password=False))

        async def run() -> None:
            async with running_app(settings) as milepost:
                with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
                    ended = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
                    connection.execute(ended, {"name": name})
                    consumer = get_consumer(milepost.app)
                    publish(settings, [numbered_report(1), numbered_report(2)])
                    publish_records(settings, [SIGNAL] * 3, settings.programmes_topic)
                    admitted = {settings.events_topic: 2, settings.programmes_topic: 2}
                    await wait_until_async(
                        lambda: (
                            {topic: len(its) for topic, its in consumer._in_flight.items()} == admitted
                            and settings.programmes_topic in consumer._buffered
                            and not consumer._fetches
                        ),
                        "two batches of each topic are admitted, and nothing more is fetched",
                    )
                    over = time.monotonic() + 3 * patience
                    await wait_until_async(lambda: time.monotonic() > over, "it has waited thrice as long")
                    connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
                await all_recorded(milepost, 2)

        asyncio.run(run())
        admin.dispose()

    def test_a_backlog_is_noticed_though_one_fetch_brings_less_than_a_batch(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = sqlite_settings.model_copy(update={"batch": 300})
        monkeypatch.setattr(app, "MAX_PARTITION_FETCH_BYTES", 1024)
        # One a request, and so one a batch of records: a fetch brings batches whole.
        for start in range(0, 600, 10):
            publish(settings, [numbered_report(number) for number in range(start, start + 10)])

        async def run() -> None:
            store = HeldStore(make_engine(settings.database))
            async with running_app(settings, store) as milepost:
                waiting = get_consumer(milepost.app)._in_flight[settings.events_topic]
                await wait_until_async(lambda: store.held == 1, "a batch is being written")
                await wait_until_async(lambda: len(waiting) == 2, "another one is admitted")
                assert all(one.has_backlog and len(one.records) < 150 for one in waiting)
                assert milepost.forecast_agent.is_catching_up()
                store.go_on.set()
                await all_recorded(milepost, 600)
                await wait_until_async(lambda: not milepost.forecast_agent.is_catching_up(), "the backlog is over")

        asyncio.run(run())

    def test_a_delivery_of_a_backlog_is_decoded_once_while_the_one_before_it_is_written(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = sqlite_settings.model_copy(update={"batch": 10})
        decoded: list[int] = []
        ahead: list[tuple[int, int]] = []

        def counting(headers: Headers, value: bytes | None) -> Said | Rejection:
            decoded.append(1)
            return decode(headers, value)

        monkeypatch.setattr(record, "decode", counting)
        publish(settings, [numbered_report(number) for number in range(40)])

        class Looking(HeldStore):
            def record(self, batch: Batch, reject: PublishRejected, meanwhile: WhileWaiting = noop) -> RecordingResult:
                def look() -> None:
                    before = len(decoded)
                    meanwhile()
                    ahead.append((before, len(decoded)))

                return super().record(batch, reject, look)

        async def run() -> None:
            store = Looking(make_engine(settings.database))
            async with running_app(settings, store) as milepost:
                waiting = get_consumer(milepost.app)._in_flight[settings.events_topic]
                await wait_until_async(
                    lambda: store.held == 1 and len(waiting) == 2, "one is being written, and one waits"
                )
                store.go_on.set()
                await all_recorded(milepost, 40)

        asyncio.run(run())
        assert ahead[0] == (10, 20)
        assert len(decoded) == 40

    @pytest.mark.parametrize(("batch", "admitted"), [(1, 2), (100, 1)], ids=["a backlog", "no backlog"])
    def test_what_comes_while_a_batch_is_written_waits_to_be_written_together_unless_there_is_a_backlog(
        self, sqlite_settings: Settings, batch: int, admitted: int
    ) -> None:
        settings = sqlite_settings.model_copy(update={"batch": batch})

        async def run() -> None:
            store = HeldStore(make_engine(settings.database))
            async with running_app(settings, store) as milepost:
                waiting = get_consumer(milepost.app)._in_flight[settings.events_topic]
                publish(settings, [numbered_report(1)])
                await wait_until_async(lambda: store.held == 1, "a batch is being written")
                for number in range(2, 6):
                    publish(settings, [numbered_report(number)])
                await wait_until_async(lambda: len(waiting) == admitted, f"{admitted} are admitted")
                # A fetch of this topic would be under way, if another delivery were admitted.
                await wait_until_async(
                    lambda: settings.events_topic not in get_consumer(milepost.app)._fetches, "none is asked for"
                )
                assert len(waiting) == admitted
                store.go_on.set()
                await all_recorded(milepost, 5)

        asyncio.run(run())

    @pytest.mark.parametrize(("batch", "ahead"), [(1, 2), (100, 1)], ids=["a backlog", "no backlog"])
    def test_a_broker_that_takes_no_signals_is_waited_for_by_all_batches_but_the_next(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch, batch: int, ahead: int
    ) -> None:
        settings, signal = sqlite_settings.model_copy(update={"batch": batch}), record.RecordAgent._publish_signals

        async def run() -> None:
            go_on = asyncio.Event()

            async def held(recorder: record.RecordAgent, changes: Sequence[ProgrammeChange]) -> None:
                await go_on.wait()
                await signal(recorder, changes)

            monkeypatch.setattr(record.RecordAgent, "_publish_signals", held)
            async with running_app(settings) as milepost:
                consumer = get_consumer(milepost.app)
                told = consumer._in_flight[settings.events_topic]
                for number in range(1 + ahead):
                    publish(settings, [numbered_report(number)])
                    await all_recorded(milepost, number + 1)
                publish(settings, [numbered_report(9)])
                await wait_until_async(
                    lambda: all(one.is_recorded for one in told) and settings.events_topic not in consumer._fetches,
                    "no other batch is asked for",
                )
                assert len(told) == 1 + ahead
                assert not any(one.is_done for one in told)
                await all_recorded(milepost, 1 + ahead)
                go_on.set()
                await all_recorded(milepost, 2 + ahead)
                await wait_until_async(lambda: not told, "all is told")

        asyncio.run(run())

    def test_signals_that_come_while_programmes_are_calculated_are_fetched_and_then_taken_together(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings, topic = sqlite_settings, sqlite_settings.programmes_topic
        taken: list[FetchedBatch] = []

        def sizes() -> list[int]:
            return [len(delivery.records) for delivery in taken]

        async def run() -> None:
            go_on = hold_drawing(monkeypatch, taken)
            async with running_app(settings) as milepost:
                consumer = get_consumer(milepost.app)
                publish_records(settings, [SIGNAL], topic)
                await wait_until_async(lambda: sizes() == [1], "programmes are being drawn")
                for count in range(1, 4):
                    publish_records(settings, [SIGNAL], topic)
                    await wait_until_async(
                        lambda its=count: topic in consumer._buffered and consumer._buffered[topic].record_count == its,  # type: ignore[misc]
                        f"{count} more are held",
                    )
                publish(settings, [numbered_report(1)])
                await all_recorded(milepost, 1)
                go_on.set()
                await wait_until_async(lambda: sum(sizes()) == 5, "all of them are taken")

        asyncio.run(run())

        assert sizes()[0] == 1
        assert sizes()[1] >= 3

    def test_what_was_signalled_twice_is_followed_by_a_pause_whose_signals_are_taken_together(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings, topic = sqlite_settings, sqlite_settings.programmes_topic
        taken: list[FetchedBatch] = []
        pauses: list[float] = []

        async def run() -> None:
            pause_over, recorder = asyncio.Event(), Recorder(make_engine(settings.database))

            async def pause(seconds: float, _is_active: Callable[[], bool]) -> None:
                pauses.append(seconds)
                await pause_over.wait()

            monkeypatch.setattr(forecast, "sleep_while", pause)
            # Longer than a calculation takes on any machine: no pause is left of a period that is over.
            monkeypatch.setattr(forecast, "_FLOW_PERIOD_SECONDS", 3600.0)
            go_on = hold_drawing(monkeypatch, taken)
            async with running_app(settings) as milepost:
                consumer, store, clock = (
                    get_consumer(milepost.app),
                    milepost.metrics_store,
                    milepost.forecast_agent.clock,
                )

                def waiting_signals() -> int:
                    return consumer._buffered[topic].record_count if topic in consumer._buffered else 0

                publish(settings, [numbered_report(1)])
                await wait_until_async(lambda: len(taken) == 1, "the first change is being calculated")
                publish_records(settings, [SIGNAL, SIGNAL], topic)
                await wait_until_async(lambda: waiting_signals() == 2, "two more signals of its programme came")
                go_on.set()
                await wait_until_async(lambda: len(pauses) == 1, "the agent pauses")
                publish(settings, [numbered_report(2)])
                await all_recorded(milepost, 2)
                await wait_until_async(lambda: waiting_signals() == 1, "its signal came too")
                assert [len(batch.records) for batch in taken] == [1, 2]
                pause_over.set()
                await wait_until_async(
                    lambda: not store.outdated_programmes(recorder.read_revisions(), clock.today()),
                    "the last change is shown",
                )

        asyncio.run(run())

        assert 0 < pauses[0] <= 3600

    def test_a_change_that_comes_alone_is_followed_by_no_pause(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []

        async def pause(seconds: float, _is_active: Callable[[], bool]) -> None:
            pauses.append(seconds)

        async def run() -> None:
            monkeypatch.setattr(forecast, "sleep_while", pause)
            async with running_app(sqlite_settings) as milepost:
                in_flight = get_consumer(milepost.app)._in_flight[sqlite_settings.programmes_topic]
                publish(sqlite_settings, [numbered_report(1)])
                await wait_until_async(lambda: milepost.metrics_store.programme_names == {"north"}, "it is shown")
                await wait_until_async(lambda: not in_flight, "its signal is done")

        asyncio.run(run())

        assert pauses == []

    def test_a_batch_of_a_steady_flow_is_followed_by_a_pause_unless_it_took_long_or_there_is_a_backlog(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        topic = sqlite_settings.events_topic

        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                consumer = get_consumer(milepost.app)
                few, many = (
                    FetchedBatch(
                        topic, [], cast("list[KafkaRecord]", [None] * count), 1, created_at=time.monotonic() - 1000
                    )
                    for count in (7, 8)
                )
                consumer.pause_after(many)
                assert consumer._has_delivery_capacity(topic)
                monkeypatch.setattr(transport, "_FLOW_PERIOD_SECONDS", 10_000)
                consumer.pause_after(few)
                assert consumer._has_delivery_capacity(topic)
                consumer.pause_after(many)
                assert not consumer._has_delivery_capacity(topic)
                consumer._has_backlog[topic] = True
                assert consumer._has_delivery_capacity(topic)

        asyncio.run(run())

    def test_what_is_held_when_partitions_are_taken_up_again_is_read_again(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings, topic = sqlite_settings, sqlite_settings.programmes_topic
        taken: list[FetchedBatch] = []

        def values() -> set[bytes | None]:
            return {record.value for delivery in taken if delivery.is_done for record in delivery.records}

        async def run() -> None:
            go_on = hold_drawing(monkeypatch, taken)
            async with running_app(settings) as milepost:
                consumer = get_consumer(milepost.app)
                signals: list[tuple[bytes, Headers, bytes]] = [
                    (b"north", [], b'{"revision": %d, "appended_ms": 1}' % number) for number in range(4)
                ]
                publish_records(settings, signals[:1], topic)
                await wait_until_async(lambda: bool(consumer._in_flight[topic]), "one is in hand")
                publish_records(settings, signals[1:], topic)
                await wait_until_async(
                    lambda: topic in consumer._buffered and consumer._buffered[topic].record_count == 3,
                    "three are held",
                )
                consumer.rewind()
                await wait_until_async(lambda: consumer.has_start_offsets, "it reads again")
                go_on.set()
                await wait_until_async(lambda: values() == {value for _, _, value in signals}, "all of them are taken")

        asyncio.run(run())

    def test_a_delivery_that_is_not_done_is_never_committed(self, sqlite_settings: Settings) -> None:
        async def run() -> list[int | None]:
            async with running_app(sqlite_settings) as milepost:
                consumer = get_consumer(milepost.app)
                tp = TP(sqlite_settings.events_topic, 0)
                deliveries = [FetchedBatch(tp.topic, [], [], 1) for _ in range(3)]
                consumer._uncommitted[tp].extend(zip((10, 20, 30), deliveries, strict=True))
                committable = [consumer._new_offset(tp)]
                deliveries[1].is_done = True
                committable.append(consumer._new_offset(tp))
                deliveries[0].is_done = True
                committable.append(consumer._new_offset(tp))
                deliveries[2].is_done = True
                committable.append(consumer._new_offset(tp))
                consumer._uncommitted.clear()
                return committable

        assert asyncio.run(run()) == [None, None, 20, 30]

    def test_a_batch_that_is_done_holds_no_records_until_its_offsets_are_committed(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[FetchedBatch] = []
        take = ForecastAgent.process_batch

        async def note(forecaster: ForecastAgent, batch: FetchedBatch) -> None:
            await take(forecaster, batch)
            done.append(batch)

        async def run() -> None:
            monkeypatch.setattr(ForecastAgent, "process_batch", note)
            async with running_app(sqlite_settings) as milepost:
                in_flight = get_consumer(milepost.app)._in_flight
                publish(sqlite_settings, [numbered_report(1)])
                await wait_until_async(lambda: bool(done) and not any(in_flight.values()), "all is done")
                assert [batch.records for batch in done] == [()]

        asyncio.run(run())

    def test_while_a_backlog_is_recorded_what_is_shown_rests_and_what_is_new_does_not(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                forecaster, revisions = (
                    milepost.forecast_agent,
                    Recorder(make_engine(sqlite_settings.database)).read_revisions,
                )
                publish(sqlite_settings, [numbered_report(1, "north/plant")])
                await wait_until_async(lambda: milepost.metrics_store.programme_names == {"north"}, "one is shown")
                monkeypatch.setattr(forecaster, "is_catching_up", lambda: True)
                monkeypatch.setattr(forecaster, "_paused_until", math.inf)
                publish(sqlite_settings, [numbered_report(2, "north/plant"), numbered_report(3, "south/plant")])
                await wait_until_async(lambda: revisions().keys() == {"north", "south"}, "all is recorded")
                await forecaster.sweep()
                assert milepost.metrics_store.programme_names == {"north", "south"}
                assert milepost.metrics_store.outdated_programmes(revisions(), forecaster.clock.today()) == ["north"]
                monkeypatch.setattr(forecaster, "is_catching_up", lambda: False)
                # By the agent, which has waited until now.
                await wait_until_async(
                    lambda: not milepost.metrics_store.outdated_programmes(revisions(), forecaster.clock.today()),
                    "all is drawn",
                )

        asyncio.run(run())

    def test_the_rest_is_as_long_as_the_work_took_processor_time_however_busy_the_machine_is(
        self, sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                forecaster = milepost.forecast_agent
                recalculate = forecaster._projector.recalculate

                def recalculate_late(names: Sequence[str], today: date, now_ms: int) -> list[ForecastResult]:
                    time.sleep(1)
                    return recalculate(names, today, now_ms)

                monkeypatch.setattr(forecaster._projector, "recalculate", recalculate_late)
                monkeypatch.setattr(forecaster, "is_catching_up", lambda: True)
                publish(sqlite_settings, [numbered_report(1, "north/plant")])
                await wait_until_async(lambda: forecaster._paused_until > 0, "it rests")
                assert forecaster._paused_until - forecaster.clock.now() < 10

        asyncio.run(run())

    def test_a_signal_that_was_lost_is_made_up_for_by_the_sweep(
        self, sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = sqlite_settings.model_copy(update={"sweep_seconds": 0.2})
        publish(settings, [numbered_report(1)])

        async def run() -> None:
            async with running_app(settings) as milepost:
                await all_recorded(milepost, 1)
                await wait_until_async(lambda: "north" in milepost.metrics_store.programme_names, "it is drawn")
                store = Recorder(make_engine(settings.database))
                with write_transaction(store.engine) as connection:
                    connection.execute(update(tables.programmes).values(revision=tables.programmes.c.revision + 1))
                    raised = tables.milestones.c.revision + 1
                    connection.execute(update(tables.milestones).values(planned=date(2031, 5, 5), revision=raised))
                day = datetime(2031, 5, 5, tzinfo=UTC).timestamp()
                await wait_until_async(
                    lambda: (
                        MetricsPage(b"".join(milepost.metrics_store.iter_families()).decode()).value(
                            "milepost_milestone_planned_timestamp_seconds"
                        )
                        == day
                    ),
                    "the sweep shows what no signal told",
                )

        asyncio.run(run())
        # Neither did any event tell it: that is said, and is no history.
        assert "north/plant/permit-approved moved, and no event moves it" in caplog.text

    def test_records_that_are_no_signals_do_no_harm(self, sqlite_settings: Settings) -> None:
        async def run() -> None:
            async with running_app(sqlite_settings) as milepost:
                producer = KafkaProducer(bootstrap_servers=sqlite_settings.kafka)
                for key, value in ((None, b"x"), (b"\xff", None), (b"north", b"{}")):
                    producer.send(sqlite_settings.programmes_topic, key=key, value=value)
                producer.close()
                publish(sqlite_settings, [numbered_report(1)])
                await wait_until_async(
                    lambda: "north" in milepost.metrics_store.programme_names, "the programme is shown"
                )

        asyncio.run(run())


def test_the_ledger_keeps_what_came_byte_by_byte(sqlite_settings: Settings) -> None:
    headers, value = structured_record(numbered_report(1))
    publish_records(sqlite_settings, [(b"north", [*headers, ("extra", b"\x00\xff")], value)])

    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            await all_recorded(milepost, 1)

    asyncio.run(run())

    with connected(sqlite_settings.database) as connection:
        row = connection.execute(select(tables.ledger)).one()
    assert row.payload == value
    assert b"\x00\xff" in row.headers
