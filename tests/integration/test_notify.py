"""`milepost notify` as a process with a real Kafka: every change once at least, in each milestone's order."""

import asyncio
import json
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.notify import channel_factory, find_problem
from models.configured_engine import open_configured_engine
from models.settings import Settings
from streams.clock import Clock
from streams.kafka.compat import MAX_FETCH_BYTES
from streams.notify.group import read_trackers
from streams.notify.process import Notifier
from streams.notify.targets import TargetsFile
from tests.helpers.notify import notify_process, open_milestones, row, system_block, write_changes, write_targets
from tests.helpers.webhooks import Reply, receiver
from tests.helpers.workers import WorkerProcess, publish_records, wait_until, wait_until_async


def wait_for_group(notify: WorkerProcess, *names: str) -> None:
    """Wait until the groups of targets have begun: what is published from now on is theirs."""
    wait_until(lambda: all(_has_begun(notify, name) for name in names), "the groups have begun")


def _has_begun(notify: WorkerProcess, name: str) -> bool:
    return notify.scrape().value("milepost_notify_assigned_partitions", target=name) == 4


def subjects(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["milestone"] for event in events]


def in_order_by_milestone(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the ids of each milestone in the order of their first delivery."""
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        of_milestone = ids[event["data"]["milestone"]]
        if event["id"] not in of_milestone:
            of_milestone.append(event["id"])
    return dict(ids)


def test_a_new_target_is_told_of_what_comes_and_not_of_the_past(sqlite_settings: Settings, tmp_path: Path) -> None:
    write_changes(sqlite_settings, [row(f"past-{number}") for number in range(20)])
    with receiver() as system:
        targets = write_targets(tmp_path, system_block("one", system.url))
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "one")
            written = write_changes(sqlite_settings, [row("gate", dependents=3), row("gate")])
            wait_until(lambda: len(system.requests) >= len(written), "all is told")
            assert [request.body for request in system.requests] == written
            page = notify.scrape()
            assert page.value("milepost_notify_delivered_total", target="one") == len(written)
            assert notify.stop() < sqlite_settings.stop_seconds
        assert notify.process.returncode == 0
        # Nothing is told again by the next process.
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "one")
            [last] = write_changes(sqlite_settings, [row("last")])
            wait_until(lambda: len(system.requests) > len(written), "the last is told")
            assert [request.body for request in system.requests] == [*written, last]


def test_what_is_written_before_the_first_process_has_told_anything_survives_its_death(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    with receiver() as system:
        system.reply = lambda _request: Reply(503)
        targets = write_targets(tmp_path, system_block("one", system.url))
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "one")
            written = write_changes(sqlite_settings, [row(f"milestone-{number}") for number in range(10)])
            wait_until(lambda: bool(system.requests), "the first attempt")
            os.kill(notify.pid, signal.SIGKILL)
            notify.process.wait()
        system.requests.clear()
        system.reply = lambda _request: Reply()
        with notify_process(sqlite_settings, tmp_path, targets):
            wait_until(lambda: len(system.requests) == len(written), "all is told")
            assert {request.body for request in system.requests} == {*written}


def test_a_kill_loses_nothing_and_no_milestone_is_told_out_of_order(sqlite_settings: Settings, tmp_path: Path) -> None:
    with receiver() as system:
        targets = write_targets(tmp_path, system_block("one", system.url))
        written: list[bytes] = []
        last = 2
        for number in range(last + 1):
            with notify_process(sqlite_settings, tmp_path, targets) as notify:
                wait_for_group(notify, "one")
                some = len(system.requests) + 50
                written += write_changes(sqlite_settings, [row(f"m-{index % 7}") for index in range(200)])
                wait_until(lambda some=some: len(system.requests) > some, "some are told")  # type: ignore[misc]
                if number == last:
                    missing = {*written}
                    wait_until(lambda missing=missing: {each.body for each in system.requests} >= missing, "all")  # type: ignore[misc]
                os.kill(notify.pid, signal.SIGKILL)
                notify.process.wait()
        expected = in_order_by_milestone([json.loads(event) for event in written])
        assert in_order_by_milestone([request.event for request in system.requests]) == expected


def test_what_fails_holds_up_its_milestone_alone(sqlite_settings: Settings, tmp_path: Path) -> None:
    with receiver() as system:
        system.reply = lambda request: Reply(500 if request.event["data"]["milestone"] == "stuck" else 204)
        targets = write_targets(tmp_path, system_block("one", system.url))
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "one")
            rows = [row("stuck"), row("free"), row("stuck"), *(row(f"other-{number}") for number in range(50))]
            write_changes(sqlite_settings, rows)
            wait_until(lambda: len(system.events()) == 51, "all others are told")
            stuck = [request for request in system.requests if request.event["data"]["milestone"] == "stuck"]
            assert len({request.event["id"] for request in stuck}) == 1
            assert notify.scrape().value("milepost_notify_waiting", target="one") == 2
            wait_until(lambda: open_milestones(sqlite_settings, "one") == 2, "the group remembers what is open")
            assert notify.scrape().value("milepost_notify_failing_since_timestamp_seconds", target="one") is not None
            os.kill(notify.pid, signal.SIGKILL)
            notify.process.wait()
        system.requests.clear()
        system.reply = lambda _request: Reply()
        # The next process repeats what is open, and not what was told after it.
        with notify_process(sqlite_settings, tmp_path, targets):
            wait_until(lambda: len(system.requests) >= 2, "what was stuck is told")
            assert subjects(system.events()) == ["stuck", "stuck"]


def test_a_target_that_is_down_holds_up_no_other(sqlite_settings: Settings, tmp_path: Path) -> None:
    with receiver() as well, receiver() as hanging:
        never = threading.Event()
        hanging.reply = lambda _request: Reply(204, {}, never)
        blocks = (
            system_block("down", "http://127.0.0.1:1/hook"),
            system_block("hanging", hanging.url),
            system_block("well", well.url),
        )
        targets = write_targets(tmp_path, *blocks)
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "down", "hanging", "well")
            written = write_changes(sqlite_settings, [row(f"m-{number}") for number in range(40)])
            wait_until(lambda: len(well.requests) == len(written), "the third is told")
            page = notify.scrape()
            assert page.value("milepost_notify_waiting", target="down") == len(written)
            assert page.value("milepost_notify_delivered_total", target="well") == len(written)
            assert notify.get("/ready")[0] == 200
        never.set()


def test_410_switches_a_target_off_until_its_entry_changes(sqlite_settings: Settings, tmp_path: Path) -> None:
    with receiver() as system, receiver() as other:
        system.reply = lambda _request: Reply(410)
        block = system_block("one", system.url)
        targets = write_targets(tmp_path, block, system_block("other", other.url))
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "one", "other")
            written = write_changes(sqlite_settings, [row(), row("second")])
            wait_until(lambda: notify.scrape().value("milepost_notify_off", target="one") == 1, "it is off")
            wait_until(lambda: len(other.requests) == 2, "the other is told")
            assert "410" in json.loads(notify.get("/ready")[1])["warnings"]["target one"]
            notify.stop()
        system.reply = lambda _request: Reply()
        asked = len(system.requests)
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "one", "other")
            written += write_changes(sqlite_settings, [row("third")])
            wait_until(lambda: len(other.requests) == 3, "the other is told")
            assert notify.scrape().value("milepost_notify_off", target="one") == 1
            assert len(system.requests) == asked
            # Another entry switches it on again, and it is told what it missed.
            write_targets(tmp_path, block + "min_days = 2\n", system_block("other", other.url))
            wait_until(lambda: len(system.events()) - asked == len(written), "it is told what it missed")
            assert {request.body for request in system.requests[asked:]} == {*written}
            assert notify.scrape().value("milepost_notify_off", target="one") == 0


def test_two_processes_share_the_partitions_of_a_target(sqlite_settings: Settings, tmp_path: Path) -> None:
    with receiver() as system:
        targets = write_targets(tmp_path, system_block("one", system.url))
        programmes = [f"programme-{number}" for number in range(12)]
        with (
            notify_process(sqlite_settings, tmp_path, targets) as first,
            notify_process(sqlite_settings, tmp_path, targets) as second,
        ):
            wait_until(
                lambda: (
                    [
                        process.scrape().value("milepost_notify_assigned_partitions", target="one")
                        for process in (first, second)
                    ]
                    == [2, 2]
                ),
                "each has two of the four",
            )
            written = write_changes(sqlite_settings, [row(programme=name) for name in programmes for _ in range(10)])
            wait_until(lambda: {request.body for request in system.requests} == {*written}, "all are told")
            delivered = [
                process.scrape().value("milepost_notify_delivered_total", target="one") or 0
                for process in (first, second)
            ]
            assert all(delivered), "each told its part"
            # One ends right after it told something, and the other does not tell that again.
            asked = len(system.requests)
            last = write_changes(sqlite_settings, [row(programme=name) for name in programmes])
            wait_until(lambda: len(system.requests) >= asked + len(last), "the last are told")
            second.stop()
            wait_for_group(first, "one")
            last += write_changes(sqlite_settings, [row(programme=name) for name in programmes])
            wait_until(lambda: {*last} <= {request.body for request in system.requests}, "the other goes on alone")
            assert sorted(request.body for request in system.requests[asked:]) == sorted(last)


def test_a_target_that_cannot_be_used_is_named_and_the_others_run(sqlite_settings: Settings, tmp_path: Path) -> None:
    with receiver() as system:
        blocks = (
            'name = "clear"\nurl = "http://hooks.example/"\nsecret_file = "hook.secret"\n',
            'name = "local"\nurl = "https://localhost/"\nsecret_file = "hook.secret"\n',
            system_block("well", system.url),
        )
        targets = write_targets(tmp_path, *blocks)
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "well")
            write_changes(sqlite_settings, [row()])
            wait_until(lambda: len(system.requests) == 1, "the other runs")
            assert "target clear cannot be used: http:// is sent in clear" in notify.log_text
            assert "target local cannot be used: localhost stands for" in notify.log_text
            warnings = json.loads(notify.get("/ready")[1])["warnings"]
            assert {*warnings} == {"target clear", "target local"}
            assert notify.scrape().value("milepost_notify_unusable", target="clear") == 1


def test_a_target_is_told_what_comes_after_more_than_one_fetch_may_hand_out(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    garbage = os.urandom(900 * 1024)
    records = MAX_FETCH_BYTES // len(garbage) + 4
    with receiver() as system:
        targets = write_targets(tmp_path, system_block("one", system.url))
        with notify_process(sqlite_settings, tmp_path, targets) as notify:
            wait_for_group(notify, "one")
            publish_records(sqlite_settings, [(None, [], garbage)] * records, sqlite_settings.changes_topic)
            [written] = write_changes(sqlite_settings, [row()])
            wait_until(lambda: [request.body for request in system.requests] == [written], "the change is told")
            # Records of other partitions are read apart from the change.
            wait_until(
                lambda: notify.scrape().value("milepost_notify_unreadable_total", target="one") == records,
                "what is unreadable is counted",
            )


def test_a_target_is_told_after_an_assignment_during_which_reading_was_paused(
    sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = list[object]()

    async def read_late(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> object:
        """Read where the group stands only when the loop beside it has found that there is nobody to tell."""
        await wait_until_async(lambda: consumer.paused() == consumer.assignment() != frozenset(), "it is paused")
        paused.append(consumer)
        return await read_trackers(consumer, partitions)

    monkeypatch.setattr("streams.notify.run.read_trackers", read_late)

    async def run(url: str) -> None:
        file = TargetsFile(write_targets(tmp_path, system_block("one", url)))
        file.load()
        clock = Clock()
        async with AsyncExitStack() as stack:
            engine = stack.enter_context(open_configured_engine(sqlite_settings))
            create_channel = stack.enter_context(channel_factory(sqlite_settings, engine, clock))
            notifier = Notifier(sqlite_settings, file, create_channel, find_problem, clock)
            await stack.enter_async_context(notifier.running([]))
            labels = {"target": "one"}
            value = notifier.metrics.registry.get_sample_value
            await wait_until_async(
                lambda: value("milepost_notify_assigned_partitions", labels) == sqlite_settings.partitions, "it reads"
            )
            await asyncio.to_thread(write_changes, sqlite_settings, [row()])
            await wait_until_async(lambda: value("milepost_notify_delivered_total", labels) == 1, "the change is told")

    with receiver() as system:
        asyncio.run(run(system.url))
    assert len(paused) == 1
