"""Very many new programmes, and what those that are seen already have to wait for."""

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import groupby

import pytest

from models.database.projector import ForecastResult
from models.settings import Settings
from streams.agents import forecast
from streams.app import WorkerComponents
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import MetricsPage, publish, running_app, wait_until_async

NEWCOMERS = [f"new-{number}" for number in range(300)]


def _report(programme: str, milestone: str = "permit-approved") -> JsonEvent:
    return {
        "specversion": "1.0",
        "id": f"{programme}-{milestone}",
        "source": "https://site-office.example",
        "type": "milepost.milestone.reported.v1",
        "subject": f"{programme}/plant",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": {"milestone": milestone, "classifier": "PLN", "date": "2027-05-01"},
    }


def _exposed_milestones(milepost: WorkerComponents, programme: str) -> set[str]:
    page = MetricsPage(b"".join(milepost.metrics_store.iter_families()).decode())
    labels = page.labels("milepost_milestone_planned_timestamp_seconds")
    return {each["milestone"] for each in labels if each["programme"] == programme}


def test_new_programmes_and_the_sweep_give_way_to_recording_and_what_is_seen_does_not(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            forecaster, store = milepost.forecast_agent, milepost.metrics_store
            publish(sqlite_settings, [_report("north")])
            await wait_until_async(lambda: store.programme_names == {"north"}, "one programme is seen")
            recording = asyncio.Event()
            recording.set()
            monkeypatch.setattr(forecaster, "is_recording_many", recording.is_set)
            monkeypatch.setattr(forecaster, "_others_paused_until", math.inf)
            publish(sqlite_settings, [*map(_report, NEWCOMERS), _report("north", "opened")])
            await wait_until_async(
                lambda: forecaster.recorder.read_revisions().keys() == {"north", *NEWCOMERS}, "all of them are recorded"
            )
            sweep = asyncio.ensure_future(forecaster.sweep())
            await wait_until_async(
                lambda: _exposed_milestones(milepost, "north") == {"permit-approved", "opened"}, "its event is seen"
            )
            # The first few may have come alone: so few do not wait.
            assert not store.programme_names >= set(NEWCOMERS)
            assert not sweep.done()
            recording.clear()
            await wait_until_async(lambda: store.programme_names == {"north", *NEWCOMERS}, "all of them are seen")
            await sweep

    asyncio.run(run())


def test_a_large_batch_is_many_events_and_a_single_event_is_not(sqlite_settings: Settings) -> None:
    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            is_recording_many, names = milepost.forecast_agent.is_recording_many, milepost.metrics_store.programme_names
            publish(sqlite_settings, [_report("north")])
            await wait_until_async(lambda: names == {"north"}, "one event is recorded")
            assert not is_recording_many()
            publish(sqlite_settings, [_report("north", f"m-{number}") for number in range(5000)])
            await wait_until_async(is_recording_many, "many events are recorded")
            await wait_until_async(lambda: not is_recording_many(), "all of them are")

    asyncio.run(run())


def test_what_is_signalled_waits_for_no_others_between_its_parts(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    seen = [f"seen-{number}" for number in range(40)]
    monkeypatch.setattr(forecast, "_CHUNK_SECONDS", 60.0)
    monkeypatch.setattr(forecast, "_PROGRAMMES_PER_CHUNK", 4)
    monkeypatch.setattr(forecast, "_MAX_PROGRAMMES_PER_CHUNK", 4)

    async def run() -> None:
        async with running_app(sqlite_settings) as milepost:
            forecaster = milepost.forecast_agent
            publish(sqlite_settings, map(_report, [*seen, *NEWCOMERS]))
            await wait_until_async(
                lambda: milepost.metrics_store.programme_names == {*seen, *NEWCOMERS}, "all of them are seen"
            )
            recalculate = forecaster._projector.recalculate

            def note(names: Sequence[str], data_date: date, now_ms: int) -> list[ForecastResult]:
                taken.append(names[0].partition("-")[0])
                return recalculate(names, data_date, now_ms)

            monkeypatch.setattr(forecaster._projector, "recalculate", note)
            await asyncio.gather(
                forecaster._recalculate(NEWCOMERS, forecast._ChunkSize()),
                forecaster._recalculate(NEWCOMERS[::-1], forecast._ChunkSize()),
                forecaster._recalculate(seen, forecast._ChunkSize(), is_signalled=True),
            )

    asyncio.run(run())
    assert [name for name, _ in groupby(taken)] == ["new", "seen", "new"]
    # One part of the others was under way, and no second one came before.
    assert taken.index("seen") == 1


def test_parts_become_no_smaller_on_a_machine_that_is_busy_with_other_things() -> None:
    quiet, busy, large = forecast._ChunkSize(), forecast._ChunkSize(), forecast._ChunkSize()
    for _ in range(10):
        quiet.adapt(0.0005 * quiet.count, 0.0005 * quiet.count, quiet.count)
        busy.adapt(0.002 * busy.count, 0.0005 * busy.count, busy.count)
        large.adapt(0.1 * large.count, 0.1 * large.count, large.count)
    assert busy.count == quiet.count == 400
    assert large.count == 5
