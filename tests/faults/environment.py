"""A Kafka and a PostgreSQL of the faults' own, each behind a proxy: they may be killed, and started again."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil
from sqlalchemy import make_url

from deploy.kafka.broker import RunningBroker, run_broker
from tests.faults.proxy import Proxy, running_proxy
from tests.faults.small_disk import small_file_system
from tests.helpers.databases import DatabaseFactory, running_postgresql
from tests.helpers.workers import free_port, wait_until

#: Several minutes of events.
_SMALL_MEGABYTES: Final = 128
#: How soon another thread of the suite has its turn.
_SWITCH_INTERVAL_SECONDS: Final = 0.0002


class ProxiedKafka:
    """A broker with two addresses: one for the test itself, one behind a proxy for workers."""

    def __init__(self, folder: Path, exit_stack: ExitStack) -> None:
        self._folder = folder
        self._port, proxied_port, controller_port = free_port(), free_port(), free_port()
        self.proxy: Proxy = exit_stack.enter_context(running_proxy(proxied_port))
        host = "127.0.0.1"
        self._overrides = {
            "listeners": f"PLAINTEXT://{host}:{self._port},PROXIED://{host}:{proxied_port},CONTROLLER://{host}:"
            f"{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{host}:{self._port},PROXIED://{host}:{self.proxy.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": f"1@{host}:{controller_port}",
        }
        self.bootstrap, self.proxied_bootstrap = f"{host}:{self._port}", f"{host}:{self.proxy.port}"
        self._broker_stack = ExitStack()
        self._broker: RunningBroker | None = None
        exit_stack.callback(self._broker_stack.close)
        self.start()

    def start(self) -> None:
        """Start it, with what it had."""
        self._broker = self._broker_stack.enter_context(
            run_broker(
                self._folder, port=self._port, report_progress=lambda _: None, property_overrides=self._overrides
            )
        )

    def kill(self) -> None:
        """Kill it (-9)."""
        assert self._broker is not None
        os.kill(self._broker.pid, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(self._pid), "the broker is gone")
        self._broker_stack.close()

    def suspend(self) -> None:
        """Stop it as it is (SIGSTOP)."""
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self._pid, signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._broker is not None and self._broker.is_alive

    @property
    def _pid(self) -> int:
        assert self._broker is not None
        return self._broker.pid


class ProxiedPostgresql:
    """A database server, and a proxy to it for workers."""

    def __init__(self, exit_stack: ExitStack) -> None:
        self._server = exit_stack.enter_context(running_postgresql())
        self.databases = DatabaseFactory(exit_stack, self._server.get_uri())
        folder = make_url(self._server.get_uri()).query["host"]
        self.proxy: Proxy = exit_stack.enter_context(running_proxy(Path(str(folder)) / ".s.PGSQL.5432"))

    @property
    def data_dir(self) -> Path:
        """Where its data is."""
        return Path(self._server.pgdata)

    def kill(self) -> None:
        """Kill it (-9), and wait until its sessions have noticed."""
        postmaster = psutil.Process(self._server.get_pid())
        sessions = postmaster.children(recursive=True)
        postmaster.kill()
        gone, left = psutil.wait_procs([postmaster, *sessions], timeout=30)
        assert gone
        assert not left, left

    def start(self) -> None:
        """Start it again; it recovers by itself."""
        self._server.ensure_postgres_running()


class FaultEnvironment:
    """Both."""

    def __init__(self, folder: Path, exit_stack: ExitStack) -> None:
        # The publisher is busy in the same process: at the usual 5 ms whatever passes a proxy would wait for it longer
        # than for the server behind.
        exit_stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
        self.kafka, self.postgresql = ProxiedKafka(folder / "kafka", exit_stack), ProxiedPostgresql(exit_stack)

    @contextmanager
    def database(self, backend: str) -> Iterator[str]:
        """Give the URL of a new, empty database."""
        with ExitStack() as ending:
            if backend == "small":
                disk = ending.enter_context(small_file_system(_SMALL_MEGABYTES, os.getuid()))
                url = f"sqlite:///{disk.folder}/milepost.db"
            else:
                url = ending.enter_context(self.postgresql.databases.new_database(backend))
            ending.callback(self.repair)
            yield url

    def repair(self) -> None:
        """Undo what a scenario that failed may have left undone."""
        for proxy in (self.kafka.proxy, self.postgresql.proxy):
            proxy.heal()
        if not self.kafka.is_running:
            self.kafka.start()
        self.kafka.resume()
        self.postgresql.start()
