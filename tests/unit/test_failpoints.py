"""A failpoint acts at its place, at its time, and nowhere else."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import RacedError
from models.failpoints import PLACES, Action, Failpoint, Place, arm, failpoint, read_failpoint
from models.settings import SettingsError, read_settings

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    arm(None)


def test_one_that_is_not_set_does_nothing() -> None:
    for place in PLACES:
        failpoint(place)


def test_it_acts_the_time_it_says_and_only_then() -> None:
    arm(read_failpoint("before-commit=error@3"))
    failed = []
    for time in range(1, 6):
        try:
            failpoint("before-commit")
        except RacedError:
            failed.append(time)

    assert failed == [3]


def test_other_places_are_passed() -> None:
    arm(read_failpoint("before-commit=error"))
    for place in PLACES:
        if place != "before-commit":
            failpoint(place)
    with pytest.raises(RacedError, match="failpoint before-commit"):
        failpoint("before-commit")


def test_a_kill_ends_the_process_where_it_is() -> None:
    program = (
        "from models.failpoints import arm, failpoint, read_failpoint\n"
        "arm(read_failpoint('after-commit=kill@2'))\n"
        "for number in range(3): failpoint('after-commit'); print(number, flush=True)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "0\n"


def test_a_hang_holds_the_thread_that_came_there_and_no_other() -> None:
    arm(read_failpoint("after-signal=hang"))
    passed = threading.Event()

    def come_there() -> None:
        failpoint("after-signal")
        passed.set()

    held = threading.Thread(target=come_there, daemon=True)
    held.start()

    assert not passed.wait(0.2)
    assert held.is_alive()
    failpoint("after-signal")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", None),
        ("block-loop=hang", Failpoint("block-loop", Action.HANG, 1)),
        ("after-telling=kill@12", Failpoint("after-telling", Action.KILL, 12)),
    ],
)
def test_what_is_said_is_what_is_set(text: str, read: Failpoint | None) -> None:
    assert read_failpoint(text) == read


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
def test_a_wrong_one_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv("MILEPOST_FAILPOINT", text)

    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        read_settings()

    assert "MILEPOST_FAILPOINT" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_in_the_code_once(place: Place) -> None:
    found = [
        path.name
        for package in ("models", "streams", "consumers", "deploy")
        for path in (CHECKOUT / package).rglob("*.py")
        for _ in re.findall(rf'failpoint\("{place}"\)', path.read_text(encoding="utf-8"))
    ]

    assert len(found) == 1
