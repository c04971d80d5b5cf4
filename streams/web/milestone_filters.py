"""Which milestones of a programme a page shows: the filters of timeline and trend, one row of a table each.

A filter reads its parameter of a query, and selects milestones by it. All filters of a query apply together.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from aiohttp.web import Request

from models.domain.claims import NO_PROJECT_CLAIMS, ProjectKey
from models.domain.schedule import LATE_STATES, MilestoneRef, MilestoneStatus, State
from models.domain.timestamps import day_of, instant_of, parse_stamp
from models.views.queries import parse_data_date
from streams.web.errors import BadQuery, NotFoundError
from streams.web.programme_view import ProgrammeView

#: What happened within so many days is shown at first, beside what is open.
_LATELY: Final = timedelta(days=30)
#: Up to so many milestones, a programme is shown as a whole at first.
_MAX_WHOLE: Final = 100
_MAX_TEXT: Final = 255

#: Returns whether a milestone is shown.
Matches = Callable[[MilestoneStatus], bool]


def _matches_all(_status: MilestoneStatus) -> bool:
    return True


def _happened_lately(view: ProgrammeView, status: MilestoneStatus) -> bool:
    stamp = status.last_claim_stamp
    return stamp is not None and day_of(instant_of(stamp)) >= view.schedule.data_date - _LATELY


def _has_moved(view: ProgrammeView, status: MilestoneStatus) -> bool:
    comparison = view.compare(status)
    return comparison is not None and comparison.has_moved


#: What `show` may be: a selection by the state of a milestone, or by what is known of it.
SELECTIONS: Final[Mapping[str, Callable[[ProgrammeView, MilestoneStatus], bool]]] = {
    "current": lambda view, status: status.is_open or _happened_lately(view, status),
    "late": lambda _, status: status.state in LATE_STATES,
    "open": lambda _, status: status.is_open,
    "moved": _has_moved,
    "all": lambda _view, _status: True,
}
#: A further value of `show`: of which sources say different dates. The ledger says that, when somebody asks.
DISAGREE: Final = "disagree"


def _select(view: ProgrammeView, text: str) -> Matches:
    return lambda status: SELECTIONS[text](view, status)


def _search(view: ProgrammeView, text: str) -> Matches:
    words = text.casefold().split()

    def matches(status: MilestoneStatus) -> bool:
        claims = view.facts.projects.get(ProjectKey(view.programme, status.project), NO_PROJECT_CLAIMS)
        names = (str(status.ref), status.name, claims.name.value if claims.name else None)
        searched = "\n".join(filter(None, names)).casefold()
        return all(word in searched for word in words)

    return matches


def _of_state(_view: ProgrammeView, text: str) -> Matches:
    return lambda status: status.state == text


def _of_project(_view: ProgrammeView, text: str) -> Matches:
    return lambda status: status.project == text


def _of_kind(view: ProgrammeView, text: str) -> Matches:
    projects = {key.project for key, claims in view.facts.projects.items() if claims.kind and claims.kind.value == text}
    return lambda status: status.project in projects


def _of_source(view: ProgrammeView, text: str) -> Matches:
    return lambda status: text in sources_of(view, status)


def _from(_view: ProgrammeView, text: str) -> Matches:
    first = date.fromisoformat(text)
    return lambda status: any(day >= first for day in _shown_days(status))


def _to(_view: ProgrammeView, text: str) -> Matches:
    last = date.fromisoformat(text)
    return lambda status: any(day <= last for day in _shown_days(status))


def _shown_days(status: MilestoneStatus) -> Sequence[date]:
    return [day for day in (status.baseline, status.actual or status.forecast) if day is not None]


def sources_of(view: ProgrammeView, status: MilestoneStatus) -> set[str]:
    """Return the sources of the claims that count for a milestone."""
    claims = view.facts.milestone(status.key)
    counting = (claims.baseline, claims.planned, claims.estimated, claims.actual)
    stamps = [*(claim.stamp for claim in counting if claim), *filter(None, [claims.cancelled])]
    return {parse_stamp(stamp).source for stamp in stamps}


def _require_choice(name: str, choices: Sequence[str]) -> Callable[[ProgrammeView, str], None]:
    def check(_view: ProgrammeView, text: str) -> None:
        if text not in choices:
            raise BadQuery(text=f"{name} is one of {', '.join(choices)}.")

    return check


def _require_project(view: ProgrammeView, text: str) -> None:
    if ProjectKey(view.programme, text) not in view.facts.existing_projects():
        raise NotFoundError(f"There is no project {text} in programme {view.programme}.")


def _require_day(name: str) -> Callable[[ProgrammeView, str], None]:
    def check(_view: ProgrammeView, text: str) -> None:
        try:
            parse_data_date(text)
        except ValueError as error:
            raise BadQuery(text=f"{name} is {error}.") from None

    return check


class MilestoneFilter(NamedTuple):
    """A parameter of a query that selects milestones."""

    select: Callable[[ProgrammeView, str], Matches]
    #: Raises `BadQuery` or `NotFoundError` for a value that makes no sense.
    check: Callable[[ProgrammeView, str], None] = lambda _view, _text: None


SHOW, PROJECT, FROM, TO, SORT = "show", "project", "from", "to", "sort"
#: The filters by the names of their parameters.
FILTERS: Final[Mapping[str, MilestoneFilter]] = {
    SHOW: MilestoneFilter(_select, _require_choice(SHOW, [*SELECTIONS, DISAGREE])),
    PROJECT: MilestoneFilter(_of_project, _require_project),
    "q": MilestoneFilter(_search),
    "state": MilestoneFilter(_of_state, _require_choice("state", list(State))),
    "kind": MilestoneFilter(_of_kind),
    "source": MilestoneFilter(_of_source),
    FROM: MilestoneFilter(_from, _require_day(FROM)),
    TO: MilestoneFilter(_to, _require_day(TO)),
}
#: How milestones may be sorted: each in its project, or all by how late they are.
SORTS: Final = ("project", "worst")
_check_sort: Final = _require_choice(SORT, SORTS)


class MilestoneSelection(NamedTuple):
    """What a query selects; the values are texts that were checked."""

    values: tuple[tuple[str, str], ...]
    sort: str = SORTS[0]
    #: Of which sources say different dates, where that is asked for.
    disagreed: frozenset[MilestoneRef] = frozenset()

    def get(self, name: str) -> str:
        """Return the value of a filter; empty without it."""
        return dict(self.values).get(name, "")

    @property
    def show(self) -> str:
        """The name of the selection by state."""
        return self.get(SHOW)

    @property
    def is_narrowed(self) -> bool:
        """Whether another filter than that of the state is in use."""
        return any(name != SHOW for name, _ in self.values) or self.show == DISAGREE or self.sort != SORTS[0]

    @property
    def others(self) -> dict[str, str]:
        """The filters in use beside those of state and project, by the names of their parameters."""
        return {name: text for name, text in self.parameters if name not in {SHOW, PROJECT}}

    @property
    def others_and_project(self) -> dict[str, str]:
        """The filters in use beside that of state."""
        return {name: text for name, text in self.parameters if name != SHOW}

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The selection as the parameters of a link."""
        return [*self.values, *([(SORT, self.sort)] if self.sort != SORTS[0] else [])]

    @property
    def span(self) -> tuple[date | None, date | None]:
        """The days between which the timeline is shown; None where its milestones say."""
        first, last = self.get(FROM), self.get(TO)
        return date.fromisoformat(first) if first else None, date.fromisoformat(last) if last else None

    def matching(self, view: ProgrammeView, *, without: str = "") -> list[MilestoneStatus]:
        """Return the milestones that all filters match, except one; in the order of rows, or the worst first."""
        is_disputed = self.show == DISAGREE
        without_show = {without, SHOW} if is_disputed else {without}
        tests = [FILTERS[name].select(view, text) for name, text in self.values if name not in without_show]
        if is_disputed and without != SHOW:
            tests.append(lambda status: status.ref in self.disagreed)
        found = [status for status in view.statuses if all(matches(status) for matches in tests)]
        # Sorting keeps the order of rows among equals.
        return sorted(found, key=_worst_first) if self.sort == "worst" else found


def _worst_first(status: MilestoneStatus) -> tuple[bool, int]:
    is_late = status.is_open and status.slip_days is not None
    return status.state is not State.OVERDUE, -(status.slip_days or 0) if is_late else 1


def read_selection(request: Request, view: ProgrammeView) -> MilestoneSelection:
    """Return what a page's query selects; the empty fields of a form select nothing.

    Raises `BadQuery` and `NotFoundError`.
    """
    values: dict[str, Any] = {}
    for name, each in FILTERS.items():
        if text := request.query.get(name):
            if len(text) > _MAX_TEXT:
                raise BadQuery(text=f"{name} is longer than {_MAX_TEXT} characters.")
            each.check(view, text)
            values[name] = text
    if values.get(FROM, "") > values.get(TO, "~"):
        raise BadQuery(text=f"{FROM} is not after {TO}.")
    sort = request.query.get(SORT) or SORTS[0]
    _check_sort(view, sort)
    if SHOW not in values:
        values = {SHOW: "all" if values else _default_selection(view), **values}
    return MilestoneSelection(tuple(values.items()), sort)


def _default_selection(view: ProgrammeView) -> str:
    # All of a large programme is more than anybody reads.
    is_large = len(view.statuses) > _MAX_WHOLE
    return "current" if is_large and any(SELECTIONS["current"](view, status) for status in view.statuses) else "all"
