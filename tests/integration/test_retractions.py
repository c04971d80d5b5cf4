"""A retraction counts in any order, and reads the ledger only when it has to."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import event

from models.database import tables
from models.database.claims import load_changed_since
from models.database.engine import (
    read_transaction,
    write_transaction,
)
from models.database.recorder import Recorder
from tests.helpers.oracle import (
    DEPENDENCY_DECLARED,
    MILESTONE_CANCELLED,
    PROGRAMME_REGISTERED,
    PROJECT_REGISTERED,
    PROJECT_WITHDRAWN,
    JsonEvent,
)
from tests.helpers.recorder import (
    DAY,
    GATE,
    TopicLog,
    count_events,
    event_json,
    expected_state,
    load_facts,
    migrated_engine,
    new_recorder,
    order_independent_rows,
    plan_event,
    planned_date,
    record_batch,
    retraction_event,
    state_of_facts,
)


def splits(events: Sequence[JsonEvent]) -> Iterator[list[list[JsonEvent]]]:
    """Give every order of events, in one batch and in one for each."""
    for order in permutations(events):
        yield [list(order)]
        yield [[event] for event in order]


def after(recorder: Recorder, log: TopicLog, batches: Sequence[Sequence[JsonEvent]]) -> Counter[str]:
    """Record batches; tell how many events were accepted, duplicate, rejected."""
    told: Counter[str] = Counter()
    for batch in batches:
        recorded = record_batch(recorder, *[log.append(event) for event in batch])
        told.update(
            accepted=len(recorded.accepted), duplicates=len(recorded.duplicates), rejected=len(recorded.rejected)
        )
    return told


WAITS = {"milestone": "permit-approved", "after": {"project": "basin", "milestone": "park-commissioned"}}
RETRACTIONS = {
    "of the only event": [plan_event("1"), retraction_event("1")],
    "of the newer of two": [plan_event("1"), plan_event("2", "2026-07-01", day=2), retraction_event("2")],
    "of the older of two": [plan_event("1"), plan_event("2", "2026-07-01", day=2), retraction_event("1")],
    "of an event that never comes": [plan_event("1"), retraction_event("never")],
    "of a retraction": [plan_event("1"), retraction_event("1"), retraction_event("r", "rr")],
    "of itself": [plan_event("1"), retraction_event("r")],
    "of each other": [retraction_event("s", "r"), retraction_event("r", "s"), plan_event("1")],
    "by another source": [plan_event("1"), retraction_event("1", source="Office")],
    "by two events": [plan_event("1"), retraction_event("1", "r1"), retraction_event("1", "r2", subject="south/dock")],
    "under another programme": [plan_event("1"), retraction_event("1", subject="south/dock")],
    "under another project": [plan_event("1"), retraction_event("1", subject="north/pier")],
    "stamped long before": [plan_event("1", day=20), retraction_event("1")],
    "of a programme's registration": [
        event_json(PROGRAMME_REGISTERED, "1", {"name": "North", "jobs": 5}, subject="north"),
        event_json(PROGRAMME_REGISTERED, "2", {"name": "New North"}, subject="north", day=2),
        retraction_event("2"),
    ],
    "of a programme's only registration": [
        event_json(PROGRAMME_REGISTERED, "1", {"name": "North"}, subject="north"),
        retraction_event("1", subject="south/dock"),
    ],
    "of a site": [event_json(PROJECT_REGISTERED, "1", {"site": "basin", "name": "Wharf"}), retraction_event("1")],
    "of a cancellation": [
        plan_event("1"),
        event_json(MILESTONE_CANCELLED, "2", {"milestone": "permit-approved"}, day=2),
        retraction_event("2"),
    ],
    "of a claim that neither stands nor is the baseline": [
        plan_event("1"),
        plan_event("2", "2026-07-01", day=2),
        plan_event("3", "2026-08-01", day=3),
        retraction_event("2"),
    ],
    "of a registration whose site a newer one does not name": [
        event_json(PROJECT_REGISTERED, "1", {"site": "basin", "name": "Wharf"}),
        event_json(PROJECT_REGISTERED, "2", {"site": "quay", "name": "New Wharf"}, day=2),
        retraction_event("1"),
    ],
    "of a withdrawal that a newer one repeats": [
        event_json(PROJECT_WITHDRAWN, "1", {}),
        event_json(PROJECT_WITHDRAWN, "2", {}, day=2),
        retraction_event("1"),
    ],
    "of a declaration that a newer one replaces": [
        event_json(DEPENDENCY_DECLARED, "1", WAITS | {"lag_days": 5}),
        event_json(DEPENDENCY_DECLARED, "2", WAITS, day=2),
        retraction_event("1"),
    ],
    "of a declaration that stands": [
        event_json(DEPENDENCY_DECLARED, "1", WAITS | {"lag_days": 5}),
        event_json(DEPENDENCY_DECLARED, "2", WAITS, day=2),
        retraction_event("2"),
    ],
}


@pytest.mark.parametrize("events", RETRACTIONS.values(), ids=RETRACTIONS)
def test_a_retraction_counts_in_any_order(database_url: str, events: list[JsonEvent]) -> None:
    expected = expected_state(events, DAY)
    with migrated_engine(database_url) as engine:
        rows = []
        for batches in splits(events):
            with write_transaction(engine) as connection:
                for table in tables.metadata.sorted_tables:
                    connection.execute(table.delete())
            recorder = new_recorder(engine)
            assert after(recorder, TopicLog(), batches) == Counter(accepted=len(events), duplicates=0, rejected=0)
            assert state_of_facts(load_facts(recorder)[0], DAY) == expected
            assert count_events(recorder) == len(events)
            rows.append(order_independent_rows(engine))
        assert all(row == rows[0] for row in rows)


def test_the_ledger_is_read_for_a_retraction_only_when_the_claim_that_is_lost_stands(recorder: Recorder) -> None:
    log, folds = TopicLog(), 0

    def note(*told: Any) -> None:  # noqa: ANN401 - SQLAlchemy's signature
        nonlocal folds
        folds += told[2].lstrip().startswith("SELECT ledger.type")

    after(recorder, log, [[plan_event(str(day), f"2026-06-{day:02}", day=day)] for day in range(1, 6)])
    before, revision = load_facts(recorder)[0], recorder.read_revisions()["north"]
    event.listen(recorder.engine, "before_cursor_execute", note)
    after(recorder, log, [[retraction_event("3", "r3"), retraction_event("2", "r2")]])
    assert (folds, load_facts(recorder)[0].milestones, planned_date(recorder)) == (0, before.milestones, "2026-06-05")
    # Whoever drew the revision before reads all of it again.
    with read_transaction(recorder.engine) as connection:
        assert load_changed_since(connection, {"north": revision}).facts.milestones == before.milestones
    after(recorder, log, [[retraction_event("5", "r5")]])
    assert (folds, planned_date(recorder)) == (1, "2026-06-04")
    # The oldest is the baseline.
    after(recorder, log, [[retraction_event("1", "r1")]])
    baseline = load_facts(recorder)[0].milestones[GATE].baseline
    assert (folds, baseline and baseline.date) == (2, date(2026, 6, 4))


def test_a_retracted_event_delivered_again_stays_retracted(recorder: Recorder) -> None:
    log = TopicLog()
    after(recorder, log, [[plan_event("1")], [retraction_event("1")]])
    assert after(recorder, log, [[plan_event("1")], [retraction_event("1"), plan_event("1")]]) == Counter(
        accepted=0, duplicates=3, rejected=0
    )
    assert planned_date(recorder) is None


def test_a_claim_said_again_under_a_new_id_counts(recorder: Recorder) -> None:
    log = TopicLog()
    after(recorder, log, [[plan_event("1")], [retraction_event("1")], [plan_event("2")]])
    assert planned_date(recorder) == "2026-06-01"
