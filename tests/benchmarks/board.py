"""The board of a programme of a thousand milestones: what a browser waits for, and what an answer takes."""

import tempfile
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.figures import Figure, Target, merge_runs
from tests.benchmarks.options import RunOptions
from tests.benchmarks.programmes import initial_events, realistic_plan
from tests.helpers.board import BoardServer, running_board
from tests.helpers.browser import open_page, running_chromium, wait_until_rendered
from tests.helpers.recorder import TopicLog

_MILESTONES: Final = 1000
_PAGE_LOADS: Final = 5
_REQUESTS: Final = 20
_PROGRAMME_PATH: Final = "/programmes/large"
_FIRST_PAINT_SCRIPT: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"


def measure(environment: BenchmarkEnvironment, options: RunOptions) -> Iterator[Figure]:
    """Look at it with a browser, and ask for it again and again."""
    size = options.scaled(_MILESTONES, multiple_of=10)
    with running_chromium() as browser:
        yield from merge_runs(_run(environment, browser, size, number) for number in range(options.runs))


def _run(environment: BenchmarkEnvironment, browser: Browser, size: int, number: int) -> list[Figure]:
    environment.report_progress(f"run {number + 1}: a programme of {size:,} milestones")
    title = f"{size:,} milestones"
    with tempfile.TemporaryDirectory(prefix="milepost-board-") as folder:
        url = f"sqlite:///{Path(folder) / 'milepost.db'}"
        with running_board(url, environment.data_date) as here:
            log = TopicLog()
            here.record_decoded(
                [
                    log.append(event)
                    for event in initial_events(realistic_plan("large", size, environment.data_date, number))
                ]
            )
            first = _time_first_paint(browser, here)
            again = [_time_first_paint(browser, here) for _ in range(_PAGE_LOADS)]
            answers = [_time_request(here) for _ in range(_REQUESTS)]
            return [
                Figure(f"first paint of {title}, read and rendered for it", "s", [first], [Target("median", 1.0)]),
                Figure(f"first paint of {title}, kept as it was rendered", "s", again, [Target("median", 1.0)]),
                Figure(f"the page of {title}, kept", "s", [seconds for seconds, _ in answers]),
                Figure(f"the page of {title}, as it is", "bytes", [answers[-1][1]]),
            ]


def _time_first_paint(browser: Browser, board: BoardServer) -> float:
    """Return the seconds from asking for the page to its first paint, in a browser that has seen nothing before."""
    with open_page(browser) as page:
        page.goto(f"{board.address}{_PROGRAMME_PATH}")
        wait_until_rendered(page)
        seconds: float = page.evaluate(_FIRST_PAINT_SCRIPT)
        return seconds


def _time_request(board: BoardServer) -> tuple[float, int]:
    began = time.perf_counter()
    answer = board.get(_PROGRAMME_PATH)
    took = time.perf_counter() - began
    assert answer.status == HTTPStatus.OK
    return took, len(answer.body)
