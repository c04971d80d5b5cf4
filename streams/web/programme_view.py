"""A programme in a picture: what its pages show, calculated from its facts."""

from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import blake2b
from typing import NamedTuple

from sqlalchemy import Connection, select

from models.database import queries
from models.database.queries import ForecastVersion
from models.database.tables import programmes
from models.domain.assumptions import assume
from models.domain.claims import Facts, MilestoneKey, ProgrammeClaims
from models.domain.history import HistoryEntry
from models.domain.impact import NO_IMPACT, DelayRoot, Impact, delay_roots, measure_impacts
from models.domain.row_order import milestone_sort_key
from models.domain.schedule import MilestoneRef, MilestoneStatus, Schedule, compute_schedule
from models.domain.sources import days_between_sources, words_of_sources
from models.domain.timestamps import Instant
from models.views.comparison import Comparison
from models.views.names import NO_NAMES, Names, names_of
from models.views.picture import PRESENT, PictureQuery, load_picture_facts
from streams.web.errors import NotFoundError


class ProgrammeView(NamedTuple):
    """A programme calculated from its facts, the same as `milepost status` shows."""

    programme: str
    #: Revision of the facts: never older than the stored forecasts.
    revision: int
    #: Of the stored forecasts and the history when the view was read; None before the first calculation.
    forecast_version: ForecastVersion | None
    facts: Facts
    schedule: Schedule
    #: In the order of rows.
    statuses: Sequence[MilestoneStatus]
    delay_roots: Sequence[DelayRoot]
    #: Of the gates that move others.
    impacts: Mapping[MilestoneKey, Impact]
    #: The present one, or another; its instant is that of the newest stamp.
    picture: PictureQuery = PRESENT
    #: The same programme in the picture with which this one is compared.
    compared: "ProgrammeView | None" = None
    #: The parameters that ask for the picture, for links.
    parameters: tuple[tuple[str, str], ...] = ()
    #: The schedule without what the picture assumes; None where it assumes nothing.
    as_said: Schedule | None = None
    names: Names = NO_NAMES

    @property
    def etag(self) -> str:
        """Entity tag of what is rendered from this view and from its history."""
        forecasts = "-".join(map(str, self.forecast_version)) if self.forecast_version else "new"
        if self.compared is not None:
            return f"{self._replace(compared=None).etag}-since{picture_tag(self.compared.picture)}"
        return f"{self.revision}-{forecasts}-{self.schedule.data_date}{picture_tag(self.picture)}"

    @property
    def registration(self) -> ProgrammeClaims:
        """Name, investment and jobs of the programme, as far as they are registered."""
        return self.facts.programmes.get(self.programme) or ProgrammeClaims()

    def impact_of(self, status: MilestoneStatus) -> Impact:
        """Return what a milestone holds up."""
        return self.impacts.get(status.key, NO_IMPACT)

    def compare(self, status: MilestoneStatus) -> Comparison | None:
        """Return a milestone beside what it was in the compared picture; None without one."""
        if self.compared is None:
            return None
        index = self.compared.schedule.network.index_of.get(status.key)
        return Comparison(status, None if index is None else self.compared.schedule.statuses[index])

    @property
    def said_until(self) -> Instant | None:
        """Up to when the moves that a page lists were said; None for all. Of two pictures, up to the later one."""
        instant, compared = self.picture.as_of, self.compared and self.compared.picture.as_of
        return instant if instant is None or compared is None else max(instant, compared)

    @property
    def said_after(self) -> Instant | None:
        """After when the moves that a page lists were said: of two pictures, the earlier one. None for all."""
        instant, compared = self.picture.as_of, self.compared and self.compared.picture.as_of
        return compared if instant is None or compared is None else min(instant, compared)

    def is_listed(self, move: HistoryEntry) -> bool:
        """Return whether a move is listed that was said in time."""
        return self.said_after is None or move.said > self.said_after

    @property
    def gone(self) -> list[MilestoneStatus]:
        """The milestones that only the compared picture has, in the order of rows."""
        known = self.schedule.network.index_of
        return [] if self.compared is None else [each for each in self.compared.statuses if each.key not in known]

    def get_status(self, project: str, milestone: str) -> MilestoneStatus:
        """Return a milestone's status; raises `NotFoundError`."""
        index = self.schedule.network.index_of.get((self.programme, project, milestone))
        if index is None:
            raise NotFoundError(f"There is no milestone {project}/{milestone} in programme {self.programme}.")
        return self.schedule.statuses[index]


def picture_tag(picture: PictureQuery) -> str:
    """Return what distinguishes the entity tag of a picture from that of the present one."""
    return "" if picture.is_present else "-" + blake2b(repr(picture).encode(), digest_size=6).hexdigest()


def load_view(
    connection: Connection,
    programme: str,
    version: ForecastVersion | None,
    data_date: date,
    picture: PictureQuery = PRESENT,
) -> ProgrammeView:
    """Return a programme in a picture; its revision is 0 where no event names it."""
    revision = connection.scalar(select(programmes.c.revision).where(programmes.c.programme == programme))
    facts = load_picture_facts(connection, picture, programme)
    schedule, as_said = compute_schedule(facts, data_date), None
    if picture.assumptions and programme in facts.existing_programmes():
        facts, as_said = assume(facts, programme, picture.assumptions), schedule
        schedule = compute_schedule(facts, data_date, as_said)
    statuses = sorted(schedule.statuses, key=milestone_sort_key)
    impacts = measure_impacts(schedule.statuses, facts.projects)
    roots = delay_roots(schedule.statuses, impacts)
    view = ProgrammeView(programme, revision or 0, version, facts, schedule, statuses, roots, impacts, picture)
    return view._replace(as_said=as_said, names=names_of(facts, programme))


def read_disagreed(connection: Connection, programme: str, as_of: Instant | None) -> frozenset[MilestoneRef]:
    """Return the milestones of a programme of which sources say different dates."""
    words = words_of_sources(queries.read_reports(connection, programme, as_of))
    return frozenset(
        MilestoneRef(*key[1:]) for key, of_milestone in words.items() if days_between_sources(of_milestone)
    )
