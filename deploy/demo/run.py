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
from deploy.demo.player import MILESTONES_METRICS_PATH
from deploy.demo.prometheus import run_demo_prometheus
from deploy.demo.story import PROGRAMME
from deploy.kafka.broker import DEFAULT_KAFKA_PORT, RunningBroker, run_broker
from deploy.kafka.data_dir import KAFKA_HOST
from models.errors import MilepostError
from models.settings import Settings, read_settings

if TYPE_CHECKING:
    from deploy.demo.story import Story


#: A launch that waits for the park that slips.
TENANT_LAUNCH: Final = f"{PROGRAMME}/tomographic-scanners/production-launched"
#: Settings by which other commands reach what the demo runs.
_SHARED_SETTINGS: Final = ("kafka", "kafka_security", "database", "web")


def introduction_lines(
    settings: Settings, user_settings: Settings, monitoring_lines: Sequence[str], example_file: Path
) -> Iterator[str]:
    """Give the lines; `theirs` are the settings that other commands in this folder read by themselves.

    `pages` are lines on what watches the worker.
    """
    milestones, milepost = f"http://{settings.web}{MILESTONES_METRICS_PATH}", _milepost_command()
    yield f"kafka     {settings.kafka}"
    yield f"database  {settings.database}"
    yield f"metrics   {milestones}"
    yield f"board     http://{settings.web}/"
    yield from monitoring_lines
    for name in _SHARED_SETTINGS:
        if (value := getattr(settings, name)) != getattr(user_settings, name):
            yield f"export MILEPOST_{name.upper()}={shlex.quote(value)}"
    yield ""
    yield f"Open http://{settings.web}/ in a browser: it shows which gate slips, and whom that holds up."
    yield "To look at it, in this folder:"
    yield f"  curl -s {milestones} | grep 'actual.*tomographic-scanners.*agreement-signed'"
    yield f"  {milepost} status {PROGRAMME}"
    yield f"  {milepost} explain {TENANT_LAUNCH}"
    yield f"  {milepost} history {TENANT_LAUNCH}"
    yield f"  {milepost} dead-letters list"
    yield f"  {milepost} publish {example_file}"
    yield ""


def _milepost_command() -> str:
    """Return how `milepost` is called from this folder."""
    script = Path(sys.executable).with_name("milepost")
    if shutil.which("milepost") == str(script):
        return "milepost"
    folder = Path.cwd()
    return shlex.quote(str(script.relative_to(folder) if script.is_relative_to(folder) else script))


DEMO_DIR: Final = Path(".milepost")
WORKER_LOG_FILE: Final = DEMO_DIR / "worker.log"
#: The day the story is told for: the first on which it was told in this folder.
STORY_DAY_FILE: Final = DEMO_DIR / "sample-day"
EXAMPLE_FILE: Final = DEMO_DIR / "example.jsonl"
_LOCK_FILE: Final = DEMO_DIR / "demo.lock"
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: What takes a second or two to load, and is needed when Kafka is up.
_PRELOADED_MODULES: Final = ("streams.worker", "deploy.init")
_HEALTH_POLL_S: Final = 0.5
_MIN_KEEP_DAYS: Final = 1000


class _DemoStoppedError(Exception):
    """There is nothing left to tell the story to."""


def run_demo() -> NoReturn:
    """Run until SIGINT or SIGTERM, then exit with 0; with the worker's status when the worker ends by itself."""
    for number in _STOP_SIGNALS:
        signal.signal(number, _exit_on_signal)
    try:
        with _lock_demo_dir() as killed:
            status = _run_everything(was_killed=killed)
    finally:
        # Whatever is left is over in a moment; being told once more changes nothing.
        _ignore_signals()
    if status:
        sys.stderr.write(f"milepost: the worker ended by itself with status {status}: {WORKER_LOG_FILE} tells why\n")
    else:
        _print_line(f"Stopped. What was published is kept in {DEMO_DIR}: `milepost demo` goes on from there")
    raise SystemExit(status)


def _run_everything(*, was_killed: bool) -> int:
    _log_to_file()
    mine = read_settings()
    _print_line(f"Starting Kafka, a database and a worker in {DEMO_DIR}")
    # Java takes its seconds; meanwhile Python loads what comes after it.
    threading.Thread(target=lambda: [importlib.import_module(name) for name in _PRELOADED_MODULES], daemon=True).start()
    with run_broker(DEMO_DIR / "kafka", port=_choose_kafka_port(mine)) as broker:
        settings = read_settings(
            kafka=broker.bootstrap_servers,
            kafka_security="PLAINTEXT",
            database=f"sqlite:///{DEMO_DIR}/milepost.db",
            web=_choose_web_address(mine),
            # A killed worker keeps its place in the group until Kafka misses it, ten seconds later. A new group does
            # not wait for that, and loses nothing: where to go on is in the database.
            group=f"{mine.group}-{token_hex(4)}" if was_killed else mine.group,
            # The story begins up to a year and a half before its day, and all of it is to be seen.
            keep_days=max(mine.keep_days, _MIN_KEEP_DAYS),
        )
        from deploy.init import create_schema_and_topics  # noqa: PLC0415 - heavy, and loaded while Kafka started
        from deploy.worker import run_worker  # noqa: PLC0415 - as above

        for _line in create_schema_and_topics(settings):
            pass
        with run_demo_prometheus(DEMO_DIR / "prometheus", settings) as pages:
            telling = _PlayerThread(broker, settings, mine, pages)
            telling.start()
            try:
                status = run_worker(settings)
            except SystemExit:
                # Told to stop before the worker listened to signals itself
                status = 0
            finally:
                _ignore_signals()
                telling.stop_event.set()
    if telling.failure is not None:
        raise telling.failure
    return status


class _PlayerThread(threading.Thread):
    """Tells the story beside the worker, and ends the demo when that or Kafka fails."""

    def __init__(
        self, broker: RunningBroker, settings: Settings, user_settings: Settings, monitoring_lines: Sequence[str]
    ) -> None:
        super().__init__(name="telling", daemon=True)
        self.stop_event = threading.Event()
        self.failure: Exception | None = None
        self._broker, self._settings, self._user_settings, self._monitoring_lines = (
            broker,
            settings,
            user_settings,
            monitoring_lines,
        )

    def run(self) -> None:
        """Tell the story, then stay to see whether Kafka lives."""
        try:
            self._play()
            while True:
                self._wait_or_stop(_HEALTH_POLL_S)
        except _DemoStoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the main thread raises it again
            self.failure = error
        # While the demo ends, nothing that fails here is news.
        if self.stop_event.is_set():
            return
        if not self._broker.is_alive:
            # A worker would wait for Kafka until its deadline, and this one's does not come back. Ending hard is safe:
            # the database says where to go on.
            sys.stderr.write(f"milepost: Kafka ended by itself: its log is {self._broker.log_file}\n")
            sys.stderr.flush()
            os._exit(1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _play(self) -> None:
        from deploy.demo.player import StoryPlayer  # noqa: PLC0415 - as above
        from models.database.engine import make_engine  # noqa: PLC0415 - as above

        story = _load_story()
        engine = make_engine(self._settings.database)
        teller = StoryPlayer(self._settings, engine, story, print_line=_print_line, pause=self._wait_or_stop)
        lines = teller.publish_opening()
        for line in (
            *introduction_lines(self._settings, self._user_settings, self._monitoring_lines, EXAMPLE_FILE),
            *lines,
        ):
            _print_line(line)
        teller.play_scenes()
        _print_line("That is the story. Everything keeps running; Ctrl-C ends it")

    def _wait_or_stop(self, seconds: float) -> None:
        if self.stop_event.wait(seconds) or not self._broker.is_alive:
            raise _DemoStoppedError


def _load_story() -> "Story":
    from deploy.demo.story import build_story  # noqa: PLC0415 - loaded while Kafka started
    from models.domain.cloudevents import encode_structured  # noqa: PLC0415 - as above

    try:
        day = date.fromisoformat(STORY_DAY_FILE.read_text().strip())
    except (FileNotFoundError, ValueError):
        day = datetime.now(UTC).date()  # noqa: TID251 - the edge: here the clock comes in
        STORY_DAY_FILE.write_text(f"{day}\n")
    told = build_story(day)
    EXAMPLE_FILE.write_bytes(encode_structured(told.example_event)[1] + b"\n")
    return told


@contextmanager
def _lock_demo_dir() -> Iterator[bool]:
    """Keep a second demo out of this folder, and tell whether the last was killed. The lock goes with the process."""
    DEMO_DIR.mkdir(exist_ok=True)
    with _LOCK_FILE.open("a+") as held:
        held.seek(0)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = held.read().strip() or "unknown"
            raise MilepostError(
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


def _choose_kafka_port(user_settings: Settings) -> int | None:
    """Return the port that other commands here expect Kafka on, when that is this machine's and free."""
    host, _, port = user_settings.kafka.rpartition(":")
    return free_port(KAFKA_HOST, int(port) if host in {KAFKA_HOST, "localhost"} else DEFAULT_KAFKA_PORT)


def _choose_web_address(user_settings: Settings) -> str:
    host, _, port = user_settings.web.rpartition(":")
    return f"{host}:{free_port(host.strip('[]'), int(port))}"


def _log_to_file() -> None:
    """Let the worker log to a file: the terminal is for the story."""
    logging.basicConfig(
        filename=WORKER_LOG_FILE, level=logging.WARNING, format="%(asctime)s %(levelname)-8s %(name)s: %(message)s"
    )


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _exit_on_signal(_number: int, _frame: object) -> NoReturn:
    # Told to stop, it stops: unwinding ends Kafka, and that is no failure.
    _ignore_signals()
    raise SystemExit(0)


def _ignore_signals() -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
