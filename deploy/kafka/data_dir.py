"""The folder of an embedded Kafka: who holds it, and the files Kafka reads there."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from deploy.kafka.errors import BrokerError

KAFKA_HOST = "127.0.0.1"
# How long a Kafka told to end may take; it needs less than one
STOP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.02

# Java writes its own troubles to standard output, which is the log file; so does this, and the order is kept.
_LOG4J2_PROPERTIES = """\
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""

_BROKER_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "log.dirs": "topics",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # After a kill -9 Kafka waits that long for its former self before it starts; it says 9 seconds by itself.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "1000",
    # Sized for one machine's worth of clients: this takes 130 MB off the resident memory
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
}


@contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[IO[bytes]]:
    """Hold the folder. The lock goes along to Java, so that it is taken as long as anything of Kafka lives there."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("a+b")
    except OSError as error:
        raise BrokerError(f"Kafka cannot keep its data in {data_dir}: {error.strerror}") from error
    with lock:
        patience = time.monotonic() + 2 * STOP_TIMEOUT_S
        while not _try_lock(lock):
            holder = _read_lock_info(data_dir)
            # One whose owner was killed is about to end: worth the wait. Before it wrote its note nothing is known.
            if process_exists(holder.get("owner", os.getpid())) or time.monotonic() > patience:
                known = ", ".join(f"{name} {holder[name]}" for name in ("pid", "port") if name in holder)
                raise BrokerError(
                    f"A Kafka runs on {data_dir} already{known and f' ({known})'}: "
                    "use that one, stop it, or choose another folder"
                )
            time.sleep(POLL_INTERVAL_S)
        write_lock_info(lock, owner=os.getpid())
        yield lock


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_lock_info(lock: IO[bytes], **info: int) -> None:
    """Leave word in the folder of who holds it."""
    lock.truncate(0)
    lock.write(json.dumps(info).encode())
    lock.flush()


def _read_lock_info(data_dir: Path) -> dict[str, int]:
    try:
        noted: dict[str, int] = json.loads((data_dir / "lock").read_bytes())
    except ValueError:
        return {}
    return noted


def process_exists(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        # Another user's may not be sent even nothing, but is there.
        with suppress(PermissionError):
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def write_broker_config(data_dir: Path, port: int, controller_port: int, overrides: Mapping[str, str]) -> Path:
    """Write what Kafka reads, and return its log file; the log of the run before is kept beside it."""
    properties = {
        **_BROKER_PROPERTIES,
        "listeners": f"PLAINTEXT://{KAFKA_HOST}:{port},CONTROLLER://{KAFKA_HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{KAFKA_HOST}:{port}",
        "controller.quorum.voters": f"1@{KAFKA_HOST}:{controller_port}",
        **overrides,
    }
    (data_dir / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    (data_dir / "log4j2.properties").write_text(_LOG4J2_PROPERTIES)
    shutil.rmtree(data_dir / "tmp", ignore_errors=True)
    (data_dir / "tmp").mkdir()
    log = data_dir / "kafka.log"
    with suppress(FileNotFoundError):
        log.rename(data_dir / "kafka.log.1")
    return log
