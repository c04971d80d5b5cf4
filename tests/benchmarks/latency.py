"""Events from the broker to the page: publishing them one by one, and how long each of them took."""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import select

from models.database.engine import read_transaction
from models.database.recorder import Recorder
from models.database.tables import ledger
from tests.benchmarks.environment import Workspace
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.publishing import PacedPublisher
from tests.benchmarks.trace import ForecastDelaysObserved, ProgrammeRendered
from tests.benchmarks.traced_worker import TracedWorker
from tests.helpers.oracle import JsonEvent

#: From when to when, in seconds since the epoch.
TimeWindow = tuple[float, float]


def publish_one_by_one(
    workspace: Workspace, worker: TracedWorker, publisher: PacedPublisher, events: Iterable[JsonEvent]
) -> Sequence[TimeWindow]:
    """Publish events, each when the one before is visible; return when each was published, and when it was shown.

    A worker is through with what came before the first of them when the last is visible.
    """
    windows = []
    for event in events:
        programme = event["subject"].split("/")[0]
        following, seen, began = workspace.recorder.read_revisions()[programme] + 1, worker.observed_delays, time.time()
        publisher.publish(event)
        worker.wait_until_shown({programme: following})
        windows.append((began, worker.trace(ProgrammeRendered)[-1].at))
        worker.wait_until_observed(seen + 1)
    return windows


def delay_figures(
    title: str, recorder: Recorder, worker: TracedWorker, events: Sequence[JsonEvent], targets: Sequence[Target]
) -> list[Figure]:
    """Return how long events took, as two figures: of every event, and as the worker counts them.

    The worker observes one delay for each programme that a batch changed, that of the batch's oldest event, when all
    that was signalled together is drawn: never less than what is true of every event.
    """
    every, since = event_delays(recorder, worker, events)
    told = ((visible.at, delay) for visible in worker.trace(ForecastDelaysObserved) for delay in visible.delays)
    observed = [delay for at, delay in told if at - delay >= since]
    return [
        Figure(f"{title}: every event", "s", every, targets),
        Figure(f"{title}: as the worker counts them", "s", observed),
    ]


def event_delays(recorder: Recorder, worker: TracedWorker, events: Sequence[JsonEvent]) -> tuple[list[float], float]:
    """Return of every event how long after the broker took it its programme was shown as of it, or later.

    And when the broker took the first.
    """
    moments: dict[str, list[float]] = defaultdict(list)
    revisions: dict[str, list[int]] = defaultdict(list)
    for shown in worker.trace(ProgrammeRendered):
        moments[shown.programme].append(shown.at)
        revisions[shown.programme].append(shown.revision)
    columns = ledger.c.id, ledger.c.programme, ledger.c.revision, ledger.c.appended_ms
    [source] = {event["source"] for event in events}
    with read_transaction(recorder.engine) as connection:
        rows = connection.execute(select(*columns).where(ledger.c.source == source)).all()
    recorded = {name: (programme, revision, appended_ms / 1000) for name, programme, revision, appended_ms in rows}
    ours = [recorded[event["id"]] for event in events]
    delays = [
        moments[programme][bisect_left(revisions[programme], revision)] - appended
        for programme, revision, appended in ours
    ]
    return delays, min(appended for _, _, appended in ours)
