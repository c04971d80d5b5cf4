"""A batch that is damaged on the broker's disk: the worker says where, and reads on in the other partitions."""

import json
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from aiokafka.record._crc32c import crc as crc32c
from kafka import KafkaProducer
from sqlalchemy import update

from deploy.kafka.broker import run_broker
from models.database.engine import make_engine, write_transaction
from models.database.recorder import Recorder
from models.database.tables import positions
from models.settings import Settings
from tests.conftest import prepare_settings
from tests.helpers.event_generators import structured_record
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import count_events, plan_event
from tests.helpers.workers import wait_until, worker_process

#: Twelve seconds is the least that may be set: a worker that took the damaged partition for a stall would end by then.
STUCK_SECONDS = 12.0
DAMAGED = 1


def send(settings: Settings, partition: int, events: Iterable[JsonEvent]) -> None:
    """Publish each event in a batch of its own."""
    with closing(KafkaProducer(bootstrap_servers=settings.kafka, acks="all")) as producer:
        for event in events:
            headers, value = structured_record(event)
            producer.send(settings.events_topic, value, headers=headers, partition=partition).get(timeout=30)


def segment(data: Path, settings: Settings) -> Path:
    [file] = data.rglob(f"{settings.events_topic}-{DAMAGED}/*.log")
    return file


def damage_batch(file: Path, content: bytes, damage: str) -> None:
    """Damage the batch that holds some bytes."""
    raw = bytearray(file.read_bytes())
    at = raw.index(content)
    start = 0
    while (end := start + 12 + int.from_bytes(raw[start + 8 : start + 12])) <= at:
        start = end
    if damage == "a wrong checksum":
        raw[at] ^= 1
    else:
        # The first record's length is the first byte behind the head of 61; the checksum is right.
        raw[start + 61] = 0x7E
        raw[start + 17 : start + 21] = crc32c(bytes(raw[start + 21 : end])).to_bytes(4)
    file.write_bytes(raw)


@pytest.mark.parametrize("damage", ["a wrong checksum", "a length that is too long for its record"])
def test_a_damaged_batch_is_named_and_holds_up_its_own_partition_alone(tmp_path: Path, damage: str) -> None:
    data = tmp_path / "kafka"
    with run_broker(data, report_progress=lambda _: None) as broker:
        settings = prepare_settings(broker.bootstrap_servers, f"sqlite:///{tmp_path}/milepost.db")
        send(settings, DAMAGED, [plan_event(f"damaged-{number}", subject="east/wharf") for number in range(10)])
        for partition in (0, 2, 3):
            send(settings, partition, [plan_event(f"{partition}-{number}") for number in range(50)])
    damage_batch(segment(data, settings), b"damaged-4", damage)
    with run_broker(data, report_progress=lambda _: None) as broker:
        settings = settings.model_copy(update={"kafka": broker.bootstrap_servers, "stuck_seconds": STUCK_SECONDS})
        recorder = Recorder(make_engine(settings.database))
        with worker_process(settings, tmp_path) as worker:
            wait_until(lambda: count_events(recorder) == 154, "what can be read is recorded")
            where = f"reading {settings.events_topic}:{DAMAGED} at offset 4"
            wait_until(lambda: where in worker.get("/ready")[1], "/ready names the batch")
            status, text = worker.get("/ready")
            assert status == 503
            assert "the broker's copy of the batch is damaged" in json.loads(text)["reasons"]["retrying"]
            assert worker.log_text.count(where) == 1
            # The others go on for longer than a worker that does not move may live, and lose nothing.
            began, sent = time.monotonic(), 0
            while time.monotonic() - began < STUCK_SECONDS * 1.5:
                send(settings, 0, [plan_event(f"later-{sent}-{number}") for number in range(20)])
                send(settings, 2, [plan_event(f"also-{sent}-{number}") for number in range(20)])
                sent += 40
            wait_until(lambda: count_events(recorder) == 154 + sent, "what came later is recorded")
            assert worker.process.poll() is None, worker.log_text
            assert worker.get("/live")[0] == 200
            worker.stop()
        # As the runbook says.
        with write_transaction(recorder.engine) as connection:
            is_damaged = (positions.c.topic == settings.events_topic) & (positions.c.partition == DAMAGED)
            connection.execute(update(positions).where(is_damaged).values(next_offset=5))
        with worker_process(settings, tmp_path) as worker:
            wait_until(lambda: count_events(recorder) == 159 + sent, "what stands behind the batch is recorded")
            worker.wait_until_ready()
