"""The embedded Kafka keeps what it is given, shares neither folder nor port, and never outlives its owner."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from deploy.kafka import BrokerError
from deploy.kafka.broker import RunningBroker, run_broker
from deploy.kafka.jars import KAFKA_VERSION, class_path

ROOT = Path(__file__).parents[2]
TOPIC = "milepost.events"
PARTITIONS = 3

OWNER = """
import sys
from pathlib import Path
from deploy.kafka.broker import run_broker
with run_broker(Path(sys.argv[1])) as broker:
    try:
        print(broker.pid, broker.port, flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        print("alive" if broker.is_alive else "gone", flush=True)
"""


@dataclass
class Owned:
    """A Kafka that belongs to another process than this one."""

    owner: subprocess.Popen[str]
    port: int
    java: psutil.Process
    guard: psutil.Process

    def ended(self) -> bool:
        return not any(_runs(process) for process in (self.java, self.guard))


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def owned_broker(data: Path) -> Iterator[Owned]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    processes: list[psutil.Process] = []
    try:
        assert owner.stdout is not None
        pid, port = map(int, owner.stdout.readline().split())
        java = psutil.Process(pid)
        guard = java.parent()
        assert guard is not None
        processes += [java, guard]
        yield Owned(owner, port, java, guard)
    finally:
        owner.kill()
        owner.communicate()
        for process in filter(_runs, processes):
            process.kill()


def create_topic(broker: RunningBroker) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)) as admin:
        admin.create_topics(
            {TOPIC: {"num_partitions": PARTITIONS, "configs": {"message.timestamp.type": "LogAppendTime"}}}
        )


def publish(broker: RunningBroker, *values: bytes) -> None:
    with closing(KafkaProducer(bootstrap_servers=broker.bootstrap_servers)) as producer:
        for value in values:
            producer.send(TOPIC, value, key=b"north").get(timeout=10)


def consume(broker: RunningBroker, count: int) -> list[bytes]:
    """Read this many from where the group stands, and commit.

    The partitions are taken, as Milepost's own commands take them: once in a great many runs kafka-python shared out
    a subscription before it knew the topic ("No partition metadata"), and did not do it again within 20 s.
    """
    values: list[bytes] = []
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        group_id="milepost",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    with closing(consumer):
        consumer.assign([TopicPartition(TOPIC, number) for number in range(PARTITIONS)])

        def read() -> bool:
            for records in consumer.poll(timeout_ms=200).values():
                values.extend(record.value for record in records)
            return len(values) >= count

        assert eventually(read, 20), values
        consumer.commit()
    return values


def refused(data: Path, *, port: int | None = None, overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(BrokerError) as refusal, run_broker(data, port=port, property_overrides=overrides):
        pytest.fail("it started")
    return str(refusal.value)


def test_what_was_published_and_committed_is_there_after_a_restart_on_another_port(tmp_path: Path) -> None:
    with run_broker(tmp_path / "kafka") as broker:
        assert broker.is_alive
        create_topic(broker)
        publish(broker, b"one", b"two")
        assert consume(broker, 2) == [b"one", b"two"]
        publish(broker, b"three")
        first = broker
    assert not first.is_alive
    with run_broker(tmp_path / "kafka") as broker:
        assert broker.port != first.port
        assert consume(broker, 1) == [b"three"]


def test_a_port_can_be_asked_for_and_everything_but_this_machine_is_kept_out(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with run_broker(tmp_path, port=port, property_overrides={"num.partitions": "5"}) as broker:
        assert broker.bootstrap_servers == f"127.0.0.1:{port}"
        listening = [c for c in psutil.Process(broker.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert len(listening) == 2
        assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}
        assert "num.partitions = 5" in broker.log_file.read_text()


def test_a_second_one_on_the_same_data_is_refused_with_one_line_that_names_the_first(tmp_path: Path) -> None:
    with run_broker(tmp_path) as broker:
        assert refused(tmp_path) == (
            f"A Kafka runs on {tmp_path} already (pid {broker.pid}, port {broker.port}): "
            "use that one, stop it, or choose another folder"
        )
        assert broker.is_alive


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_refused_with_one_line(tmp_path: Path, address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert refused(tmp_path, port=port) == (
            f"Port {port} on 127.0.0.1 is taken: stop what listens there, or choose another port"
        )


def test_a_folder_that_cannot_be_made_is_refused_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file" / "kafka").startswith("Kafka cannot keep its data in")


def test_a_start_that_fails_shows_the_end_of_the_log_and_where_the_log_is(tmp_path: Path) -> None:
    account = refused(tmp_path, overrides={"process.roles": "postman"})
    assert str(tmp_path / "kafka.log") in account
    assert "postman" in account


def test_an_exception_in_the_block_ends_it_and_passes_through(tmp_path: Path) -> None:
    brokers = []

    def fail() -> None:
        with run_broker(tmp_path) as broker:
            brokers.append(broker)
            raise ConnectionError("mine")

    with pytest.raises(ConnectionError, match="mine"):
        fail()
    assert not brokers[0].is_alive


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_gone_soon_after_its_owner_was_killed_and_its_data_is_not(tmp_path: Path, number: signal.Signals) -> None:
    with owned_broker(tmp_path) as owned:
        broker = RunningBroker(f"127.0.0.1:{owned.port}", owned.port, owned.java.pid, tmp_path)
        create_topic(broker)
        publish(broker, b"one")
        owned.owner.send_signal(number)
        owned.owner.wait()
        # At once, while the old one still ends
        with run_broker(tmp_path) as after:
            assert owned.ended()
            assert consume(after, 1) == [b"one"]


def test_it_survives_ctrl_c_in_the_terminal_until_its_owner_lets_go(tmp_path: Path) -> None:
    with owned_broker(tmp_path) as owned:
        os.killpg(owned.owner.pid, signal.SIGINT)
        assert owned.owner.stdout is not None
        assert owned.owner.stdout.readline() == "alive\n"
        assert owned.owner.wait() == 0
        assert owned.ended()


def test_it_ends_with_its_block_even_when_the_guard_was_killed(tmp_path: Path) -> None:
    with run_broker(tmp_path) as broker:
        java = psutil.Process(broker.pid)
        guard = java.parent()
        assert guard is not None
        guard.kill()
        assert eventually(lambda: not _runs(guard))
        assert broker.is_alive
    assert eventually(lambda: not _runs(java))


def test_data_of_a_kafka_killed_in_the_act_is_used_again(tmp_path: Path) -> None:
    with run_broker(tmp_path) as broker:
        create_topic(broker)
        publish(broker, b"one")
        os.kill(broker.pid, signal.SIGKILL)
        assert eventually(lambda: not broker.is_alive)
    with run_broker(tmp_path) as broker:
        assert consume(broker, 1) == [b"one"]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def repository() -> Path:
    """Give everything a download of Kafka asks for: the cache keeps it in the shape it was fetched in."""
    return next(folder for folder in class_path(print)[0].parents if folder.name == f"kafka-{KAFKA_VERSION}")


def test_jars_are_fetched_once_and_fetched_again_when_one_was_damaged(repository: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with serving(repository) as address:
        jars = class_path(lines.append, cache_dir=tmp_path, repository_url=address)
    assert len(jars) == 46
    assert lines[0] == f"Kafka 4.1.1: fetching it from {address}, 44 MB, this once"
    assert lines[-1] == "Kafka 4.1.1: 46 jars are here"
    # Nobody serves any more
    assert class_path(lines.append, cache_dir=tmp_path, repository_url=address) == jars

    os.truncate(jars[0], 1000)
    with pytest.raises(BrokerError, match="could not be fetched"):
        class_path(lines.append, cache_dir=tmp_path, repository_url=address)
    with serving(repository) as address:
        assert class_path(lines.append, cache_dir=tmp_path, repository_url=address) == jars


def test_a_jar_that_was_changed_later_is_not_used(repository: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(repository, tmp_path / repository.name)
    path = next(changed.rglob("kafka-clients-*.jar"))
    before = path.stat()
    with path.open("r+b") as jar:
        jar.seek(before.st_size // 2)
        byte = jar.read(1)
        jar.seek(-1, os.SEEK_CUR)
        jar.write(bytes([byte[0] ^ 1]))
    # Neither the size nor the time tells.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with serving(tmp_path) as address:
        pass
    with pytest.raises(BrokerError, match="could not be fetched"):
        class_path(print, cache_dir=tmp_path, repository_url=address)
    with serving(changed) as address, pytest.raises(BrokerError, match="is not what was published"):
        class_path(print, cache_dir=tmp_path, repository_url=address)


def test_jars_that_are_not_the_published_ones_are_refused(repository: Path, tmp_path: Path) -> None:
    forged = shutil.copytree(repository, tmp_path / "forged")
    with next(forged.rglob("kafka-clients-*.jar")).open("ab") as jar:
        jar.write(b"!")
    with serving(forged) as address, pytest.raises(BrokerError, match="is not what was published"):
        class_path(print, cache_dir=tmp_path / "cache", repository_url=address)


def test_a_download_that_fails_is_one_line(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        pass
    with pytest.raises(BrokerError) as nobody:
        class_path(print, cache_dir=tmp_path / "cache", repository_url=address)
    refusal = f"[Errno {errno.ECONNREFUSED}] Connection refused"
    assert str(nobody.value) == (
        f"Kafka 4.1.1 could not be fetched from {address}, which the first start needs: {refusal}"
    )
    with serving(tmp_path) as address, pytest.raises(BrokerError, match=r"404 .*kafka_2\.13-4\.1\.1\.jar") as nothing:
        class_path(print, cache_dir=tmp_path / "cache", repository_url=address)
    assert len(str(nothing.value).splitlines()) == 1
