"""What the demo says of itself once it serves: where everything is, and how to look at it."""
# `milepost demo`: everything at work on this machine, and the sample programme told to it.
#
# The worker runs in this very process, so whatever ends one ends the other; Kafka is on a leash of its own. What is
# published is kept: a demo that is started again goes on where it was.

import fcntl
import importlib
import logging
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NoReturn

from deploy.child_process import free_port
from deploy.demo.player import MILESTONES
from deploy.demo.prometheus import watching
from deploy.demo.story import PROGRAMME
from deploy.kafka.broker import DEFAULT_PORT, Broker, running_broker
from deploy.kafka.data_dir import HOST
from deploy.kafka.errors import BrokerError
from models.settings import Settings, read_settings

if TYPE_CHECKING:
    from deploy.demo.story import Story


#: A launch that waits for the park that slips.
TENANT_LAUNCH: Final = f"{PROGRAMME}/tomographic-scanners/production-launched"
#: Settings by which other commands reach what the demo runs.
_SHARED: Final = ("kafka", "kafka_security", "database", "web")


def introduction(settings: Settings, theirs: Settings, pages: Sequence[str], example: Path) -> Iterator[str]:
    """Give the lines; `theirs` are the settings that other commands in this folder read by themselves.

    `pages` are lines on what watches the worker.
    """
    milestones, milepost = f"http://{settings.web}{MILESTONES}", _command()
    yield f"kafka     {settings.kafka}"
    yield f"database  {settings.database}"
    yield f"metrics   {milestones}"
    yield f"board     http://{settings.web}/"
    yield from pages
    for name in _SHARED:
        if (value := getattr(settings, name)) != getattr(theirs, name):
            yield f"export MILEPOST_{name.upper()}={shlex.quote(value)}"
    yield ""
    yield f"Open http://{settings.web}/ in a browser: it shows which gate slips, and whom that holds up."
    yield "To look at it, in this folder:"
    yield f"  curl -s {milestones} | grep 'actual.*tomographic-scanners.*agreement-signed'"
    yield f"  {milepost} status {PROGRAMME}"
    yield f"  {milepost} explain {TENANT_LAUNCH}"
    yield f"  {milepost} history {TENANT_LAUNCH}"
    yield f"  {milepost} dead-letters list"
    yield f"  {milepost} publish {example}"
    yield ""


def _command() -> str:
    """Return how `milepost` is called from this folder."""
    script = Path(sys.executable).with_name("milepost")
    if shutil.which("milepost") == str(script):
        return "milepost"
    folder = Path.cwd()
    return shlex.quote(str(script.relative_to(folder) if script.is_relative_to(folder) else script))


FOLDER: Final = Path(".milepost")
LOG: Final = FOLDER / "worker.log"
#: The day the story is told for: the first on which it was told in this folder.
DAY: Final = FOLDER / "sample-day"
EXAMPLE: Final = FOLDER / "example.jsonl"
_LOCK: Final = FOLDER / "demo.lock"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: What takes a second or two to load, and is needed when Kafka is up.
_HEAVY: Final = ("streams.worker", "deploy.init")
_LOOK_SECONDS: Final = 0.5
_STORY_DAYS: Final = 1000


class _EndedError(Exception):
    """There is nothing left to tell the story to."""


class DemoError(BrokerError):
    """The demo cannot run; the message is one line: what, where, what to do."""


def run_demo() -> NoReturn:
    """Run until SIGINT or SIGTERM, then exit with 0; with the worker's status when the worker ends by itself."""
    for number in _SIGNALS:
        signal.signal(number, _stop)
    try:
        with _only_demo() as killed:
            status = _run(after_kill=killed)
    finally:
        # Whatever is left is over in a moment; being told once more changes nothing.
        _ignore_signals()
    if status:
        sys.stderr.write(f"milepost: the worker ended by itself with status {status}: {LOG} tells why\n")
    else:
        _say(f"Stopped. What was published is kept in {FOLDER}: `milepost demo` goes on from there")
    raise SystemExit(status)


def _run(*, after_kill: bool) -> int:
    _log_to_file()
    mine = read_settings()
    _say(f"Starting Kafka, a database and a worker in {FOLDER}")
    # Java takes its seconds; meanwhile Python loads what comes after it.
    threading.Thread(target=lambda: [importlib.import_module(name) for name in _HEAVY], daemon=True).start()
    with running_broker(FOLDER / "kafka", port=_kafka_port(mine)) as broker:
        settings = read_settings(
            kafka=broker.bootstrap,
            kafka_security="PLAINTEXT",
            database=f"sqlite:///{FOLDER}/milepost.db",
            web=_web(mine),
            # A killed worker keeps its place in the group until Kafka misses it, ten seconds later. A new group does
            # not wait for that, and loses nothing: where to go on is in the database.
            group=f"{mine.group}-{token_hex(4)}" if after_kill else mine.group,
            # The story begins up to a year and a half before its day, and all of it is to be seen.
            keep_days=max(mine.keep_days, _STORY_DAYS),
        )
        from deploy.init import prepare  # noqa: PLC0415 - heavy, and loaded while Kafka started
        from deploy.worker import run_worker  # noqa: PLC0415 - as above

        for _line in prepare(settings):
            pass
        with watching(FOLDER / "prometheus", settings) as pages:
            telling = _Telling(broker, settings, mine, pages)
            telling.start()
            try:
                status = run_worker(settings)
            except SystemExit:
                # Told to stop before the worker listened to signals itself
                status = 0
            finally:
                _ignore_signals()
                telling.ending.set()
    if telling.failure is not None:
        raise telling.failure
    return status


class _Telling(threading.Thread):
    """Tells the story beside the worker, and ends the demo when that or Kafka fails."""

    def __init__(self, broker: Broker, settings: Settings, mine: Settings, pages: Sequence[str]) -> None:
        super().__init__(name="telling", daemon=True)
        self.ending = threading.Event()
        self.failure: Exception | None = None
        self._broker, self._settings, self._mine, self._pages = broker, settings, mine, pages

    def run(self) -> None:
        """Tell the story, then stay to see whether Kafka lives."""
        try:
            self._tell()
            while True:
                self._stay(_LOOK_SECONDS)
        except _EndedError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the main thread raises it again
            self.failure = error
        # While the demo ends, nothing that fails here is news.
        if self.ending.is_set():
            return
        if not self._broker.alive:
            # A worker would wait for Kafka until its deadline, and this one's does not come back. Ending hard is safe:
            # the database says where to go on.
            sys.stderr.write(f"milepost: Kafka ended by itself: its log is {self._broker.log}\n")
            sys.stderr.flush()
            os._exit(1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _tell(self) -> None:
        from deploy.demo.player import Teller  # noqa: PLC0415 - as above
        from models.database.engine import connect  # noqa: PLC0415 - as above

        story = _story()
        engine = connect(self._settings.database)
        teller = Teller(self._settings, engine, story, say=_say, stay=self._stay)
        lines = teller.open()
        for line in (*introduction(self._settings, self._mine, self._pages, EXAMPLE), *lines):
            _say(line)
        teller.go_on()
        _say("That is the story. Everything keeps running; Ctrl-C ends it")

    def _stay(self, seconds: float) -> None:
        if self.ending.wait(seconds) or not self._broker.alive:
            raise _EndedError


def _story() -> "Story":
    from deploy.demo.story import story  # noqa: PLC0415 - loaded while Kafka started
    from models.domain.cloudevents import encode_structured  # noqa: PLC0415 - as above

    try:
        day = date.fromisoformat(DAY.read_text().strip())
    except (FileNotFoundError, ValueError):
        day = datetime.now(UTC).date()  # noqa: TID251 - the edge: here the clock comes in
        DAY.write_text(f"{day}\n")
    told = story(day)
    EXAMPLE.write_bytes(encode_structured(told.example)[1] + b"\n")
    return told


@contextmanager
def _only_demo() -> Iterator[bool]:
    """Keep a second demo out of this folder, and tell whether the last was killed. The lock goes with the process."""
    FOLDER.mkdir(exist_ok=True)
    with _LOCK.open("a+") as held:
        held.seek(0)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = held.read().strip() or "unknown"
            raise DemoError(
                f"a demo runs in this folder already (pid {pid}): look at that one, or end it with Ctrl-C or"
                f" `kill {pid}`"
            ) from None
        killed = bool(held.read())
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        yield killed
        # Only who ends in good order gets here.
        held.truncate(0)


def _kafka_port(mine: Settings) -> int | None:
    """Return the port that other commands here expect Kafka on, when that is this machine's and free."""
    host, _, port = mine.kafka.rpartition(":")
    return free_port(HOST, int(port) if host in {HOST, "localhost"} else DEFAULT_PORT)


def _web(mine: Settings) -> str:
    host, _, port = mine.web.rpartition(":")
    return f"{host}:{free_port(host.strip('[]'), int(port))}"


def _log_to_file() -> None:
    """Let the worker log to a file: the terminal is for the story."""
    logging.basicConfig(filename=LOG, level=logging.WARNING, format="%(asctime)s %(levelname)-8s %(name)s: %(message)s")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _stop(_number: int, _frame: object) -> NoReturn:
    # Told to stop, it stops: unwinding ends Kafka, and that is no failure.
    _ignore_signals()
    raise SystemExit(0)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
