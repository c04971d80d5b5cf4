"""A failpoint acts at its place, at its time, and nowhere else."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import ConcurrentWriteError
from models.failpoints import (
    FAILPOINT_NAMES,
    Failpoint,
    FailpointAction,
    FailpointName,
    arm_failpoint,
    hit_failpoint,
    parse_failpoint,
)
from models.settings import SettingsError, read_settings

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    arm_failpoint(None)


def test_one_that_is_not_set_does_nothing() -> None:
    for place in FAILPOINT_NAMES:
        hit_failpoint(place)


def test_it_acts_the_time_it_says_and_only_then() -> None:
    arm_failpoint(parse_failpoint("before-commit=error@3"))
    failed = []
    for time in range(1, 6):
        try:
            hit_failpoint("before-commit")
        except ConcurrentWriteError:
            failed.append(time)

    assert failed == [3]


def test_other_places_are_passed() -> None:
    arm_failpoint(parse_failpoint("before-commit=error"))
    for place in FAILPOINT_NAMES:
        if place != "before-commit":
            hit_failpoint(place)
    with pytest.raises(ConcurrentWriteError, match="failpoint before-commit"):
        hit_failpoint("before-commit")


def test_a_kill_ends_the_process_where_it_is() -> None:
    program = (
        "from models.failpoints import arm_failpoint, hit_failpoint, parse_failpoint\n"
        "arm_failpoint(parse_failpoint('after-commit=kill@2'))\n"
        "for number in range(3): hit_failpoint('after-commit'); print(number, flush=True)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "0\n"


def test_a_hang_holds_the_thread_that_came_there_and_no_other() -> None:
    arm_failpoint(parse_failpoint("after-signal=hang"))
    passed = threading.Event()

    def come_there() -> None:
        hit_failpoint("after-signal")
        passed.set()

    held = threading.Thread(target=come_there, daemon=True)
    held.start()

    assert not passed.wait(0.2)
    assert held.is_alive()
    hit_failpoint("after-signal")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", None),
        ("block-loop=hang", Failpoint("block-loop", FailpointAction.HANG, 1)),
        ("after-publish=kill@12", Failpoint("after-publish", FailpointAction.KILL, 12)),
    ],
)
def test_what_is_said_is_what_is_set(text: str, read: Failpoint | None) -> None:
    assert parse_failpoint(text) == read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("before-comit=kill", "no failpoint is called 'before-comit'"),
        ("before-commit=die", "a failpoint can kill, hang, error, not 'die'"),
        ("before-commit", "say place=action"),
        ("before-commit=kill@0", "say place=action"),
        ("before-commit=kill@", "say place=action"),
    ],
)
def test_a_wrong_one_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv("MILEPOST_FAILPOINT", text)

    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        read_settings()

    assert "MILEPOST_FAILPOINT" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("place", FAILPOINT_NAMES)
def test_every_place_is_in_the_code_once(place: FailpointName) -> None:
    found = [
        path.name
        for package in ("models", "streams", "consumers", "deploy")
        for path in (CHECKOUT / package).rglob("*.py")
        for _ in re.findall(rf'failpoint\("{place}"\)', path.read_text(encoding="utf-8"))
    ]

    assert len(found) == 1
