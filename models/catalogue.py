"""The milestones everyone knows, in the order in which a project meets them: contract, section 1.

Slugs are open: any other milestone is as good, and sorts behind these.
"""

from typing import Final

CATALOGUE: Final = (
    "memorandum-signed",
    "agreement-signed",
    "participant-admitted",
    "permit-approved",
    "investment-permitted",
    "design-completed",
    "site-leased",
    "construction-started",
    "park-commissioned",
    "equipment-installed",
    "production-launched",
)

_PLACE: Final = {milestone: place for place, milestone in enumerate(CATALOGUE)}


def place(milestone: str) -> tuple[int, str]:
    """Return a key that sorts milestones in the catalogue's order, the unknown behind them by name."""
    return _PLACE.get(milestone, len(CATALOGUE)), milestone
