"""Reports about milestones of 10,000 projects in 100 programmes, in volume; each as large as reports are."""

import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

import msgspec
from confluent_kafka import Producer

from models.database.ledger import DecodedRecord
from models.domain.cloudevents import decode
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.events import Event, check_acceptable
from models.settings import Settings

PROJECTS: Final = 10_000
PROGRAMMES: Final = 100
_MILESTONES: Final = (
    "agreement-signed",
    "permit-approved",
    "investment-permitted",
    "site-leased",
    "park-commissioned",
    "construction-started",
    "equipment-installed",
    "production-launched",
)
#: When what is reported was said: within three hundred days from the first.
_FIRST_TIME: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - written with its Z below
_TIME_RANGE_SECONDS: Final = 300 * 24 * 60 * 60


def report_records(count: int, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Return so many reports, of about 400 bytes, in structured mode: the name of the programme, and the value."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    for _ in range(count):
        project = chance.randrange(PROJECTS)
        programme = f"programme-{project % PROGRAMMES:02d}"
        said = _FIRST_TIME + timedelta(seconds=chance.randrange(_TIME_RANGE_SECONDS))
        event = {
            "specversion": "1.0",
            "id": str(UUID(int=chance.getrandbits(128))),
            "source": "https://registry.example/north",
            "type": "milepost.milestone.reported.v1",
            "subject": f"{programme}/project-{project:05d}",
            "time": f"{said.isoformat(timespec='seconds')}Z",
            "datacontenttype": "application/json",
            "data": {
                "milestone": chance.choice(_MILESTONES),
                "classifier": chance.choice(("PLN", "EST")),
                "date": (_FIRST_TIME.date() + timedelta(days=chance.randrange(365, 730))).isoformat(),
                "remark": "reported by the office of the zone",
            },
        }
        yield programme.encode(), msgspec.json.encode(event)


def decoded_records(values: Sequence[bytes], topic: str, start: int) -> list[DecodedRecord]:
    """Return reports as a worker reads them off a log: decoded and admitted, in partition 0 from `start` on."""
    now, entries = int(1000 * time.time()), []
    for offset, value in enumerate(values, start):
        event = cast("Event", decode(STRUCTURED_HEADERS, value))
        entries.append(
            DecodedRecord(
                topic, 0, offset, now, STRUCTURED_HEADERS, value, check_acceptable(event, now, {}), event.digest()
            )
        )
    return entries


def publish_reports(settings: Settings, count: int) -> None:
    """Publish so many reports; return when the broker has them."""
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for number, (programme, value) in enumerate(report_records(count)):
        headers: list[tuple[str, str | bytes | None]] = list(STRUCTURED_HEADERS)
        if number % 10_000 == 0:
            # Also when more are ready than may wait: the rest goes out meanwhile.
            producer.poll(0)
            if number % 500_000 == 0:
                producer.flush(60)
        producer.produce(settings.events_topic, value, programme, headers=headers)
    assert producer.flush(60) == 0
