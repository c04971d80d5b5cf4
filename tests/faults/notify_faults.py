"""Faults of those who are told: one target down, one slow; the third is told on time, and a kill loses nothing."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final

from models.domain.timestamps import epoch_seconds, parse_instant
from tests.faults.fault import Fault
from tests.faults.load import shuffled_events
from tests.faults.resources import ProcessResources
from tests.faults.scenario import Scenario, measure_recovery
from tests.helpers.notify import notify_process, read_group, system_block, write_targets
from tests.helpers.oracle import DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN, JsonEvent
from tests.helpers.webhooks import Reply, Request, receiver
from tests.helpers.workers import WorkerProcess, wait_until

#: A longer run says so.
_SECONDS: Final = float(os.environ.get("MILEPOST_TEST_NOTIFY_SECONDS", "60"))
_SLOW_SECONDS: Final = 3.0
#: From when a change is noticed by the worker until the target that is well has it.
_MAX_P99_SECONDS: Final = 5.0
_TARGETS: Final = ("down", "slow", "well")
#: Each of them moves something, and with it what waits for that.
_EVENTS_PER_SECOND: Final = 20.0
_EVENTS_PER_CHUNK: Final = 5_000
#: Of dependencies one in so many is said: soon everything would wait for everything else.
_DEPENDENCY_EVERY: Final = 20


def _events_of_the_present(seed: int) -> Iterator[JsonEvent]:
    """Yield events without end, each with the time at which it is taken: the newest of all."""
    for part in itertools.count():
        for number, event in enumerate(shuffled_events(seed * 1_000_000 + part, _EVENTS_PER_CHUNK)):
            if event["type"] in {DEPENDENCY_DECLARED, DEPENDENCY_WITHDRAWN} and number % _DEPENDENCY_EVERY:
                continue
            event.pop("recordedtime", None)
            yield event | {"time": datetime.now(UTC).isoformat()}


class _Slow(threading.Event):
    """Lets go after a while."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(min(timeout or _SLOW_SECONDS, _SLOW_SECONDS))


def _is_reading(notify: WorkerProcess, scenario: Scenario) -> bool:
    page = notify.scrape()
    partitions = scenario.settings.partitions
    return all(page.value("milepost_notify_assigned_partitions", target=name) == partitions for name in _TARGETS)


def tell_one_target_while_others_are_ill(scenario: Scenario) -> float:
    """Tell three targets, of which one is down and one is slow, and kill the process (-9) at the end."""
    delays: list[float] = []

    def take(request: Request) -> Reply:
        event = request.event
        delays.append(time.time() - epoch_seconds(parse_instant(event["time"])))
        return Reply()

    with ExitStack() as stack:
        slow, well = stack.enter_context(receiver()), stack.enter_context(receiver())
        slow.reply, well.reply = lambda _request: Reply(204, {}, _Slow()), take
        urls = ("http://127.0.0.1:1/hook", slow.url, well.url)
        blocks = [system_block(name, url) for name, url in zip(_TARGETS, urls, strict=True)]
        targets = write_targets(scenario.folder, *blocks)
        with notify_process(scenario.settings, scenario.folder, targets) as notify:
            wait_until(lambda: _is_reading(notify, scenario), "all targets are read for")
            delays.clear()
            ends = time.monotonic() + _SECONDS
            wait_until(lambda: time.monotonic() > ends, "the load goes on for a while", _SECONDS + 10)
            measured = sorted(delays)
            assert len(measured) > 100, len(measured)
            p99 = measured[len(measured) * 99 // 100]
            waiting = {name: notify.scrape().value("milepost_notify_waiting", target=name) for name in _TARGETS}
            median = measured[len(measured) // 2]
            print(  # noqa: T201 - docs/reliability.md has these figures
                f"{len(measured):,} changes told; p50 {median:.2f} s, p99 {p99:.2f} s, at most {measured[-1]:.2f} s;"
                f" waiting {waiting}; {ProcessResources.measure(notify.pid)}; load {os.getloadavg()}",
                flush=True,
            )
            assert p99 < _MAX_P99_SECONDS, p99
            os.kill(notify.pid, signal.SIGKILL)
            notify.process.wait()
        with notify_process(scenario.settings, scenario.folder, targets) as notify:
            wait_until(lambda: _is_reading(notify, scenario), "another process reads for all targets")
            scenario.load.stop()
            wait_until(lambda: _has_told_all(scenario), "the target that is well is told of all", 120)
    return measure_recovery(scenario)


def _has_told_all(scenario: Scenario) -> bool:
    _, ends = scenario.log_offsets(scenario.settings.changes_topic)
    trackers = read_group(scenario.settings, "well")
    return sum(min(each.pending(), default=each.next_offset) for each in trackers) == sum(ends.values())


FAULTS: Mapping[str, Fault] = {
    "of three targets one down and one slow, and notify killed (-9)": Fault(
        tell_one_target_while_others_are_ill, load=_events_of_the_present, rate=_EVENTS_PER_SECOND
    ),
}
