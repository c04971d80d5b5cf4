"""Every input that docs/events.md gives for a reason is rejected for that reason, with the detail that stands there."""

import pytest

from deploy.events_docs.examples import (
    ALLOWED_SOURCES,
    APPENDED_MS,
    DATABASE_DETAILS,
    REJECTED_INPUTS,
    SHORT_EVENT,
    RejectedInput,
)
from models.database.engine import write_transaction
from models.database.recorder import Recorder
from models.domain.events import Event, check_acceptable
from tests.helpers.event_generators import structured_record
from tests.helpers.recorder import TopicLog, record_batch, reject_inserts

STRUCTURED = structured_record(SHORT_EVENT)[0]


@pytest.mark.parametrize("given", REJECTED_INPUTS, ids=lambda given: given.reason)
def test_the_input_is_rejected_for_the_reason(recorder: Recorder, given: RejectedInput) -> None:
    with write_transaction(recorder.engine) as connection:
        reject_inserts(connection, "NEW.milestone = 'frozen'", "milestones")
    log = TopicLog()
    records = [log.append(SHORT_EVENT), log.append_raw(STRUCTURED, given.value)]
    checked = [
        record._replace(outcome=check_acceptable(record.outcome, APPENDED_MS, ALLOWED_SOURCES))
        if isinstance(record.outcome, Event)
        else record
        for record in records
    ]
    if given.reason == "unstorable":
        # The event beside it has the same source and id.
        checked = [checked[1]._replace(offset=0)]

    [rejected] = record_batch(recorder, *checked).rejected

    assert rejected.rejection.reason is given.reason
    assert rejected.rejection.detail.startswith(given.detail() or DATABASE_DETAILS[given.reason])
