"""The board of a programme of a thousand milestones: what a browser waits for, and what an answer takes."""

import tempfile
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from tests.benchmarks.effort import Effort
from tests.benchmarks.figures import Figure, Target, pooled
from tests.benchmarks.ground import Ground
from tests.benchmarks.programmes import realistic, said_of
from tests.boards import Served, served
from tests.browsing import chromium, page_of, settled
from tests.storing import Log

_MILESTONES: Final = 1000
_LOADS: Final = 5
_ANSWERS: Final = 20
_HERE: Final = "/programmes/large"
_PAINT: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"


def measure(ground: Ground, effort: Effort) -> Iterator[Figure]:
    """Look at it with a browser, and ask for it again and again."""
    size = effort.of(_MILESTONES, multiple_of=10)
    with chromium() as browser:
        yield from pooled(_run(ground, browser, size, number) for number in range(effort.runs))


def _run(ground: Ground, browser: Browser, size: int, number: int) -> list[Figure]:
    ground.say(f"run {number + 1}: a programme of {size:,} milestones")
    title = f"{size:,} milestones"
    with tempfile.TemporaryDirectory(prefix="milepost-board-") as folder:
        url = f"sqlite:///{Path(folder) / 'milepost.db'}"
        with served(url, ground.day) as here:
            log = Log()
            here.say_raw([log.append(event) for event in said_of(realistic("large", size, ground.day, number))])
            first = _painted(browser, here)
            again = [_painted(browser, here) for _ in range(_LOADS)]
            answers = [_answered(here) for _ in range(_ANSWERS)]
            return [
                Figure(f"first paint of {title}, read and rendered for it", "s", [first], [Target("median", 1.0)]),
                Figure(f"first paint of {title}, kept as it was rendered", "s", again, [Target("median", 1.0)]),
                Figure(f"the page of {title}, kept", "s", [seconds for seconds, _ in answers]),
                Figure(f"the page of {title}, as it is", "bytes", [answers[-1][1]]),
            ]


def _painted(browser: Browser, here: Served) -> float:
    """Return the seconds from asking for the page to its first paint, in a browser that has seen nothing before."""
    with page_of(browser) as page:
        page.goto(f"{here.address}{_HERE}")
        settled(page)
        seconds: float = page.evaluate(_PAINT)
        return seconds


def _answered(here: Served) -> tuple[float, int]:
    began = time.perf_counter()
    answer = here.get(_HERE)
    took = time.perf_counter() - began
    assert answer.status == HTTPStatus.OK
    return took, len(answer.body)
