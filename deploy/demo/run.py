"""`milepost demo`: Kafka, SQLite, a worker and a gateway on this machine, and the sample programme played to them.

The worker and the gateway run in this process, so whatever ends one ends the other; Kafka runs under a guard process.
What was published stays in `.milepost`: a demo that starts again continues there.
"""

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
from typing import Final, NoReturn

from consumers.client import admin_client, count_partitions
from consumers.gateway import GatewayClient, read_token
from deploy.child_process import free_port
from deploy.demo.player import MILESTONES_METRICS_PATH, StoryPlayer
from deploy.demo.prometheus import run_demo_prometheus
from deploy.demo.story import PROGRAMME, SOURCES, Story, build_story
from deploy.file_lock import FileLockedError, lock_file, write_holder
from deploy.kafka.broker import DEFAULT_KAFKA_PORT, RunningBroker, run_broker
from deploy.kafka.data_dir import KAFKA_HOST
from models.configured_engine import make_configured_engine
from models.data_folder import DATA_FOLDER, make_folder
from models.domain.cloudevents import encode_structured
from models.errors import MilepostError
from models.setting_values import split_address
from models.settings import Settings, read_settings

_DEMO_DIR: Final = Path(DATA_FOLDER)
_WORKER_LOG_FILE: Final = _DEMO_DIR / "worker.log"
#: The story's day: the first on which it was played in this folder.
_STORY_DAY_FILE: Final = _DEMO_DIR / "sample-day"
#: A part of the source code; an installed package is without it.
_RELEASES_FILE: Final = Path(__file__).parents[2] / "docs" / "examples" / "python-releases.jsonl"
_EXAMPLE_FILE: Final = _DEMO_DIR / "example.jsonl"
#: A launch that waits for the park that slips
_TENANT_LAUNCH: Final = f"{PROGRAMME}/tomographic-scanners/production-launched"
#: The settings by which other commands reach what the demo runs
_SHARED_SETTINGS: Final = ("kafka", "kafka_security_protocol", "database", "web", "gateway")
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class _DemoStoppedError(Exception):
    """The demo ends while the story is played."""


def run_demo() -> NoReturn:
    """Run until SIGINT or SIGTERM, then exit with 0; with the worker's status when the worker ends by itself."""
    for number in _STOP_SIGNALS:
        signal.signal(number, _exit_on_signal)
    try:
        with _lock_demo_dir() as was_killed:
            status = _run_everything(was_killed=was_killed)
    finally:
        # Everything ends in a moment; another signal changes nothing.
        _ignore_signals()
    if status:
        sys.stderr.write(f"milepost: the worker ended by itself with status {status}: {_WORKER_LOG_FILE} tells why\n")
    else:
        _print_line(f"Stopped. What was published is kept in {_DEMO_DIR}: `milepost demo` goes on from there")
    raise SystemExit(status)


@contextmanager
def _lock_demo_dir() -> Iterator[bool]:
    """Keep a second demo out of this folder; yield whether the last one was killed."""
    make_folder(_DEMO_DIR)
    try:
        lock = lock_file(_DEMO_DIR / "demo.lock")
    except FileLockedError as error:
        pid = error.holder or "unknown"
        raise MilepostError(
            f"a demo runs in this folder already (pid {pid}): look at that one, or end it with Ctrl-C or `kill {pid}`"
        ) from None
    with lock:
        lock.seek(0)
        was_killed = bool(lock.read())
        write_holder(lock, str(os.getpid()))
        yield was_killed
        # Reached by an orderly end only
        write_holder(lock, "")


def _run_everything(*, was_killed: bool) -> int:
    # The terminal is for the story.
    logging.basicConfig(
        filename=_WORKER_LOG_FILE, level=logging.WARNING, format="%(asctime)s %(levelname)-8s %(name)s: %(message)s"
    )
    user_settings = read_settings()
    _print_line(f"Starting Kafka, a database and a worker in {_DEMO_DIR}")
    # Loading the worker takes a second or two, as long as Java needs to start.
    threading.Thread(
        target=lambda: [
            importlib.import_module(name)
            for name in ("streams.worker", "deploy.init", "deploy.demo.gateway", "deploy.demo.notify")
        ],
        daemon=True,
    ).start()
    with run_broker(_DEMO_DIR / "kafka", port=_choose_kafka_port(user_settings)) as broker:
        settings = read_settings(
            kafka=broker.bootstrap_servers,
            kafka_security_protocol="PLAINTEXT",
            database=f"sqlite:///{_DEMO_DIR}/milepost.db",
            web=_choose_address(user_settings.web),
            gateway=_choose_address(user_settings.gateway),
            # Kafka keeps a killed worker in its group for ten seconds. A new group need not wait for that, and loses
            # nothing, because the positions are in the database.
            group=f"{user_settings.group}-{token_hex(4)}" if was_killed else user_settings.group,
            # The story begins up to a year and a half before its day, and all of it has to be visible.
            keep_days=max(user_settings.keep_days, 1000),
        )
        from deploy.demo.gateway import ensure_demo_token, run_demo_gateway  # noqa: PLC0415 - loads aiohttp, as below
        from deploy.init import create_schema_and_topics  # noqa: PLC0415 - loads Alembic, while Kafka starts
        from deploy.logging_setup import set_up_logging  # noqa: PLC0415 - loads SQLAlchemy, as above
        from deploy.worker import run_worker_once, start_anew  # noqa: PLC0415 - as above

        settings = _with_partitions_there_are(settings)
        for _line in create_schema_and_topics(settings):
            pass
        tokens, token_file = ensure_demo_token(_DEMO_DIR, SOURCES)
        settings = settings.model_copy(update={"gateway_tokens": tokens})
        with (
            run_demo_gateway(settings),
            run_demo_prometheus(_DEMO_DIR / "prometheus", settings) as monitoring_lines,
        ):
            introduction = _introduction_lines(settings, user_settings, token_file, monitoring_lines)
            player = _PlayerThread(broker, settings, token_file, introduction)
            player.start()
            set_up_logging(settings.log)
            try:
                status = run_worker_once(settings)
            except SystemExit:
                # Stopped before the worker handled signals itself
                status = 0
            finally:
                _ignore_signals()
                player.stop_event.set()
    if player.failure is not None:
        raise player.failure
    if status is None:
        # Only now: what is started has to find the ports free that others here know.
        start_anew()
    return status


def _with_partitions_there_are(settings: Settings) -> Settings:
    """Return settings that ask for as many partitions as the topics have, where somebody enlarged them."""
    with admin_client(settings) as admin:
        partitions = count_partitions(admin, [settings.events_topic])
    return settings.model_copy(update={"partitions": partitions.get(settings.events_topic, settings.partitions)})


def _choose_kafka_port(user_settings: Settings) -> int:
    """Return the port on which other commands here expect Kafka, when that is this machine's and free."""
    host, _, port = user_settings.kafka.rpartition(":")
    return free_port(KAFKA_HOST, int(port) if host in {KAFKA_HOST, "localhost"} else DEFAULT_KAFKA_PORT)


def _choose_address(preferred: str) -> str:
    return f"{preferred.rpartition(':')[0]}:{free_port(*split_address(preferred))}"


class _PlayerThread(threading.Thread):
    """Plays the story beside the worker, and ends the demo when that or Kafka fails."""

    def __init__(
        self, broker: RunningBroker, settings: Settings, token_file: Path, introduction: Iterator[str]
    ) -> None:
        super().__init__(name="story-player", daemon=True)
        self.stop_event = threading.Event()
        self.failure: Exception | None = None
        self._broker, self._settings = broker, settings
        self._token_file, self._introduction = token_file, introduction

    def run(self) -> None:
        """Play the story, then watch whether Kafka lives."""
        try:
            self._play()
            while True:
                self._wait_or_stop(0.5)
        except _DemoStoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self.failure = error
        # While the demo ends, a failure here means nothing.
        if self.stop_event.is_set():
            return
        if not self._broker.is_alive:
            # The worker would wait for Kafka until its deadline, and this Kafka does not come back. Ending at once is
            # safe: the positions are in the database.
            sys.stderr.write(f"milepost: Kafka ended by itself: its log is {self._broker.log_file}\n")
            sys.stderr.flush()
            os._exit(1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _play(self) -> None:
        engine = make_configured_engine(self._settings)
        gateway = GatewayClient(f"http://{self._settings.gateway}", read_token(self._token_file), _print_line)
        player = StoryPlayer(self._settings, engine, _load_story(), gateway, _print_line, self._wait_or_stop)
        opening_lines = player.publish_opening()
        for line in (*self._introduction, *opening_lines):
            _print_line(line)
        from deploy.demo.notify import run_demo_notify  # noqa: PLC0415 - loads aiokafka

        # A summary of all that was known in the morning would drown the slip.
        player.wait_until_opening_is_told()
        with run_demo_notify(self._settings, engine) as messages:
            player.play_scenes(messages.wait_for)
        _print_line("That is the story. Everything keeps running; Ctrl-C ends it")

    def _wait_or_stop(self, seconds: float) -> None:
        if self.stop_event.wait(seconds) or not self._broker.is_alive:
            raise _DemoStoppedError


def _load_story() -> Story:
    try:
        day = date.fromisoformat(_STORY_DAY_FILE.read_text().strip())
    except (FileNotFoundError, ValueError):
        day = datetime.now(UTC).date()  # noqa: TID251 - the clock of the demo
        _STORY_DAY_FILE.write_text(f"{day}\n")
    story = build_story(day)
    _EXAMPLE_FILE.write_bytes(encode_structured(story.example_event)[1] + b"\n")
    return story


def _introduction_lines(
    settings: Settings, user_settings: Settings, token_file: Path, monitoring_lines: Sequence[str]
) -> Iterator[str]:
    """Yield where everything is and how to look at it; `user_settings` are what other commands here read."""
    script = Path(sys.executable).with_name("milepost")
    on_path, inside = shutil.which("milepost") == str(script), script.is_relative_to(Path.cwd())
    milepost = "milepost" if on_path else shlex.quote(str(script.relative_to(Path.cwd()) if inside else script))
    milestones = f"http://{settings.web}{MILESTONES_METRICS_PATH}"
    yield from (f"kafka     {settings.kafka}", f"database  {settings.database}", f"metrics   {milestones}")
    yield from (f"board     http://{settings.web}/", *monitoring_lines)
    yield f"gateway   http://{settings.gateway}/events with the token in {token_file}"
    for name in _SHARED_SETTINGS:
        if (value := getattr(settings, name)) != getattr(user_settings, name):
            yield f"export MILEPOST_{name.upper()}={shlex.quote(value)}"
    yield ""
    yield f"Open http://{settings.web}/ in a browser: it shows which gate slips, and which milestones that holds up."
    yield "To look at it, in this folder:"
    yield f"  curl -s {milestones} | grep 'actual.*tomographic-scanners.*agreement-signed'"
    inspect = (f"status {PROGRAMME}", f"explain {_TENANT_LAUNCH}", f"history {_TENANT_LAUNCH}", "dead-letters list")
    for command in (*inspect, f"publish {_EXAMPLE_FILE}"):
        yield f"  {milepost} {command}"
    if _RELEASES_FILE.exists():
        releases = (
            _RELEASES_FILE.relative_to(Path.cwd()) if _RELEASES_FILE.is_relative_to(Path.cwd()) else _RELEASES_FILE
        )
        yield "A real past beside it, ten years of releases of Python:"
        yield f"  {milepost} publish {shlex.quote(str(releases))}"
    yield ""


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _exit_on_signal(_number: int, _frame: object) -> NoReturn:
    # Unwinding ends Kafka, and a requested stop is no failure.
    _ignore_signals()
    raise SystemExit(0)


def _ignore_signals() -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
