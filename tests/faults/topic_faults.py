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

from deploy.topics import make_topics
from tests.faults.fault import Fault
from tests.faults.scene import Scene, measured
from tests.workers import WorkerProcess, wait_until

_MISSED: Final = "milepost_missed_records_total"


def _refusal(worker: WorkerProcess) -> str:
    """Return the one line that a worker ended with by itself."""
    worker.process.wait(60)
    assert worker.process.returncode == 1, worker.log[-3000:]
    assert "Traceback" not in worker.log
    [line] = [line for line in worker.log.splitlines() if line.startswith("milepost:")]
    return line


def add_partitions(scene: Scene) -> float:
    """Add partitions to the events topic, then do what the worker says before it ends."""
    settings, wanted = scene.settings, scene.settings.partitions + 2
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        admin.create_partitions({settings.events_topic: wanted})
        assert f"MILEPOST_PARTITIONS={wanted}" in _refusal(scene.workers[0])
        # Into the new ones too, unread.
        time.sleep(scene.rng.uniform(1, 3))
        admin.create_partitions({settings.programmes_topic: wanted, settings.changes_topic: wanted})
    scene.settings = settings.model_copy(update={"partitions": wanted})
    scene.start_worker().wait_until_ready()
    return measured(scene)


def delete_unread(scene: Scene) -> float:
    """Delete records that no worker has read, as retention does, while none runs."""
    scene.workers[0].stop()
    time.sleep(scene.rng.uniform(1, 3))
    deleted = _delete(scene)
    assert deleted > 0
    worker = scene.start_worker()
    worker.wait_until_ready()
    assert worker.page().value(_MISSED) == deleted
    assert "records were deleted before they were read" in worker.log
    return measured(scene)


def delete_ahead_of_a_reader(scene: Scene) -> float:
    """Delete records in front of a worker that waits for its database with what it fetched before."""
    worker = scene.workers[0]
    scene.database_proxy.refuse()
    time.sleep(scene.rng.uniform(6, 9))
    scene.load.rest()
    deleted = _delete(scene)
    scene.load.go_on()
    scene.database_proxy.heal()
    recovery = measured(scene)
    # What it had fetched by then is not missed.
    wait_until(lambda: 0 < (worker.page().value(_MISSED) or 0) <= deleted, "what was missed is counted")
    return recovery


def _delete(scene: Scene) -> int:
    """Delete two thirds of what is not recorded; return how many records that are."""
    topic = scene.settings.events_topic
    positions, (_, ends) = scene.store.positions(topic), scene.logs()
    until = {number: positions[number] + (end - positions[number]) * 2 // 3 for number, end in ends.items()}
    with closing(KafkaAdminClient(bootstrap_servers=scene.settings.kafka)) as admin:
        admin.delete_records({TopicPartition(topic, number): offset for number, offset in until.items()})
    scene.is_missing_some = scene.is_log_cut = True
    return sum(offset - positions[number] for number, offset in until.items())


def make_anew(scene: Scene) -> float:
    """Delete the topic and make it again under a worker, which refuses it until an operator accepts it."""
    settings, first = scene.settings, scene.workers[0]
    scene.load.rest()
    measured(scene)
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        admin.delete_topics([settings.events_topic])
        wait_until(
            lambda: admin.describe_topics([settings.events_topic])[0]["error_code"] != 0, "the broker shows it gone"
        )
        make_topics(settings)
        wait_until(
            lambda: admin.describe_topics([settings.events_topic])[0]["error_code"] == 0, "the broker shows it again"
        )
    scene.is_log_cut = True
    scene.load.go_on()
    for worker in (first, scene.start_worker()):
        assert "milepost init --accept-new-topic" in _refusal(worker)
    told = {"MILEPOST_KAFKA": settings.kafka, "MILEPOST_DATABASE": settings.database}
    told |= {"MILEPOST_PREFIX": settings.prefix, "MILEPOST_PARTITIONS": str(settings.partitions)}
    command = [sys.executable, "-c", "from deploy.cli.app import main; main()", "init", "--accept-new-topic"]
    subprocess.run(command, env=told, capture_output=True, check=True, timeout=60)
    scene.start_worker().wait_until_ready()
    return measured(scene)


def move_group_offsets(where: str, scene: Scene) -> float:
    """Change what the group has committed between two workers: it is advice, and nobody takes it."""
    settings = scene.settings
    scene.workers[0].stop()
    time.sleep(scene.rng.uniform(0.5, 2))
    _, ends = scene.logs()
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        if where == "lost":
            admin.delete_groups([settings.group])
        else:
            admin.alter_group_offsets(
                settings.group,
                {
                    TopicPartition(settings.events_topic, number): OffsetAndMetadata(
                        end if where == "ahead" else 0, "", -1
                    )
                    for number, end in ends.items()
                },
            )
    scene.start_worker().wait_until_ready()
    return measured(scene)


FAULTS: Mapping[str, Fault] = {
    "partitions added": Fault(add_partitions),
    "records deleted by retention before they were read": Fault(delete_unread),
    "records deleted in front of a worker that waits for its database": Fault(delete_ahead_of_a_reader),
    "the topic deleted and made again, and accepted": Fault(make_anew),
    "the group's offsets set back": Fault(partial(move_group_offsets, "back")),
    "the group's offsets set forward": Fault(partial(move_group_offsets, "ahead")),
    "the group's offsets lost": Fault(partial(move_group_offsets, "lost")),
}
