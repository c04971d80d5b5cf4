"""What each source says of a milestone is what the contract says of the events of that source alone."""

from datetime import date

from hypothesis import given, settings

from models.domain.claims import exclude_retracted, fold
from models.domain.cloudevents import decode
from models.domain.events import Classifier, Event
from models.domain.sources import counting_claims, days_between_sources, words_of_sources
from tests.helpers.event_generators import event_sets, structured_record
from tests.helpers.oracle import JsonEvent, expected_milestones

DAY = date(2026, 3, 12)
FIELDS = {Classifier.PLANNED: "planned", Classifier.ESTIMATED: "estimated", Classifier.ACTUAL: "actual"}


@settings(max_examples=300)
@given(event_sets(min_size=3))
def test_what_each_source_says_is_what_its_events_alone_would_say(events: list[JsonEvent]) -> None:
    outcomes = [decode(*structured_record(event)) for event in events]
    unretracted = [*exclude_retracted([outcome for outcome in outcomes if isinstance(outcome, Event)])]
    words = words_of_sources(unretracted)
    said: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for source in {event["source"] for event in events}:
        for row in expected_milestones([event for event in events if event["source"] == source], DAY):
            dates = {field: row[field] for field in FIELDS.values() if row[field] is not None}
            if dates:
                said.setdefault((row["programme"], row["project"], row["milestone"]), {})[source] = dates
    assert {
        tuple(key): {
            each.source: {FIELDS[kind]: claim.date.isoformat() for kind, claim in each.claims.items()}
            for each in of_milestone
        }
        for key, of_milestone in words.items()
    } == said
    facts = fold(unretracted)
    for key, of_milestone in words.items():
        claims, counting = facts.milestone(key), counting_claims(of_milestone)
        for kind, field in FIELDS.items():
            found, winner = counting.get(kind), getattr(claims, field)
            assert (found and found[:2]) == (winner and winner[:2])
        kinds = ["actual"] if claims.actual else ["planned", "estimated"]
        by_kind = [
            [date.fromisoformat(dates[kind]) for dates in said[tuple(key)].values() if kind in dates] for kind in kinds
        ]
        spreads = [(max(days) - min(days)).days for days in by_kind if len(days) > 1]
        assert days_between_sources(of_milestone) == max(spreads, default=None)
