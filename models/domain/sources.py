"""Who says what: the newest dates of each source about a milestone, and by how many days they differ.

The dates that count are those of the newest claims, whoever made them (contract, section 2). Here nothing is decided:
the words of all sources stand side by side.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from models.domain.claims import Claim, MilestoneKey
from models.domain.events import Classifier, Event, MilestoneReported


class SourceWords(NamedTuple):
    """What a source says of a milestone: its newest date of each kind."""

    source: str
    claims: Mapping[Classifier, Claim]


def words_of_sources(reports: Iterable[Event]) -> dict[MilestoneKey, list[SourceWords]]:
    """Return what each source says of each milestone, by unretracted events; who spoke last stands first."""
    claims: defaultdict[MilestoneKey, defaultdict[str, dict[Classifier, Claim]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for event in reports:
        data = event.data
        if not isinstance(data, MilestoneReported):
            continue
        of_source = claims[MilestoneKey(event.programme, event.project, data.milestone)][event.source]
        current = of_source.get(data.classifier)
        if current is None or event.stamp > current.stamp:
            of_source[data.classifier] = Claim(event.stamp, data.date)
    return {
        key: sorted(
            (SourceWords(source, words) for source, words in by_source.items()),
            key=lambda words: max(claim.stamp for claim in words.claims.values()),
            reverse=True,
        )
        for key, by_source in claims.items()
    }


def counting_claims(words: Sequence[SourceWords]) -> dict[Classifier, Claim]:
    """Return of each kind the date that counts: the one that was said last."""
    claims = {kind: [each.claims[kind] for each in words if kind in each.claims] for kind in Classifier}
    return {kind: max(found) for kind, found in claims.items() if found}


def days_between_sources(words: Sequence[SourceWords]) -> int | None:
    """Return by how many days the sources differ at most in dates of one kind; None where no two have the same kind.

    Once somebody said an actual date, plans and estimates are no disagreement any more.
    """
    has_happened = any(Classifier.ACTUAL in each.claims for each in words)
    kinds = [Classifier.ACTUAL] if has_happened else [Classifier.PLANNED, Classifier.ESTIMATED]
    days = [[each.claims[kind].date.toordinal() for each in words if kind in each.claims] for kind in kinds]
    return max((max(of_kind) - min(of_kind) for of_kind in days if len(of_kind) > 1), default=None)
