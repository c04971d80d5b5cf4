"""The order of rows: contract, section 2. Whatever lists milestones for people lists them in this order.

Programme, project, then the day of the milestone, the catalogue's order, and the milestone's name. Names are in natural
order. The order is total: no two milestones have the same key.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Final

from models.domain.claims import MilestoneKey
from models.domain.events import MILESTONE_CATALOGUE
from models.domain.schedule import MilestoneStatus

_NUMBER_PATTERN: Final = re.compile("[0-9]+")
_CATALOGUE_POSITION: Final = {milestone: position for position, milestone in enumerate(MILESTONE_CATALOGUE)}
_AFTER_ALL_DAYS: Final = date.max.toordinal() + 1

#: The name with numbers that compare by value, and the name itself, which decides between `lot-2` and `lot-02`.
NaturalSortKey = tuple[str, str]
#: Programme, project, the day as an ordinal, the position in the catalogue, and the milestone.
MilestoneSortKey = tuple[NaturalSortKey, NaturalSortKey, int, int, NaturalSortKey]


@lru_cache(maxsize=1 << 14)
def natural_sort_key(name: str) -> NaturalSortKey:
    """Return a key that sorts names by character, and numbers in them by value: `lot-2` before `lot-10`."""
    return _NUMBER_PATTERN.sub(_comparable_number, name), name


def _comparable_number(match: re.Match[str]) -> str:
    # Of two numbers without leading zeros the longer one is larger; of equally long ones the text decides. (`int` would
    # refuse thousands of digits.) The zero in front compares with other characters as any digit does.
    digits = match[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"


def catalogue_sort_key(milestone: str) -> tuple[int, NaturalSortKey]:
    """Return a key that sorts milestones in the order of the catalogue, and others after them by name."""
    return _CATALOGUE_POSITION.get(milestone, len(MILESTONE_CATALOGUE)), natural_sort_key(milestone)


def milestone_sort_key(status: MilestoneStatus) -> MilestoneSortKey:
    """Return a key that sorts milestones in the order of rows; those without any date stand last in their project."""
    day = status.baseline or status.planned or status.estimated or status.actual or status.forecast
    return dated_sort_key(status.key, None if day is None else day.toordinal())


def dated_sort_key(key: MilestoneKey, ordinal: int | None) -> MilestoneSortKey:
    """Return the same key, given the day as an ordinal."""
    return (
        natural_sort_key(key.programme),
        natural_sort_key(key.project),
        ordinal or _AFTER_ALL_DAYS,
        *catalogue_sort_key(key.milestone),
    )
