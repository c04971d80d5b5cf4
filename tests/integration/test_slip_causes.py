"""Who said the date of a milestone that is late by itself, and why."""

from datetime import date

import pytest
from sqlalchemy import Engine

from models.database import slip_causes
from models.database.projector import Projector
from models.database.slip_causes import SlipCause, SlipCauseReader
from models.domain.claims import MilestoneKey
from streams.metrics.store import MetricsStore
from tests.helpers.events import cancellation, date_report, dependency_declaration
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import TopicLog, new_recorder, record_batch

DAY = date(2026, 3, 10)
GATE, LAUNCH = MilestoneKey("north", "park", "opened"), MilestoneKey("north", "plant", "launched")
PLANS = [
    date_report("p-1", "park/opened", "PLN", "2026-05-01", time="2026-01-01T00:00:00Z"),
    date_report("p-2", "plant/launched", "PLN", "2026-05-02", time="2026-01-01T00:00:00Z"),
    dependency_declaration("d-1", "plant/launched", "park/opened"),
]
LATE = date_report("e-1", "park/opened", "EST", "2026-06-01", time="2026-02-01T00:00:00Z", source="zone", reason="late")


class Causes:
    """A database, and the causes after each batch."""

    def __init__(self, engine: Engine) -> None:
        self.recorder, self.log = new_recorder(engine), TopicLog()
        self.projector, self.reader = Projector(engine), SlipCauseReader(engine)
        self.store = MetricsStore(1000, 90)

    def after(self, *events: JsonEvent) -> dict[MilestoneKey, SlipCause]:
        """Record events; return the causes, which the metrics have too."""
        record_batch(self.recorder, *[self.log.append(event) for event in events])
        [result] = self.projector.recalculate(["north"], DAY, 0)
        causes = self.reader.read([result])
        rendered = self.store.render(result, causes)
        self.store.put(*self.store.fit([rendered]))
        page = b"".join(self.store.iter_families()).decode()
        assert rendered.exposed == sum(not line.startswith("#") for line in page.splitlines())
        assert page.count("milepost_milestone_slip_info{") == len(causes)
        for key, (source, reason) in causes.items():
            labels = f'programme="north",project="{key.project}",milestone="{key.milestone}"'
            assert f'milepost_milestone_slip_info{{{labels},source="{source}",reason="{reason}"}} 1\n' in page
        return causes


@pytest.fixture
def causes(engine: Engine) -> Causes:
    return Causes(engine)


def test_what_is_late_by_itself_has_a_cause_and_what_waits_for_it_has_none(causes: Causes) -> None:
    assert causes.after(*PLANS) == {}
    assert causes.after(LATE) == {GATE: SlipCause("zone", "late")}


def test_a_newer_claim_of_the_same_date_has_another_source_and_no_reason(causes: Causes) -> None:
    causes.after(*PLANS, LATE)

    again = date_report("e-2", "park/opened", "EST", "2026-06-01", time="2026-02-02T00:00:00Z", source="city")
    assert causes.after(again) == {GATE: SlipCause("city", "")}


def test_what_is_done_or_cancelled_has_none(causes: Causes) -> None:
    causes.after(*PLANS, LATE)

    assert causes.after(cancellation("c-1", "park/opened", time="2026-02-03T00:00:00Z")) == {}


def test_of_many_those_are_explained_that_most_wait_for(causes: Causes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slip_causes, "MAX_CAUSES", 1)
    own = date_report("e-3", "plant/launched", "EST", "2026-08-01", time="2026-02-01T00:00:00Z")

    assert causes.after(*PLANS, LATE, own) == {GATE: SlipCause("zone", "late")}
