"""The overview of all programmes: totals, and what a page of them shows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Final, NamedTuple

from sqlalchemy import Connection

from models.database import queries
from models.database.claims import load_announced_projects, read_revisions
from models.database.queries import DateWord, ForecastVersion, ProgrammeSummary, overview_sort_key
from models.domain.assumptions import ASSUMED_SOURCE, assume, find_programme
from models.domain.claims import Facts, MilestoneKey, ProjectClaims, ProjectKey
from models.domain.impact import DelayRoot, delay_roots, measure_impacts
from models.domain.schedule import MilestoneStatus, State, compute_schedule
from models.domain.timestamps import Stamp, parse_stamp
from models.views.names import Names, names_by_programme
from models.views.picture import PRESENT, PictureQuery, load_picture_facts
from models.views.upcoming import MAX_NAMED_OF_MANY, Upcoming, find_upcoming, own_dates, read_upcoming
from streams.web.programme_view import picture_tag

#: Gates of a programme of which pages say who said their dates.
SHOWN_GATES: Final = 5


class OverviewVersion(NamedTuple):
    """What the overview shows: a picture of all programmes in a version."""

    version: str
    picture: PictureQuery = PRESENT
    compared: PictureQuery | None = None
    #: The parameters that ask for the picture, for links.
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def etag(self) -> str:
        """Entity tag of what is rendered of this."""
        since = "" if self.compared is None else f"-since{picture_tag(self.compared)}"
        return f"all-{self.version}{picture_tag(self.picture)}{since}"


class Overview(NamedTuple):
    """A page of programmes, and the totals of all."""

    total: int
    late_programmes: int
    #: The number of milestones of all programmes by state; states without milestones are absent.
    counts: Mapping[State, int]
    programmes: Sequence[ProgrammeSummary]
    titles: dict[str, str]
    delay_roots: Mapping[str, Sequence[DelayRoot]]
    upcoming: Mapping[str, Upcoming]
    #: Of what is named on the page, by programme.
    names: Mapping[str, Names]
    #: Who said the dates of the first gates of each programme.
    words: Mapping[MilestoneKey, DateWord]
    #: Of the compared picture: the number of milestones by state of each programme that it has.
    compared: Mapping[str, Mapping[State, int]] | None = None


def _totals_of(summaries: Sequence[ProgrammeSummary]) -> tuple[int, int, Mapping[State, int]]:
    late_programmes = sum(summary.late_count > 0 for summary in summaries)
    counts = sum((Counter(summary.counts) for summary in summaries), Counter[State]())
    return len(summaries), late_programmes, counts


def _count_states(statuses: Sequence[MilestoneStatus]) -> Mapping[State, int]:
    return Counter(status.state for status in statuses)


class _Statuses(NamedTuple):
    # Of every programme that a picture has.
    facts: Facts
    statuses: Mapping[str, list[MilestoneStatus]]


def _load_statuses(connection: Connection, picture: PictureQuery, data_date: date) -> _Statuses:
    facts = load_picture_facts(connection, picture)
    if picture.assumptions:
        facts = assume(facts, find_programme(facts, picture.assumptions), picture.assumptions)
    statuses: dict[str, list[MilestoneStatus]] = {slug: [] for slug in facts.existing_programmes()}
    for status in compute_schedule(facts, data_date).statuses:
        statuses[status.programme].append(status)
    return _Statuses(facts, statuses)


def read_overview(
    connection: Connection, summaries: Sequence[ProgrammeSummary], today: date, offset: int, limit: int
) -> Overview:
    """Return a page of the present overview, given all programmes in their order."""
    page = summaries[offset : offset + limit]
    slugs = [summary.programme for summary in page]
    milestones = queries.read_open_milestones(connection, slugs)
    titles = queries.read_programme_names(connection, slugs)
    projects = load_announced_projects(connection, slugs)
    roots = {slug: delay_roots(milestones[slug], measure_impacts(milestones[slug], projects[slug])) for slug in slugs}
    upcoming = read_upcoming(connection, slugs, today)
    project_names = queries.read_project_names(connection, slugs)
    names = {slug: _names_on_page(project_names[slug], roots[slug], upcoming[slug]) for slug in slugs}
    gates = [root.gate.key for slug in slugs for root in roots[slug][:SHOWN_GATES]]
    words = queries.read_date_words(connection, gates)
    return Overview(*_totals_of(summaries), page, titles, roots, upcoming, names, words)


def load_overview(connection: Connection, picture: PictureQuery, data_date: date, offset: int, limit: int) -> Overview:
    """Return a page of the overview in another picture than the present one."""
    revisions = read_revisions(connection)
    facts, statuses = _load_statuses(connection, picture, data_date)
    summaries = [
        ProgrammeSummary(slug, ForecastVersion(revisions.get(slug, 0), data_date), _count_states(of_programme))
        for slug, of_programme in statuses.items()
    ]
    summaries.sort(key=overview_sort_key)
    page = summaries[offset : offset + limit]
    shown = {summary.programme: statuses[summary.programme] for summary in page}
    titles = {slug: claims.name.value for slug, claims in facts.programmes.items() if slug in shown and claims.name}
    projects: dict[str, dict[ProjectKey, ProjectClaims]] = {slug: {} for slug in shown}
    for key, claims in facts.projects.items():
        if key.programme in shown:
            projects[key.programme][key] = claims
    roots, upcoming = {}, {}
    for slug, of_programme in shown.items():
        roots[slug] = delay_roots(of_programme, measure_impacts(of_programme, projects[slug]))
        upcoming[slug] = find_upcoming(of_programme, own_dates(facts, of_programme), data_date, MAX_NAMED_OF_MANY)
    names = names_by_programme(facts, shown)
    gates = [root.gate.key for of_programme in roots.values() for root in of_programme[:SHOWN_GATES]]
    words = queries.read_words(connection, stamps_of_dates(facts, gates))
    return Overview(*_totals_of(summaries), page, titles, roots, upcoming, names, words)


def count_states_by_programme(
    connection: Connection, picture: PictureQuery, data_date: date
) -> Mapping[str, Mapping[State, int]]:
    """Return the number of milestones by state of each programme that a picture has."""
    _, statuses = _load_statuses(connection, picture, data_date)
    return {slug: _count_states(of_programme) for slug, of_programme in statuses.items()}


def stamps_of_dates(facts: Facts, keys: Iterable[MilestoneKey]) -> dict[MilestoneKey, Stamp]:
    """Return the stamps of the claims that set the dates of some milestones; of assumed dates there is none."""
    claims = {key: facts.milestone(key) for key in keys}
    dates = {key: of_milestone.actual or of_milestone.own_claim for key, of_milestone in claims.items()}
    return {
        key: claim.stamp
        for key, claim in dates.items()
        if claim is not None and parse_stamp(claim.stamp).source != ASSUMED_SOURCE
    }


def _names_on_page(projects: Mapping[str, str], roots: Sequence[DelayRoot], upcoming: Upcoming) -> Names:
    statuses = chain.from_iterable((root.gate, *root.moved) for root in roots)
    milestones = {status.ref: status.name for status in statuses if status.name is not None}
    due = chain.from_iterable(each.named for each in upcoming)
    milestones |= {milestone.ref: milestone.name for milestone in due if milestone.name is not None}
    return Names(projects, milestones)
