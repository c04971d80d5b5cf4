"""What is told on `milepost.changes`, and that it is told whatever happens between the commit and the telling."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from faust.exceptions import ProducerSendError
from sqlalchemy import select, update

from models.configured_engine import open_configured_engine
from models.database import tables
from models.database.engine import read_transaction, write_transaction
from models.database.projector import Projector
from models.database.recorder import Recorder
from models.domain.forecast_changes import FORECAST_CHANGED, GATE_OPENED, MILEPOST_SOURCE, MILESTONE_ACHIEVED
from models.domain.schedule import Schedule
from models.settings import Settings
from streams.app import WorkerComponents
from streams.clock import Clock
from streams.kafka.producer import OutgoingRecord
from tests.helpers.oracle import DEPENDENCY_DECLARED, MILESTONE_CANCELLED, MILESTONE_REPORTED, JsonEvent
from tests.helpers.workers import MetricsPage, publish, read_topic, running_app, wait_until_async

TODAY = datetime.now(UTC).date()


def event_json(name: str, type_: str, subject: str, **more: Any) -> JsonEvent:  # noqa: ANN401 - fields of JSON
    correlated = {"correlationid": more.pop("correlationid")} if "correlationid" in more else {}
    return {
        "specversion": "1.0",
        "id": name,
        "source": "//office.example",
        "type": type_,
        "subject": subject,
        "time": f"{TODAY - timedelta(days=1)}T00:00:{more.pop('second', 0):02}Z",
        **correlated,
        "data": more,
    }


def reported(name: str, subject: str, milestone: str, classifier: str, in_days: int, **more: Any) -> JsonEvent:  # noqa: ANN401 - as above
    day = (TODAY + timedelta(days=in_days)).isoformat()
    return event_json(name, MILESTONE_REPORTED, subject, milestone=milestone, classifier=classifier, date=day, **more)


OPENING = [
    reported("gate", "north/park", "park-commissioned", "PLN", 30),
    reported("launch", "north/tenant", "production-launched", "PLN", 60),
    event_json(
        "waits",
        DEPENDENCY_DECLARED,
        "north/tenant",
        milestone="production-launched",
        after={"project": "park", "milestone": "park-commissioned"},
        lag_days=10,
    ),
]
SLIP = reported("slip", "north/park", "park-commissioned", "EST", 80, second=5, correlationid="hearing-7")
OPENED = reported("opened", "north/park", "park-commissioned", "ACT", 0, second=9)
CANCELLED = event_json("gone", MILESTONE_CANCELLED, "north/tenant", milestone="production-launched", second=10)


def published_changes(settings: Settings) -> list[Any]:
    """Give the records of the changes topic, each with its event."""
    return [(record, json.loads(record.value)) for record in read_topic(settings, settings.changes_topic)]


def by(cause: str, records: Iterable[Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(event["type"], event["subject"], event["data"]) for _, event in records if event["causationid"] == cause]


def is_all_published(settings: Settings) -> bool:
    with open_configured_engine(settings) as engine, read_transaction(engine) as connection:
        marks = connection.execute(
            select(tables.checkpoints.c.history_count, tables.checkpoints.c.published_number)
        ).all()
    return bool(marks) and all(history == published for history, published in marks)


def revision(settings: Settings) -> int | None:
    """Give up to which revision of the programme its forecasts are."""
    with open_configured_engine(settings) as engine, read_transaction(engine) as connection:
        return connection.scalar(select(tables.checkpoints.c.revision))


async def calculated_and_published(settings: Settings) -> None:
    """Wait until everything that was recorded is drawn and published."""
    with open_configured_engine(settings) as engine:
        recorder = Recorder(engine)
        await wait_until_async(
            lambda: recorder.read_revisions().get("north") == revision(settings), "the programme is calculated"
        )
    await wait_until_async(lambda: is_all_published(settings), "its changes are published")


def test_what_a_slip_moves_and_what_a_gate_opens_is_published_with_the_event_behind_it(
    fresh_settings: Settings,
) -> None:
    settings = fresh_settings

    async def run() -> None:
        async with running_app(settings) as milepost:
            for count, event in enumerate([*OPENING, SLIP, OPENED, CANCELLED], start=1):
                publish(settings, [event])
                await wait_until_async(lambda count=count: recorded(milepost) == count, "recorded")  # type: ignore[misc]
                await calculated_and_published(settings)

    asyncio.run(run())
    records = published_changes(settings)

    def day(in_days: int) -> str:
        return (TODAY + timedelta(days=in_days)).isoformat()

    driver = "park/park-commissioned"
    assert by("slip", records) == [
        (
            FORECAST_CHANGED,
            "north/park",
            {
                "milestone": "park-commissioned",
                "from": day(30),
                "to": day(80),
                "slip_days": 50,
                "driver": None,
                "state": "slipping",
            },
        ),
        (
            FORECAST_CHANGED,
            "north/tenant",
            {
                "milestone": "production-launched",
                "from": day(60),
                "to": day(90),
                "slip_days": 30,
                "driver": driver,
                "state": "blocked",
            },
        ),
    ]
    assert [kind for kind, *_ in by("opened", records)] == [
        FORECAST_CHANGED,
        MILESTONE_ACHIEVED,
        GATE_OPENED,
        FORECAST_CHANGED,
    ]
    assert by("opened", records)[2][2] == {"milestone": "park-commissioned", "date": day(0), "dependents": 1}
    to_nothing = {"to": None, "slip_days": None, "driver": None, "state": "cancelled"}
    assert by("gone", records) == [
        (FORECAST_CHANGED, "north/tenant", {"milestone": "production-launched", "from": day(60), **to_nothing})
    ]
    for record, event in records:
        assert record.key == b"north"
        assert dict(record.headers)["content-type"] == b"application/cloudevents+json"
        assert (event["specversion"], event["source"], event["partitionkey"]) == ("1.0", MILEPOST_SOURCE, "north")
        assert event["causationsource"] == "//office.example"
    correlated = {event["causationid"]: event.get("correlationid") for _, event in records}
    assert correlated == {"gate": None, "launch": None, "slip": "hearing-7", "opened": None, "gone": None}
    assert len({event["id"] for _, event in records}) == len(records)


def recorded(milepost: WorkerComponents) -> int:
    """Give how many events the worker accepted so far."""
    return sum(
        int(sample.value)
        for family in milepost.metrics.events.collect()
        for sample in family.samples
        if sample.name == "milepost_events_total" and sample.labels["outcome"] == "accepted"
    )


def test_what_was_committed_and_not_published_is_published_by_the_next_worker(fresh_settings: Settings) -> None:
    settings = fresh_settings

    async def record_only() -> None:
        async with running_app(settings) as milepost:
            publish(settings, OPENING)
            await wait_until_async(lambda: recorded(milepost) == 3, "recorded")
            await calculated_and_published(settings)

    asyncio.run(record_only())
    before = len(published_changes(settings))

    async def die_between() -> None:
        """Record a slip and calculate it, as a worker does that is killed before it publishes."""
        with open_configured_engine(settings) as engine:
            recorder = Recorder(engine)
            async with running_app(settings) as milepost:
                # Nothing gets through to the broker from here on.
                milepost.outbox_publisher._produce = refuse
                publish(settings, [SLIP])
                await wait_until_async(lambda: recorded(milepost) == 1, "recorded")
                await wait_until_async(
                    lambda: recorder.read_revisions()["north"] == revision(settings), "the programme is calculated"
                )

    asyncio.run(die_between())
    assert len(published_changes(settings)) == before
    assert not is_all_published(settings)

    async def come_next() -> None:
        async with running_app(settings):
            await calculated_and_published(settings)

    asyncio.run(come_next())
    assert len(by("slip", published_changes(settings))) == 2


async def refuse(_topic: str, _outgoing: Iterable[OutgoingRecord]) -> None:
    """Send nothing, as a producer does whose broker is away."""
    raise ProducerSendError("the broker is away")


def test_a_change_published_twice_is_twice_the_same_event(sqlite_settings: Settings) -> None:
    settings = sqlite_settings

    async def run() -> None:
        async with running_app(settings) as milepost:
            if not published_changes(settings):
                publish(settings, [*OPENING, SLIP])
                await wait_until_async(lambda: recorded(milepost) == 4, "recorded")
            await calculated_and_published(settings)

    asyncio.run(run())
    once = [record.value for record, _ in published_changes(settings)]
    with open_configured_engine(settings) as engine, write_transaction(engine) as connection:
        # As if the worker had died after the broker took them and before it noted that.
        connection.execute(update(tables.checkpoints).values(published_number=0))
    asyncio.run(run())

    assert once
    assert Counter(record.value for record, _ in published_changes(settings)) == Counter(once * 2)


def test_a_new_day_recalculates_every_programme_and_publishes_nothing(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sqlite_settings.model_copy(update={"sweep_seconds": 0.2})
    days = [TODAY]
    monkeypatch.setattr(Clock, "today", lambda _: days[0])

    async def run() -> MetricsPage:
        async with running_app(settings) as milepost:
            publish(settings, OPENING)
            await wait_until_async(lambda: recorded(milepost) == 3, "recorded")
            await calculated_and_published(settings)
            days[0] = TODAY + timedelta(days=55)

            def is_of_that_day() -> bool:
                with open_configured_engine(settings) as engine, read_transaction(engine) as connection:
                    return connection.scalar(select(tables.checkpoints.c.data_date)) == days[0]

            await wait_until_async(is_of_that_day, "the programme is drawn for the new day")
            await wait_until_async(
                lambda: not milepost.metrics_store.outdated_programmes({"north": revision(settings) or 0}, days[0]),
                "it is shown",
            )
            return MetricsPage(b"".join(milepost.metrics_store.iter_families()).decode())

    page = asyncio.run(run())

    # The gate was not reported: it is overdue, and pushes its tenant by the day.
    assert page.value("milepost_milestone_state", project="park", state="overdue") == 1
    launch = page.value("milepost_milestone_forecast_timestamp_seconds", project="tenant")
    assert launch is not None
    assert datetime.fromtimestamp(launch, UTC).date() == TODAY + timedelta(days=65)
    assert [(event["data"]["milestone"], event["data"]["from"]) for _, event in published_changes(settings)] == [
        ("park-commissioned", None),
        ("production-launched", None),
    ]


def test_what_is_shown_is_what_the_database_holds(fresh_settings: Settings) -> None:
    settings = fresh_settings

    async def run() -> tuple[MetricsPage, Schedule]:
        async with running_app(settings) as milepost:
            publish(settings, [*OPENING, SLIP])
            await wait_until_async(lambda: recorded(milepost) == 4, "recorded")
            await calculated_and_published(settings)
            await wait_until_async(
                lambda: not milepost.metrics_store.outdated_programmes({"north": revision(settings) or 0}, TODAY),
                "it is shown",
            )
            with open_configured_engine(settings) as engine:
                [drawn] = Projector(engine).recalculate(["north"], TODAY, 0)
            return MetricsPage(b"".join(milepost.metrics_store.iter_families()).decode()), drawn.schedule

    page, picture = asyncio.run(run())
    shown = {
        (labels["project"], labels["milestone"]): page.value("milepost_milestone_forecast_timestamp_seconds", **labels)
        for labels in page.labels("milepost_milestone_forecast_timestamp_seconds")
    }
    epoch = date(1970, 1, 1)
    assert shown == {
        (its.project, its.milestone): (its.forecast - epoch).days * 86400 for its in picture.statuses if its.forecast
    }
