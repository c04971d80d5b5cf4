"""One worker counts the dead letters that wait: after a restart, a replay, a discard, and whatever the topic holds."""

import asyncio
from contextlib import closing

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from consumers.dead_letters import discard, read_dead_letters
from models.settings import Settings
from streams.app import WorkerComponents
from tests.helpers.workers import publish_records, running_app, wait_until_async


def waiting(milepost: WorkerComponents, reason: str = "malformed") -> float | None:
    return milepost.metrics.registry.get_sample_value("milepost_dead_letters_waiting", {"reason": reason})


async def wait_for(milepost: WorkerComponents, expected: float | None) -> None:
    await wait_until_async(lambda: waiting(milepost) == expected, f"{expected} dead letters wait")


def reject(settings: Settings, count: int, start: int = 0) -> None:
    publish_records(settings, [(b"north", [], b"no JSON %d" % number) for number in range(start, start + count)])


def test_what_waits_is_counted_across_restarts_until_it_is_discarded(sqlite_settings: Settings) -> None:
    reject(sqlite_settings, 3)

    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            await wait_for(milepost, 3)
            first, *_ = await asyncio.to_thread(read_dead_letters, sqlite_settings)
            await asyncio.to_thread(lambda: list(discard(sqlite_settings, [first])))
            await wait_for(milepost, 2)
        # Nothing is rejected in the second run.
        async with running_app(sqlite_settings) as milepost:
            await wait_for(milepost, 2)
            assert waiting(milepost, "invalid-data") == 0
            rest = await asyncio.to_thread(read_dead_letters, sqlite_settings)
            await asyncio.to_thread(lambda: list(discard(sqlite_settings, rest)))
            await wait_for(milepost, 0)

    asyncio.run(run())


def test_only_the_worker_with_the_first_partition_counts(sqlite_settings: Settings) -> None:
    reject(sqlite_settings, 1)

    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            await wait_for(milepost, 1)
            milepost.health.assigned_partitions = frozenset(
                tp for tp in milepost.health.assigned_partitions if tp.partition != 0
            )
            await wait_for(milepost, None)

    asyncio.run(run())


def test_records_that_were_deleted_from_the_topic_are_not_counted_any_more(sqlite_settings: Settings) -> None:
    reject(sqlite_settings, 2)

    def delete_records() -> None:
        # Kafka deletes by offset only where the policy is to delete.
        partition, policy = TopicPartition(sqlite_settings.dead_letters_topic, 0), {"cleanup.policy": "compact,delete"}
        with closing(KafkaAdminClient(bootstrap_servers=sqlite_settings.kafka)) as admin:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, partition.topic, configs=policy)])
            admin.delete_records({partition: 1})

    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            await wait_for(milepost, 2)
            await asyncio.to_thread(delete_records)
            await wait_for(milepost, 1)

    asyncio.run(run())
