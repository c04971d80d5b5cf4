"""A worker says how many retractions have no event."""

import asyncio

from models.settings import Settings
from tests.helpers.workers import publish, running_app, wait_until_async
from tests.integration.test_dead_letters import retraction


def test_a_worker_exposes_how_many_retractions_have_no_event(fresh_settings: Settings) -> None:
    publish(fresh_settings, [retraction("not-there", "r-1"), retraction("neither", "r-2")])

    async def run() -> None:
        async with running_app(fresh_settings) as milepost:
            value = milepost.metrics.registry.get_sample_value
            await wait_until_async(lambda: value("milepost_retractions_unmatched") == 2, "both are counted")

    asyncio.run(run())
