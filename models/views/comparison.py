"""Two pictures of a programme beside each other: what moved between them, milestone by milestone."""

from typing import NamedTuple

from models.domain.schedule import MilestoneStatus


class Comparison(NamedTuple):
    """A milestone in a picture, and in the one with which it is compared."""

    status: MilestoneStatus
    #: None: no event had named it.
    former: MilestoneStatus | None

    @property
    def moved_days(self) -> int | None:
        """The days by which the forecast moved, later is positive; None when one of the pictures has none."""
        if self.former is None or self.former.forecast is None or self.status.forecast is None:
            return None
        return (self.status.forecast - self.former.forecast).days

    @property
    def has_moved(self) -> bool:
        """Whether the milestone is new, or its forecast or its state is another one."""
        former = self.former
        return former is None or (former.forecast, former.state) != (self.status.forecast, self.status.state)
