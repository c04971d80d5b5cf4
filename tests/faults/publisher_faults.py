"""Faults of publishers: a clock off by hours, everything said a hundred times, aborted transactions, vast records."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from confluent_kafka import Producer
from sqlalchemy import select

from models.database.engine import read_transaction
from models.database.tables import forecasts
from tests.faults.fault import Fault
from tests.faults.load import PROGRAMMES, shuffled_events
from tests.faults.resources import read_peak_bytes
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.event_generators import structured_record
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import publish, publish_records, wait_until

#: Said a hundred times each.
_REPEATED_EVENTS: Final = 100
_REPETITIONS: Final = 100
#: Committed, and as many aborted, with so many events each.
_TRANSACTIONS: Final = 10
_TRANSACTION_EVENTS: Final = 50
#: Batches by codec, each with the sizes of its records. None of them is an event.
_INFLATING_RECORDS: Final = (
    ("zstd", [17 * 1024 * 1024]),
    ("gzip", [20 * 1024 * 1024]),
    ("zstd", [900 * 1024 * 1024]),
    ("zstd", [250_000] * 400),
)
#: So many new programmes (a longer run says so), in so many parts; with each, one that is exposed gets a milestone,
#: which is to be exposed soon.
_CROWD_PROGRAMMES: Final = int(os.environ.get("MILEPOST_TEST_CROWD_PROGRAMMES", "8000"))
_CROWD_SLICES: Final = 8
_SLICE_PROGRAMMES: Final = _CROWD_PROGRAMMES // _CROWD_SLICES
#: Between two looks whether the milestone is calculated; only then its metrics are looked at. Those of the whole crowd
#: are 14 MB, and who asked for them all the time would measure how long they take.
_LOOK_SECONDS: Final = 0.1
_MAX_EXPOSURE_SECONDS: Final = 5.0
_GIVE_UP_SECONDS: Final = 120.0
#: So many new programmes are exposed each second at least, beside the load of the suite.
_CROWD_PER_SECOND: Final = 100
_CURRENT_METRIC: Final = "milepost_forecasts_current_timestamp_seconds"
#: What a worker may hold at any time, whatever one record or one batch holds.
_MAX_WORKER_BYTES: Final = 400 * 1000 * 1000


def _report_at_offset(scenario: Scenario, number: int, clock_offset: timedelta) -> JsonEvent:
    moment = datetime.now(UTC) + clock_offset
    return {
        "specversion": "1.0",
        "id": f"clock-{clock_offset.total_seconds():.0f}-{number}",
        "source": "https://site-office.example",
        "type": "milepost.milestone.reported.v1",
        "subject": f"programme-{scenario.rng.randrange(PROGRAMMES)}/project-1",
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": {"milestone": "permit-approved", "classifier": "EST", "date": "2027-05-01"},
    }


def skew_clock(scenario: Scenario) -> float:
    """Stamp events hours ahead and hours behind: those of the future are rejected, whatever else holds."""
    ahead = [_report_at_offset(scenario, number, timedelta(hours=5)) for number in range(100)]
    behind = [_report_at_offset(scenario, number, timedelta(hours=-5)) for number in range(100)]
    publish(scenario.settings, [event for both in zip(ahead, behind, strict=True) for event in both])
    scenario.extra_accepted += behind
    scenario.extra_rejected += len(ahead)
    return measure_recovery(scenario)


def publish_repeatedly(scenario: Scenario) -> float:
    """Say a hundred events a hundred times, in any order, to any partition."""
    events = [
        event | {"id": f"again-{event['id']}"}
        for event in shuffled_events(scenario.rng.randrange(10**6), _REPEATED_EVENTS)
    ]
    events = [event for event in events if "retracts" not in event["data"]]
    every = events * _REPETITIONS
    scenario.rng.shuffle(every)
    publish_records(
        scenario.settings,
        ((bytes(str(scenario.rng.randrange(1000)), "ascii"), *structured_record(event)) for event in every),
    )
    scenario.extra_accepted += events
    return measure_recovery(scenario)


def _begin_transaction(scenario: Scenario, name: str, partition: int, timeout_ms: int = 60_000) -> Producer:
    """Send events to a partition in a transaction; they are accepted when the caller commits it."""
    options = {"transactional.id": f"{scenario.settings.prefix}-{name}", "transaction.timeout.ms": timeout_ms}
    producer = Producer({"bootstrap.servers": scenario.settings.kafka, **options})
    producer.init_transactions()
    producer.begin_transaction()
    events = shuffled_events(scenario.rng.randrange(10**6), _TRANSACTION_EVENTS)
    events = [event | {"id": f"{name}-{event['id']}"} for event in events if "retracts" not in event["data"]]
    for event in events:
        headers, value = structured_record(event)
        producer.produce(scenario.settings.events_topic, value, headers=dict(headers), partition=partition)
    assert producer.flush(60) == 0
    scenario.uncommitted_offsets += 1  # the marker
    if name.startswith("committed"):
        scenario.extra_accepted += events
    else:
        scenario.uncommitted_offsets += len(events)
    return producer


def publish_in_transactions(scenario: Scenario) -> float:
    """Commit some transactions and abort others in between; leave one open for a while, and one until Kafka ends it."""
    topic, partitions = scenario.settings.events_topic, range(scenario.settings.partitions)
    opened = _begin_transaction(scenario, "committed-late", 0)
    for number in range(_TRANSACTIONS):
        partition = scenario.rng.choice(partitions)
        committed = _begin_transaction(scenario, f"committed-{number}", partition)
        _begin_transaction(scenario, f"aborted-{number}", partition).abort_transaction()
        committed.commit_transaction()
    opened.commit_transaction()
    scenario.wait_until_positions(scenario.log_offsets()[1])

    hanging = _begin_transaction(scenario, "hanging", 1, timeout_ms=1000)
    worker = scenario.running_workers[0]
    wait_until(
        lambda: (worker.scrape().value("milepost_lag_seconds", topic=topic, partition="1") or 0) > 1,
        "a hanging transaction shows as lag",
    )
    hung_at = scenario.recorder.read_positions(topic)[1]
    # The broker looks for transactions that are out of time every ten seconds.
    wait_until(lambda: scenario.recorder.read_positions(topic)[1] > hung_at, "the broker ends the transaction")
    recovery_seconds = measure_recovery(scenario)
    hanging.purge()
    return recovery_seconds


def publish_inflating_records(scenario: Scenario) -> float:
    """Send records and a batch that are some kilobytes in the log, and up to 900 MiB when they are decompressed."""
    topic, partitions = scenario.settings.events_topic, range(scenario.settings.partitions)
    for codec, sizes in _INFLATING_RECORDS:
        options = {"compression.type": codec, "message.max.bytes": 1_000_000_000, "linger.ms": 500}
        room = {"queue.buffering.max.kbytes": 2_000_000, "batch.size": 1_000_000_000}
        producer = Producer({"bootstrap.servers": scenario.settings.kafka, **options, **room})
        partition = scenario.rng.choice(partitions)
        for size in sizes:
            producer.produce(topic, b" " * size, partition=partition)
        assert producer.flush(120) == 0
        scenario.extra_rejected += len(sizes)
    recovery_seconds = measure_recovery(scenario)
    for worker in scenario.running_workers:
        assert read_peak_bytes(worker.process.pid) < _MAX_WORKER_BYTES
    return recovery_seconds


def publish_crowd(scenario: Scenario) -> float:
    """Publish an event of each of very many new programmes, and see what one that was there before has to wait."""
    settings = scenario.settings
    honest = [_report(scenario, f"honest-{number}", "honest/site", f"milestone-{number}") for number in range(100)]
    publish(settings, honest)
    wait_until(lambda: _exposed_forecasts(scenario) == 100, "the programme is exposed")
    crowd, updates, waits = list[JsonEvent](), list[JsonEvent](), list[float]()
    for slice_number in range(_CROWD_SLICES):
        first = slice_number * _SLICE_PROGRAMMES
        names = (f"crowd-{number}" for number in range(first, first + _SLICE_PROGRAMMES))
        crowd += (newcomers := [_report(scenario, name, f"{name}/site", "m") for name in names])
        publish_records(settings, ((event["subject"].encode(), *structured_record(event)) for event in newcomers))
        updates.append(_report(scenario, f"update-{slice_number}", "honest/site", f"new-{slice_number}"))
        published_at = time.monotonic()
        publish(settings, updates[-1:])
        # Whoever asks when a look begins is shown what that look shows; reading a page of the crowd takes a second.
        looked_at = time.monotonic()
        while not _has_forecast(scenario, f"new-{slice_number}") or _exposed_forecasts(scenario) != 100 + len(updates):
            assert time.monotonic() - published_at < _GIVE_UP_SECONDS, "the programme's new milestone is exposed"
            time.sleep(_LOOK_SECONDS)
            looked_at = time.monotonic()
        waits.append(looked_at - published_at)
    memory = max(read_peak_bytes(worker.process.pid) for worker in scenario.running_workers)
    seconds = ", ".join(f"{wait:.1f}" for wait in waits)
    scenario.notes.append(f"exposed after {seconds} s; {memory / 1e6:.0f} MB; load {os.getloadavg()[0]:.0f}")
    assert max(waits) < _MAX_EXPOSURE_SECONDS, scenario.notes[-1]
    scenario.extra_accepted += [*honest, *crowd, *updates]
    recovery_seconds = measure_recovery(scenario)
    # What is exposed takes memory: not more than is promised, and nothing is added once all of it is exposed.
    published_at = time.time()
    for worker in scenario.running_workers:
        wait_until(
            lambda worker=worker: (worker.scrape().value(_CURRENT_METRIC) or 0) > published_at,  # type: ignore[misc]
            "a sweep has found the whole crowd exposed",
            60 + _CROWD_PROGRAMMES / _CROWD_PER_SECOND,
        )
        assert read_peak_bytes(worker.process.pid) < _MAX_WORKER_BYTES
    scenario.snapshot_resources()
    return recovery_seconds


def _report(scenario: Scenario, name: str, subject: str, milestone: str) -> JsonEvent:
    report = _report_at_offset(scenario, 0, timedelta(0))
    return report | {"id": name, "subject": subject, "data": report["data"] | {"milestone": milestone}}


def _has_forecast(scenario: Scenario, milestone: str) -> bool:
    """Return whether the forecast of a milestone of the programme `honest` is in the database."""
    query = select(forecasts.c.forecast).where(forecasts.c.programme == "honest", forecasts.c.milestone == milestone)
    with read_transaction(scenario.recorder.engine) as connection:
        return connection.scalar(query) is not None


def _exposed_forecasts(scenario: Scenario) -> int:
    """Return how many milestones of the programme `honest` are exposed."""
    _, page = scenario.running_workers[0].get("/metrics/milestones")
    return page.count('milepost_milestone_forecast_timestamp_seconds{programme="honest"')


FAULTS: Mapping[str, Fault] = {
    f"{_CROWD_PROGRAMMES:,} new programmes": Fault(publish_crowd, max_recovery_seconds=60),
    "records of kilobytes that inflate to 900 MiB": Fault(publish_inflating_records),
    "a publisher's clock off by hours": Fault(skew_clock),
    "transactions committed, aborted, left open and timed out": Fault(publish_in_transactions),
    "a hundred events said a hundred times each": Fault(publish_repeatedly),
}
