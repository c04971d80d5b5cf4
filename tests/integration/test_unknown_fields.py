"""A worker accepts events with fields that nobody reads, and counts them by source and field."""

import asyncio
from contextlib import closing

from kafka import KafkaProducer
from prometheus_client import generate_latest

from models.settings import Settings
from tests.helpers.event_generators import binary_record, structured_record
from tests.helpers.workers import MetricsPage, running_app, wait_until_async
from tests.integration.test_dead_letters import plan_report

METRIC = "milepost_source_unknown_fields_total"


def test_a_worker_counts_the_fields_that_nobody_reads_by_source(sqlite_settings: Settings) -> None:
    plain = plan_report("plain", source="//good.example")
    odd = [plan_report(f"odd-{number}", source="//bad.example") for number in range(3)]
    money = {"amount": 5, "currency": "EUR", "exact": True}
    records = [structured_record(plain)]
    records += [structured_record(event | {"data": {**event["data"], "clasifier": "PLN"}}) for event in odd[:2]]
    records.append(binary_record(odd[2] | {"data": {**odd[2]["data"], "amount": money}}))

    async def run() -> MetricsPage:
        async with running_app(sqlite_settings) as milepost:
            with closing(KafkaProducer(bootstrap_servers=sqlite_settings.kafka)) as producer:
                for headers, value in records:
                    producer.send(sqlite_settings.events_topic, value, headers=headers, partition=0)
                producer.flush()
            accepted = milepost.metrics.events.labels("accepted", "milepost.milestone.reported.v1")
            await wait_until_async(lambda: accepted._value.get() == len(records), "every event is recorded")
            return MetricsPage(generate_latest(milepost.metrics.registry).decode())

    page = asyncio.run(run())

    assert page.value(METRIC, source="//bad.example", field="clasifier") == 2
    assert page.value(METRIC, source="//bad.example", field="amount.exact") == 1
    assert len(page.labels(METRIC)) == 2
