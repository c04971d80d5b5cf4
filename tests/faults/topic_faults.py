"""Faults of the topic and of the group's offsets: what an operator, or retention, does to them."""

import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Final

from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from deploy.topics import ensure_topics
from tests.faults.fault import Fault
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.workers import WorkerProcess, wait_until

_MISSED_METRIC: Final = "milepost_missed_records_total"


def _fatal_error_line(worker: WorkerProcess) -> str:
    """Return the one line that a worker ended with by itself."""
    worker.process.wait(60)
    assert worker.process.returncode == 1, worker.log_text[-3000:]
    assert "Traceback" not in worker.log_text
    [line] = [line for line in worker.log_text.splitlines() if line.startswith("milepost:")]
    return line


def add_partitions(scenario: Scenario) -> float:
    """Add partitions to the events topic, and later what the worker says: it starts anew by itself."""
    settings, wanted = scenario.settings, scenario.settings.partitions + 2
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        admin.create_partitions({settings.events_topic: wanted})
    worker = scenario.workers[0]
    wait_until(lambda: f"`milepost init --partitions {wanted}`" in worker.log_text, "the worker says what to do")
    # Into the new ones too, unread.
    time.sleep(scenario.rng.uniform(1, 3))
    scenario.settings = settings.model_copy(update={"partitions": wanted})
    ensure_topics(scenario.settings, enlarge=True)
    worker.wait_until_ready()
    return measure_recovery(scenario)


def delete_unread_records(scenario: Scenario) -> float:
    """Delete records that no worker has read, as retention does, while none runs."""
    scenario.workers[0].stop()
    time.sleep(scenario.rng.uniform(1, 3))
    deleted = _delete_unrecorded(scenario)
    assert deleted > 0
    worker = scenario.start_worker()
    worker.wait_until_ready()
    assert worker.scrape().value(_MISSED_METRIC) == deleted
    assert "records were deleted before they were read" in worker.log_text
    return measure_recovery(scenario)


def delete_ahead_of_worker(scenario: Scenario) -> float:
    """Delete records in front of a worker that waits for its database with what it fetched before."""
    worker = scenario.workers[0]
    scenario.database_proxy.refuse_connections()
    time.sleep(scenario.rng.uniform(6, 9))
    scenario.load.pause()
    deleted = _delete_unrecorded(scenario)
    scenario.load.resume()
    scenario.database_proxy.heal()
    recovery = measure_recovery(scenario)
    # What it had fetched by then is not missed.
    wait_until(lambda: 0 < (worker.scrape().value(_MISSED_METRIC) or 0) <= deleted, "what was missed is counted")
    return recovery


def _delete_unrecorded(scenario: Scenario) -> int:
    """Delete two thirds of what is not recorded; return how many records that are."""
    topic = scenario.settings.events_topic
    positions, (_, ends) = scenario.recorder.read_positions(topic), scenario.log_offsets()
    until = {number: positions[number] + (end - positions[number]) * 2 // 3 for number, end in ends.items()}
    with closing(KafkaAdminClient(bootstrap_servers=scenario.settings.kafka)) as admin:
        admin.delete_records({TopicPartition(topic, number): offset for number, offset in until.items()})
    scenario.has_deleted_unread = scenario.is_log_truncated = True
    return sum(offset - positions[number] for number, offset in until.items())


def recreate_topic(scenario: Scenario) -> float:
    """Delete the topic and make it again under a worker, which refuses it until an operator accepts it."""
    settings, first = scenario.settings, scenario.workers[0]
    scenario.load.pause()
    measure_recovery(scenario)
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        admin.delete_topics([settings.events_topic])
        wait_until(
            lambda: admin.describe_topics([settings.events_topic])[0]["error_code"] != 0, "the broker shows it gone"
        )
        ensure_topics(settings)
        wait_until(
            lambda: admin.describe_topics([settings.events_topic])[0]["error_code"] == 0, "the broker shows it again"
        )
    scenario.is_log_truncated = True
    scenario.load.resume()
    for worker in (first, scenario.start_worker()):
        assert "milepost init --accept-new-topic" in _fatal_error_line(worker)
    told = {"MILEPOST_KAFKA": settings.kafka, "MILEPOST_DATABASE": settings.database}
    told |= {"MILEPOST_PREFIX": settings.prefix, "MILEPOST_PARTITIONS": str(settings.partitions)}
    command = [sys.executable, "-c", "from deploy.cli.app import main; main()", "init", "--accept-new-topic"]
    subprocess.run(command, env=told, capture_output=True, check=True, timeout=60)
    scenario.start_worker().wait_until_ready()
    return measure_recovery(scenario)


def move_group_offsets(target: str, scenario: Scenario) -> float:
    """Change what the group has committed between two workers: it is advice, and nobody takes it."""
    settings = scenario.settings
    scenario.workers[0].stop()
    time.sleep(scenario.rng.uniform(0.5, 2))
    _, ends = scenario.log_offsets()
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        if target == "lost":
            admin.delete_groups([settings.group])
        else:
            admin.alter_group_offsets(
                settings.group,
                {
                    TopicPartition(settings.events_topic, number): OffsetAndMetadata(
                        end if target == "ahead" else 0, "", -1
                    )
                    for number, end in ends.items()
                },
            )
    scenario.start_worker().wait_until_ready()
    return measure_recovery(scenario)


FAULTS: Mapping[str, Fault] = {
    "partitions added": Fault(add_partitions),
    "records deleted by retention before they were read": Fault(delete_unread_records),
    "records deleted in front of a worker that waits for its database": Fault(delete_ahead_of_worker),
    "the topic deleted and made again, and accepted": Fault(recreate_topic),
    "the group's offsets set back": Fault(partial(move_group_offsets, "back")),
    "the group's offsets set forward": Fault(partial(move_group_offsets, "ahead")),
    "the group's offsets lost": Fault(partial(move_group_offsets, "lost")),
}
