"""What if: a picture as if some dates were the newest estimates of their milestones. Contract, section 6.

Pure: facts with the assumed claims are facts like any others, and the schedule of them is the picture. Nothing of it is
ever stored.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import date
from typing import Final, NamedTuple

from models.domain.claims import Claim, Facts, MilestoneKey
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule
from models.domain.timestamps import Instant, make_stamp

#: More than a person weighs up at once; a link and a line of a shell hold so many.
MAX_ASSUMPTIONS: Final = 20
#: The source of assumed claims, whose ids are the names of the milestones; no event has it: a source is not empty.
ASSUMED_SOURCE: Final = ""
#: Later than any time of an event: those end with the year 9999.
_AFTER_ALL_EVENTS: Final = Instant("9999-12-31T23:59:60")


class Assumption(NamedTuple):
    """A date that is taken as the newest estimate of a milestone, whatever was said."""

    milestone: MilestoneRef
    day: date


class AssumptionError(ValueError):
    """An assumption that makes no sense; the message is the reason, without a full stop."""


class AssumedMove(NamedTuple):
    """A milestone whose forecast is another one with the assumptions than without."""

    before: MilestoneStatus
    after: MilestoneStatus

    @property
    def days(self) -> int | None:
        """By how many days it moves, later is positive; None where it has no forecast without the assumptions."""
        if self.before.forecast is None or self.after.forecast is None:
            return None
        return (self.after.forecast - self.before.forecast).days


def find_programme(facts: Facts, assumptions: Collection[Assumption]) -> str:
    """Return the programme whose milestones are meant; raises `AssumptionError` unless it is one alone."""
    programmes = facts.existing_programmes()
    if len(programmes) > 1:
        existing, refs = facts.existing_milestones(), [ref for ref, _ in assumptions]
        programmes = {name for name in programmes if any(MilestoneKey(name, *ref) in existing for ref in refs)}
    if len(programmes) != 1:
        named = ", ".join(str(ref) for ref, _ in assumptions)
        if not programmes:
            raise AssumptionError(f"no programme has a milestone of the assumed ones ({named})")
        raise AssumptionError(f"{len(programmes)} programmes have a milestone of the assumed ones ({named}): name one")
    return programmes.pop()


def assume(facts: Facts, programme: str, assumptions: Collection[Assumption]) -> Facts:
    """Return the facts as if each assumed day were the newest estimate of its milestone.

    Raises `AssumptionError` for a milestone that no event names, or that is achieved or cancelled; for a milestone that
    is named twice; and for more than `MAX_ASSUMPTIONS`.
    """
    if len(assumptions) > MAX_ASSUMPTIONS:
        raise AssumptionError(f"{len(assumptions)} dates are assumed, at most {MAX_ASSUMPTIONS} can be")
    existing, milestones = facts.existing_milestones() if assumptions else set(), facts.milestones.copy()
    assumed: set[MilestoneRef] = set()
    for ref, day in assumptions:
        key = MilestoneKey(programme, *ref)
        claims = facts.milestone(key)
        if key not in existing:
            raise AssumptionError(f"there is no milestone {ref} in programme {programme}")
        if claims.is_cancelled or facts.project_of(key).is_withdrawn:
            raise AssumptionError(f"{ref} is cancelled: it has no date to assume")
        if claims.actual is not None:
            raise AssumptionError(f"{ref} was achieved on {claims.actual.date}: there is nothing to assume")
        if ref in assumed:
            raise AssumptionError(f"two dates are assumed of {ref}")
        assumed.add(ref)
        amount = claims.estimated.amount if claims.estimated else None
        stamp = make_stamp(_AFTER_ALL_EVENTS, ASSUMED_SOURCE, str(ref))
        milestones[key] = replace(claims, estimated=Claim(stamp, day, amount))
    return replace(facts, milestones=milestones)


def assumed_moves(before: Schedule, after: Schedule) -> list[AssumedMove]:
    """Return the milestones that move with the assumptions: those that come later first, by days, then by row order.

    Takes the schedules of the same facts without and with the assumptions, on the same day.
    """
    # Assumptions name no milestone that the facts do not: both schedules have the same milestones in the same order.
    pairs = zip(before.statuses, after.statuses, strict=True)
    moves = [AssumedMove(*pair) for pair in pairs if pair[0].forecast != pair[1].forecast]
    return sorted(moves, key=lambda move: (move.days is None, -(move.days or 0), milestone_sort_key(move.after)))
