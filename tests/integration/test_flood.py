"""A flood of what is rejected, of one source, and the good events of another behind it."""

import asyncio
from contextlib import closing

import pytest
from kafka import KafkaProducer
from prometheus_client import generate_latest

from models.settings import Settings
from streams.app import WorkerComponents
from streams.metrics.pipeline import OUTCOMES
from tests.helpers.event_generators import structured_record
from tests.helpers.workers import MetricsPage, running_app, wait_until_async
from tests.integration.test_dead_letters import plan_report

pytestmark = pytest.mark.timing

#: How long a good event may take from the broker to the database, at most, while the flood runs.
BOUND_SECONDS = 5.0
#: Published as fast as Kafka takes them: so few that a machine of half the speed still rejects them within the bound,
#: and so many that it does not if each took ten times the work.
ROUNDS, BAD_IN_A_ROUND = 60, 100


def flood(settings: Settings) -> None:
    """Publish, in one partition, a good event behind every hundred bad ones."""
    with closing(KafkaProducer(bootstrap_servers=settings.kafka, linger_ms=5)) as producer:
        for number in range(ROUNDS):
            bad = [
                plan_report(f"bad-{number}-{each}", "never", source="//bad.example") for each in range(BAD_IN_A_ROUND)
            ]
            for event in (*bad, plan_report(f"good-{number}", source="//good.example")):
                headers, value = structured_record(event)
                producer.send(settings.events_topic, value, headers=headers, partition=0)
        producer.flush()


def page_of(milepost: WorkerComponents) -> MetricsPage:
    return MetricsPage(generate_latest(milepost.metrics.registry).decode())


def test_a_flood_of_one_source_shows_and_does_not_delay_the_good_events_of_another(fresh_settings: Settings) -> None:
    async def run() -> MetricsPage:
        async with running_app(fresh_settings) as milepost:
            await asyncio.to_thread(flood, fresh_settings)
            delays = milepost.metrics.event_delay
            await wait_until_async(lambda: sum(delays._counts) == ROUNDS, "every good event is recorded")
            rejected = milepost.metrics.rejected.labels("invalid-data")
            await wait_until_async(lambda: rejected._value.get() == ROUNDS * BAD_IN_A_ROUND, "the flood is rejected")
            return page_of(milepost)

    page = asyncio.run(run())

    outcomes = {
        source: {
            outcome: page.value("milepost_source_events_total", source=source, outcome=outcome) for outcome in OUTCOMES
        }
        for source in ("//bad.example", "//good.example")
    }
    assert outcomes["//bad.example"] == {"accepted": 0, "duplicate": 0, "rejected": ROUNDS * BAD_IN_A_ROUND}
    assert outcomes["//good.example"] == {"accepted": ROUNDS, "duplicate": 0, "rejected": 0}
    within = page.value("milepost_event_delay_seconds_bucket", le=str(BOUND_SECONDS))
    assert within == ROUNDS, page.text
