"""`milepost notify` for tests: its process, its file of targets, and changes as a worker publishes them."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import count
from pathlib import Path

from consumers.client import admin_client
from consumers.producer import open_producer
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.forecast_changes import HistoryRow, encode_changes
from models.settings import Settings
from streams.notify.offsets import OffsetTracker, decode_offsets
from streams.notify.targets import Target, parse_targets
from tests.helpers.webhooks import SECRET
from tests.helpers.workers import WorkerProcess, free_port, process_environment

_numbers = count(1)


def row(milestone: str = "permit-approved", days: int = 7, **fields: object) -> HistoryRow:
    """Return a history row of a programme: a forecast that moved by so many days."""
    number = next(_numbers)
    previous = date(2027, 1, 1) + timedelta(days=number % 300)
    values: dict[str, object] = {
        "programme": "north",
        "number": number,
        "project": "plant",
        "milestone": milestone,
        "revision": number,
        "recorded_ms": 1_796_000_000_000 + number,
        "previous": previous,
        "current": previous + timedelta(days=days),
        "slip_days": days,
        "state": "slipping",
        "driver_project": None,
        "driver_milestone": None,
        "dependents": None,
        "cause_source": "//office.example",
        "cause_id": f"cause-{number}",
        "correlationid": None,
    }
    return HistoryRow(**values | fields)  # type: ignore[arg-type]


def write_changes(settings: Settings, rows: Iterable[HistoryRow]) -> list[bytes]:
    """Publish the changes of history rows as a worker does; return them."""
    events = []
    with open_producer(settings) as producer:
        for each in rows:
            for event in encode_changes(each):
                producer.send(
                    settings.changes_topic, key=each.programme.encode(), value=event, headers=[*STRUCTURED_HEADERS]
                )
                events.append(event)
        producer.flush()
    return events


def write_targets(folder: Path, *blocks: str) -> Path:
    """Write a file of targets, and a secret beside it; return its path."""
    (folder / "hook.secret").write_text(SECRET + "\n")
    path = folder / "targets.toml"
    path.write_text("\n".join(f"[[target]]\n{block}" for block in blocks))
    return path


def system_block(name: str, url: str, more: str = "") -> str:
    """Return the entry of a system on this machine."""
    return f'name = "{name}"\nurl = "{url}"\nsecret_file = "hook.secret"\nprivate = true\n{more}\n'


def parse_one(block: str, folder: Path) -> Target:
    """Return the only target of a file."""
    table = parse_targets(write_targets(folder, block).read_text(), folder)
    assert not table.unusable, table.unusable
    [target] = table.targets
    return target


@contextmanager
def notify_process(settings: Settings, folder: Path, targets: Path) -> Iterator[WorkerProcess]:
    """Run `milepost notify` in a folder until the block ends; ready when it begins."""
    port = free_port()
    log = folder / f"notify-{port}.log"
    variables = {"MILEPOST_NOTIFY": str(targets), "MILEPOST_METRICS": f"127.0.0.1:{port}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from deploy.cli.app import main; main()", "notify"],
            cwd=folder,
            env=process_environment(settings) | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        notify = WorkerProcess(process, port, log)
        try:
            notify.wait_until_ready()
            yield notify
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def read_group(settings: Settings, target: str) -> list[OffsetTracker]:
    """Return where a target's group stands, in each partition."""
    with admin_client(settings) as admin:
        group = settings.notify_group(target)
        found = admin.list_group_offsets({group: None})[group]
    return [decode_offsets(each.offset, each.metadata)[0] for each in found.values()]


def open_milestones(settings: Settings, target: str) -> int:
    """Return how many changes a target's group remembers as read and not delivered."""
    return sum(len(tracker.pending()) for tracker in read_group(settings, target))


def told_changes(settings: Settings, target: str) -> int:
    """Return up to how many changes, the first of all, a target's group remembers each as delivered."""
    return sum(min(tracker.pending(), default=tracker.next_offset) for tracker in read_group(settings, target))
