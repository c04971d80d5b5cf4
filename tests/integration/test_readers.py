"""What the worker reads, every other part reads, and by the broker's clock alone."""

import asyncio
import os
import time

import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient

from consumers.audit import audit
from consumers.topic_reader import open_topic, read_ranges
from deploy.topics import ensure_topics
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.settings import Settings
from streams.app import WorkerComponents
from streams.monitoring.lag import LagMonitor
from tests.helpers.event_generators import structured_record
from tests.helpers.recorder import count_events
from tests.helpers.workers import TIMEOUT_SECONDS, running_app, wait_until_async
from tests.integration.test_streams import numbered_report


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_kafka_python_reads_what_was_compressed(sqlite_settings: Settings, codec: str) -> None:
    """A batch of more than 1 MiB too, whose compressed form does not say how large it will be."""
    settings = sqlite_settings
    options = {"enable.idempotence": True, "message.max.bytes": 8_000_000, "batch.size": 4_000_000, "linger.ms": 200}
    producer = Producer({"bootstrap.servers": settings.kafka, "compression.type": codec, **options})
    values = [os.urandom(32) * 4096 for _ in range(12)]
    for value in values:
        producer.produce(settings.events_topic, value, b"north", partition=0)
    assert producer.flush(10) == 0

    with open_topic(settings, settings.events_topic) as (consumer, ranges):
        assert [record.value for record in read_ranges(consumer, settings.events_topic, ranges)] == values


def test_nothing_is_rejected_or_measured_by_a_publishers_clock(sqlite_settings: Settings) -> None:
    # One poll of the worker's own, and then only those of this test: they share a consumer.
    changes = {"log_end_seconds": 3600, "prefix": f"{sqlite_settings.prefix}-by-hand"}
    settings, now_ms = sqlite_settings.model_copy(update=changes), int(time.time() * 1000)
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    configs = {"message.timestamp.type": "CreateTime"}
    admin.create_topics({settings.events_topic: {"num_partitions": settings.partitions, "configs": configs}})
    admin.close()
    ensure_topics(settings)
    ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2400))
    events = [numbered_report(1), numbered_report(2) | {"time": ahead}, numbered_report(3)]
    producer = Producer({"bootstrap.servers": settings.kafka})
    for event, stamp_ms in zip(events, (1, now_ms, now_ms + 3_000_000), strict=True):
        headers, value = structured_record(event)
        producer.produce(settings.events_topic, value, b"north", headers=dict(headers), timestamp=stamp_ms, partition=0)
    assert producer.flush(10) == 0
    engine = make_engine(settings.database)

    async def run() -> None:
        async with running_app(settings) as milepost:
            await wait_until_async(lambda: count_events(Recorder(engine)) == 3, "all three are recorded")
            await wait_until_async(lambda: delays(milepost, "count") == 3, "their delays are measured")
            assert 0 <= delays(milepost, "sum") < 60
            assert await lag_behind_nothing_recorded(milepost) < 60

    def delays(milepost: WorkerComponents, suffix: str) -> float:
        [family] = milepost.metrics.event_delay.collect()
        return sum(sample.value for sample in family.samples if sample.name.endswith(f"_{suffix}"))

    async def lag_behind_nothing_recorded(milepost: WorkerComponents) -> float:
        """Return the lag that a poll finds when nothing was recorded yet."""
        [monitor] = [service for service in milepost.services if isinstance(service, LagMonitor)]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            # A busy broker may take longer for the record than a poll waits.
            while await monitor._measure_lag({0: 0}) != {0: 0}:
                pass
        labels = settings.events_topic, "0"
        [family] = milepost.metrics.lag_seconds.labels(*labels).collect()
        return float(family.samples[0].value)

    asyncio.run(run())
    assert audit(settings, engine)[0] == []
    engine.dispose()
