"""A real Apache Kafka on this machine: one node, broker and controller in one, run by the Java of a Python package."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NoReturn

from deploy.child_process import ChildProcess, bind_port, free_port, is_listening, run_child_process
from deploy.kafka import BrokerError
from deploy.kafka.data_dir import (
    KAFKA_HOST,
    STOP_TIMEOUT_S,
    lock_data_dir,
    process_exists,
    write_broker_config,
    write_lock_info,
)
from deploy.kafka.jars import JAVA, class_path

DEFAULT_KAFKA_PORT: Final = 9092
# Kafka takes two or three seconds; this is for a machine in trouble.
_START_TIMEOUT_S: Final = 60.0

_JVM_OPTIONS: Final = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # Without the optimising compiler Kafka starts in two thirds of the time with half the work, and one node stays
    # fast enough.
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ErrorFile=java-crash-%p.log",
    # What Kafka 4.1 does and Java 25 warns about
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
        """Whether its process still runs; when not, the log says why."""
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
    """Run Kafka on this folder until the block or this process ends, however it ends.

    Records stay in the folder for the next run; the port may be another each time: without one a free port is taken.
    The overrides are broker properties. Raises `BrokerError`.
    """
    data_dir = data_dir.absolute()
    with lock_data_dir(data_dir) as lock:
        jars = class_path(report_progress)
        port, controller_port = _choose_ports(port)
        log = write_broker_config(data_dir, port, controller_port, property_overrides or {})
        java = [str(JAVA), *_JVM_OPTIONS, "-cp", os.pathsep.join(map(str, jars))]
        command = [*java, "kafka.Kafka", "server.properties"]
        with log.open("wb") as output:
            _format_if_new(java, data_dir, output, lock)
            with run_child_process(command, data_dir, output, lock, STOP_TIMEOUT_S) as child:
                write_lock_info(lock, owner=os.getpid(), pid=child.pid, port=port)
                broker = RunningBroker(f"{KAFKA_HOST}:{port}", port, child.pid, log)
                _wait_for_broker(broker, child)
                yield broker


def _choose_ports(preferred: int | None) -> tuple[int, int]:
    """Return the port for clients and one for the controller, both free at this moment."""
    # A server on all addresses does not keep every system from binding one of them, so ask first.
    if preferred and is_listening(KAFKA_HOST, preferred):
        raise BrokerError(f"Port {preferred} on {KAFKA_HOST} is taken: stop what listens there, or choose another port")
    try:
        with bind_port(KAFKA_HOST, preferred or 0) as clients, bind_port(KAFKA_HOST, 0) as controller:
            return clients.getsockname()[1], controller.getsockname()[1]
    except OSError as error:
        problem = f"Port {preferred} on {KAFKA_HOST} cannot be used ({error.strerror})"
        raise BrokerError(f"{problem}: choose another port") from error


def _format_if_new(java: list[str], data_dir: Path, output: IO[bytes], lock: IO[str]) -> None:
    # The formatting writes this file last: one that was interrupted is repeated.
    if (data_dir / "topics" / "meta.properties").exists():
        return
    # Sixteen random bytes in Kafka's encoding; a leading dash would read as an option.
    cluster = f"M{secrets.token_urlsafe(16)[1:]}"
    formatted = subprocess.run(  # noqa: S603 - the arguments are our own
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", "server.properties"],
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


def _wait_for_broker(broker: RunningBroker, child: ChildProcess) -> None:
    # Half a second of imports, which cost nothing while Java starts
    from kafka import KafkaAdminClient  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    if problem := child.startup_problem(lambda: is_listening(KAFKA_HOST, broker.port), _START_TIMEOUT_S):
        raise BrokerError(_with_log_tail(f"Kafka {problem}", broker.log_file))
    try:
        with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)) as admin:
            admin.describe_cluster()
    except KafkaError as error:
        raise BrokerError(_with_log_tail(f"Kafka does not answer ({error})", broker.log_file)) from error


def _with_log_tail(summary: str, log_file: Path) -> str:
    """Return a message with the end of the log, without Java's stack frames."""
    lines = [line for line in log_file.read_text(errors="replace").splitlines() if not line.startswith("\tat ")]
    return "\n  ".join([f"{summary}. The end of {log_file}:", *lines[-12:]])


def run_kafka_in_foreground(data_dir: Path, port: int | None) -> None:
    """Serve until SIGINT or SIGTERM; raises `BrokerError` when Kafka cannot run or ends by itself.

    Without a port it is Kafka's default when that is free, else any, and a line says how other commands find it.
    """
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    with run_broker(data_dir, port=port or free_port(KAFKA_HOST, DEFAULT_KAFKA_PORT)) as broker:
        sys.stdout.write(f"kafka {broker.bootstrap_servers}\n")
        sys.stdout.flush()
        if broker.port != DEFAULT_KAFKA_PORT:
            sys.stderr.write(f"export MILEPOST_KAFKA={broker.bootstrap_servers}\n")
        while broker.is_alive:
            time.sleep(0.5)
        raise BrokerError(f"Kafka ended by itself: its log is {broker.log_file}")


def _exit_on_sigterm(_number: int, _frame: object) -> NoReturn:
    # Unwinding ends Kafka, and a requested stop is no failure.
    raise SystemExit(0)
