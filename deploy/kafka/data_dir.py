"""The folder of an embedded Kafka: its lock, and the configuration that Kafka reads there."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from deploy.file_lock import FileLockedError, lock_file, write_holder
from deploy.kafka import BrokerError
from models.data_folder import make_folder

KAFKA_HOST: Final = "127.0.0.1"
# How long Kafka may take to end; it needs less than one second.
STOP_TIMEOUT_S: Final = 5.0

# Java writes its own errors to standard output, which is the log file. Logging there too keeps the order.
_LOG4J2_PROPERTIES: Final = """\
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""

_BROKER_PROPERTIES: Final = {
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
    # After a kill -9 Kafka waits that long for its former session before it starts; the default is 9 seconds.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "1000",
    # Sized for one machine's worth of clients: this takes 130 MB off the resident memory
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
}


def lock_data_dir(data_dir: Path) -> IO[str]:
    """Lock the folder; closing the file releases it. Java inherits the lock, so it lasts until Kafka has ended."""
    deadline = time.monotonic() + 2 * STOP_TIMEOUT_S

    def is_ending(holder: str) -> bool:
        # A Kafka whose owner was killed is about to end. Until an owner has written its id, nothing is known of it.
        return not process_exists(_parse_holder(holder).get("owner", os.getpid())) and time.monotonic() <= deadline

    try:
        make_folder(data_dir)
        lock = lock_file(data_dir / "lock", is_ending)
    except FileLockedError as error:
        holder = _parse_holder(error.holder)
        known = ", ".join(f"{name} {holder[name]}" for name in ("pid", "port") if name in holder)
        raise BrokerError(
            f"A Kafka runs on {data_dir} already{known and f' ({known})'}: "
            "use that one, stop it, or choose another folder"
        ) from None
    except OSError as error:
        raise BrokerError(f"Kafka cannot keep its data in {data_dir}: {error.strerror}") from error
    write_lock_info(lock, owner=os.getpid())
    return lock


def write_lock_info(lock: IO[str], **info: int) -> None:
    """Record in the folder which processes use it, and on which port."""
    write_holder(lock, json.dumps(info))


def _parse_holder(text: str) -> dict[str, int]:
    with suppress(ValueError):
        return dict(json.loads(text))
    return {}


def process_exists(pid: int) -> bool:
    """Return whether a process with this id exists."""
    try:
        # Another user's process must not be signalled, but exists.
        with suppress(PermissionError):
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def write_broker_config(data_dir: Path, port: int, controller_port: int, overrides: Mapping[str, str]) -> Path:
    """Write Kafka's configuration and return its log file; the log of the run before becomes kafka.log.1."""
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
