"""People are told by mail: one message for what one event moved, a summary of many, and digests that are due."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from deploy.notify import channel_factory, find_problem
from models.configured_engine import open_configured_engine
from models.settings import Settings
from streams.clock import Clock
from streams.notify import digests
from streams.notify.process import Notifier
from streams.notify.targets import TargetsFile
from tests.helpers.events import date_report, dependency_declaration, project_registration
from tests.helpers.mail import mail_server
from tests.helpers.notify import notify_process, open_milestones, told_changes, write_targets
from tests.helpers.oracle import JsonEvent
from tests.helpers.workers import WorkerProcess, publish, wait_until, wait_until_async, worker_process

TODAY = datetime.now(UTC).date()
GATE = "park/park-commissioned"
TARGETS = ("team", "gates")


def on(days: int) -> str:
    return str(TODAY + timedelta(days=days))


def said(seconds: int) -> str:
    return f"{TODAY - timedelta(days=1)}T00:00:{seconds:02}Z"


def opening() -> list[JsonEvent]:
    launches = [f"tenant-{number}/production-launched" for number in range(30)]
    return [
        project_registration("park", "park", name="Park of @everyone", time=said(0)),
        date_report("gate", "park/park-commissioned", "PLN", on(30), time=said(0)),
        *(date_report(launch, launch, "PLN", on(60), time=said(0)) for launch in launches),
        *(
            dependency_declaration(f"after {launch}", launch, "park/park-commissioned", 10, time=said(1))
            for launch in launches
        ),
    ]


def test_the_slip_of_a_gate_is_one_message_and_loading_its_past_is_no_flood(
    postgresql_settings: Settings, tmp_path: Path
) -> None:
    settings = postgresql_settings.model_copy(update={"board_url": "https://board.example"})
    with mail_server() as mailbox, worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        blocks = (
            f'name = "team"\nurl = "{mailbox.url}"\n',
            f'name = "gates"\nurl = "{mailbox.url.replace("team@", "gates@")}"\ngates = true\nmin_days = 10\n',
        )
        with notify_process(settings, tmp_path, write_targets(tmp_path, *blocks)) as notify:
            wait_until(
                lambda: (
                    [
                        notify.scrape().value("milepost_notify_assigned_partitions", target=name)
                        for name in ("team", "gates")
                    ]
                    == [4, 4]
                ),
                "both are read for",
            )
            publish(settings, opening())
            # A first forecast of each milestone.
            wait_until(lambda: all(told_changes(settings, name) == 31 for name in TARGETS), "the past is told")
            loaded = len(mailbox.messages)
            assert 1 <= loaded <= 4, mailbox.texts()
            publish(settings, [date_report("slip", GATE, "EST", on(80), reason="frost", time=said(9))])
            wait_until(lambda: len(mailbox.messages) >= loaded + 2, "the slip is told")
            [team, gates] = sorted(mailbox.messages[loaded:], key=lambda message: message["to"], reverse=True)
            assert team["subject"] == "Park of @everyone: Park commissioned 50 days later"
            assert gates["subject"] == team["subject"]
            text, gate_text = mailbox.text_of(team), mailbox.text_of(gates)
            assert "It holds up 30 milestones of 30 other projects." in text
            assert "Why: frost, says office." in text
            assert "With it move:" in text
            assert "other milestones" in text
            assert "https://board.example/programmes/north/gates/park/park-commissioned" in text
            assert len(text.splitlines()) <= 20
            assert "With it move" not in gate_text
            wait_until(lambda: open_milestones(settings, "team") == 0, "the group remembers that all is told")


def values(notify: WorkerProcess, name: str) -> list[float | None]:
    page = notify.scrape()
    return [page.value(f"milepost_notify_{name}", target=target) for target in TARGETS]


class SetClock(Clock):
    """A clock that a test sets."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self._now = datetime.fromisoformat(text)

    def now(self) -> float:
        return self._now.timestamp()

    def today(self) -> date:
        return self._now.astimezone(UTC).date()


async def run_notifier(
    settings: Settings, file: TargetsFile, clock: Clock, until: Callable[[Notifier], bool], description: str
) -> None:
    async with AsyncExitStack() as stack:
        engine = stack.enter_context(open_configured_engine(settings))
        create_channel = stack.enter_context(channel_factory(settings, engine, clock))
        notifier = Notifier(settings, file, create_channel, find_problem, clock)
        await stack.enter_async_context(notifier.running([]))
        await wait_until_async(lambda: until(notifier), description)


def is_assigned(notifier: Notifier) -> bool:
    value = notifier.metrics.registry.get_sample_value("milepost_notify_assigned_partitions", {"target": "digest"})
    return value == 4


def test_a_digest_is_sent_when_it_is_due_and_one_that_was_missed_is_sent_once(
    sqlite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_MAX_SLEEP_SECONDS", 0.05)
    with mail_server() as mailbox:
        block = f'name = "digest"\nurl = "{mailbox.url}"\nwhen = "daily 08:00"\ntimezone = "Europe/Berlin"\n'
        file = TargetsFile(write_targets(tmp_path, block))
        file.load()
        # The day before the clocks of Berlin are set an hour ahead.
        clock = SetClock("2026-03-28T07:59:00+01:00")
        asyncio.run(run_notifier(sqlite_settings, file, clock, is_assigned, "the target has begun"))
        assert not mailbox.messages, "the first digest comes when it is due"

        def has_sent(count: int) -> Callable[[Notifier], bool]:
            return lambda _notifier: len(mailbox.messages) >= count

        clock.set("2026-03-28T08:00:30+01:00")
        asyncio.run(run_notifier(sqlite_settings, file, clock, has_sent(1), "the digest that is due"))
        clock.set("2026-03-29T07:59:59+02:00")
        asyncio.run(run_notifier(sqlite_settings, file, clock, is_assigned, "the next process"))
        assert len(mailbox.messages) == 1
        clock.set("2026-03-29T08:00:30+02:00")
        asyncio.run(run_notifier(sqlite_settings, file, clock, has_sent(2), "that of the short day"))
        # Three days without a process, and then a mail server that refuses at first.
        clock.set("2026-04-01T12:00:00+02:00")
        mailbox.answer = "451 later"
        asyncio.run(
            run_notifier(
                sqlite_settings,
                file,
                clock,
                lambda notifier: bool(
                    notifier.metrics.registry.get_sample_value("milepost_notify_failed_total", {"target": "digest"})
                ),
                "the digest fails",
            )
        )
        mailbox.answer = "250 OK"
        asyncio.run(run_notifier(sqlite_settings, file, clock, has_sent(3), "one for what was missed"))
        asyncio.run(run_notifier(sqlite_settings, file, clock, is_assigned, "nothing more is due"))
        subjects = [message["subject"] for message in mailbox.messages]
        assert subjects == [
            "Milepost report: 27 Mar 2026, 07:00 UTC to 28 Mar 2026, 07:00 UTC",
            "Milepost report: 28 Mar 2026, 07:00 UTC to 29 Mar 2026, 06:00 UTC",
            "Milepost report: 29 Mar 2026, 06:00 UTC to 1 Apr 2026, 06:00 UTC",
        ]
