"""Until when a worker's forecasts are those of its events: what the alert MilepostForecastBehind reads."""

import time
from pathlib import Path

from models.settings import Settings
from tests.helpers.workers import WorkerProcess, publish, wait_until, worker_process
from tests.integration.test_streams import numbered_report

CURRENT = "milepost_forecasts_current_timestamp_seconds"


def current(worker: WorkerProcess) -> float:
    return worker.scrape().value(CURRENT) or 0


def recorded(worker: WorkerProcess) -> float:
    return worker.scrape().value("milepost_events_total", outcome="accepted") or 0


def test_forecasts_are_current_from_sweep_to_sweep_and_stay_behind_while_a_calculation_hangs(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    settings = sqlite_settings.model_copy(update={"sweep_seconds": 0.2})
    with worker_process(settings, tmp_path, MILEPOST_FAILPOINT="before-forecast-commit=hang@2") as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(1)])
        wait_until(lambda: recorded(worker) == 1, "the first event is recorded")
        after_first = time.time()
        wait_until(lambda: current(worker) > after_first, "what was recorded is drawn")

        publish(settings, [numbered_report(2)])
        wait_until(lambda: recorded(worker) == 2, "the second event is recorded")
        after_second = time.time()
        # The worker lives on, and looks at the log, for ten sweeps more.
        ends = worker.scrape().value("milepost_log_end")
        publish(settings, [numbered_report(3)])
        wait_until(lambda: worker.scrape().value("milepost_log_end") != ends, "the worker looks at the log")
        wait_until(lambda: time.time() > after_second + 10 * settings.sweep_seconds, "ten sweeps' time is over")

        assert after_first < current(worker) < after_second
