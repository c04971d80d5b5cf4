"""The milestones' series for `/metrics/milestones`: contract, section 7.

prometheus_client's encoder costs 8 to 18 µs a series and scrape. Here a programme is rendered once, when it
changes, and a scrape joins bytes. Each family is a row of `FAMILIES`: name, help, and the samples of a programme.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

from models.instants import epoch_seconds, read_stamp
from models.milestones import Facts, Programme, Project, ProjectKey
from models.schedule import Standing, State

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DAY_SECONDS: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
#: What ends a line or a label value, and what has no business in a terminal, a page or a parser.
_UNFIT: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\\"\u2028\u2029]')
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}


class Subject(NamedTuple):
    """What is rendered: one programme on one day."""

    name: str
    facts: Facts
    standings: Sequence[Standing]
    #: The labels of each standing, escaped, without braces.
    labels: Sequence[str]


Samples = Callable[[Subject], Iterable[tuple[str, float]]]


class Family(NamedTuple):
    """One metric family: its samples are (labels, value) pairs."""

    name: str
    help: str
    samples: Samples


def escape(text: str) -> str:
    """Return text as it may stand between the quotes of a label value."""
    return _UNFIT.sub(lambda unfit: _ESCAPES.get(unfit[0], "\N{REPLACEMENT CHARACTER}"), text)


def labels(**values: str) -> str:
    """Return a label set, escaped, without braces."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in values.items())


@lru_cache(maxsize=4096)
def _midnight(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY_SECONDS


def _dates(column: str) -> Samples:
    def samples(subject: Subject) -> Iterator[tuple[str, float]]:
        for standing, named in zip(subject.standings, subject.labels, strict=True):
            day: date | None = getattr(standing, column)
            if day is not None:
                yield named, _midnight(day)

    return samples


def _float(subject: Subject) -> Iterator[tuple[str, float]]:
    for standing, named in zip(subject.standings, subject.labels, strict=True):
        if standing.float_days is not None:
            yield named, standing.float_days * DAY_SECONDS


def _state(subject: Subject) -> Iterator[tuple[str, float]]:
    for standing, named in zip(subject.standings, subject.labels, strict=True):
        for state in State:
            yield f'{named},state="{state}"', standing.state is state


def _last_event(subject: Subject) -> Iterator[tuple[str, float]]:
    for standing, named in zip(subject.standings, subject.labels, strict=True):
        if standing.last is not None:
            yield named, epoch_seconds(read_stamp(standing.last).instant)


def _amount(subject: Subject) -> Iterator[tuple[str, float]]:
    for standing, named in zip(subject.standings, subject.labels, strict=True):
        if standing.amount is not None:
            yield f'{named},currency="{standing.amount.currency}"', standing.amount.amount


def _programme(subject: Subject) -> Programme:
    return subject.facts.programmes.get(subject.name) or Programme()


def _programme_info(subject: Subject) -> Iterator[tuple[str, float]]:
    if subject.name in subject.facts.existing_programmes():
        name = _programme(subject).name
        yield labels(programme=subject.name, name=name.value if name else ""), 1


def _programme_investment(subject: Subject) -> Iterator[tuple[str, float]]:
    if (investment := _programme(subject).investment) is not None:
        yield labels(programme=subject.name, currency=investment.value.currency), investment.value.amount


def _programme_jobs(subject: Subject) -> Iterator[tuple[str, float]]:
    if (jobs := _programme(subject).jobs) is not None:
        yield labels(programme=subject.name), jobs.value


def _projects(subject: Subject) -> Iterator[tuple[ProjectKey, Project]]:
    unregistered = Project()
    for key in sorted(subject.facts.existing_projects()):
        yield key, subject.facts.projects.get(key, unregistered)


def _project_info(subject: Subject) -> Iterator[tuple[str, float]]:
    for key, project in _projects(subject):
        known = {name: getattr(project, name) for name in ("kind", "site", "name")}
        told = {name: register.value if register else "" for name, register in known.items()}
        yield labels(programme=key.programme, project=key.project, **told), 1


def _project_investment(subject: Subject) -> Iterator[tuple[str, float]]:
    for key, project in _projects(subject):
        if (investment := project.investment) is not None:
            money = investment.value
            yield labels(programme=key.programme, project=key.project, currency=money.currency), money.amount


def _project_jobs(subject: Subject) -> Iterator[tuple[str, float]]:
    for key, project in _projects(subject):
        if project.jobs is not None:
            yield labels(programme=key.programme, project=key.project), project.jobs.value


FAMILIES: Final = (
    *(
        Family(f"milepost_milestone_{column}_timestamp_seconds", f"{what}, at 00:00 UTC.", _dates(column))
        for column, what in (
            ("baseline", "The first planned date"),
            ("planned", "The newest planned date"),
            ("estimated", "The newest estimated date"),
            ("actual", "The date on which it was achieved"),
            ("forecast", "The date on which it is expected or was achieved"),
        )
    ),
    Family("milepost_milestone_float_seconds", "How far it may still move before a planned date is missed.", _float),
    Family("milepost_milestone_state", "How it stands today: 1 for the state that applies.", _state),
    Family("milepost_milestone_last_event_timestamp_seconds", "The newest claim's stamp.", _last_event),
    Family("milepost_milestone_amount", "The newest claim's amount.", _amount),
    Family("milepost_programme_info", "A programme and its name.", _programme_info),
    Family("milepost_programme_investment", "What is announced for the whole.", _programme_investment),
    Family("milepost_programme_jobs", "What is announced for the whole.", _programme_jobs),
    Family("milepost_project_info", "What is known of a project.", _project_info),
    Family("milepost_project_investment", "A project's investment.", _project_investment),
    Family("milepost_project_jobs", "A project's jobs.", _project_jobs),
)


class Rendered(NamedTuple):
    """A programme's lines."""

    #: Of each family, in the order of `FAMILIES`.
    lines: tuple[bytes, ...]
    #: How many series its milestones have.
    series: int
    #: How many milestones were left out because there was no room.
    left_out: int


def render(name: str, facts: Facts, standings: Sequence[Standing], room: int) -> Rendered:
    """Return the lines of one programme, with no more milestone series than there is room for."""
    shown, series = _fitting(standings, room)
    # The parts are slugs: nothing in them needs escaping.
    named = [f'programme="{s.programme}",project="{s.project}",milestone="{s.milestone}"' for s in shown]
    subject = Subject(name, facts, shown, named)
    lines = tuple(
        "".join(
            f"{family.name}{{{labelled}}} {_number(value)}\n" for labelled, value in family.samples(subject)
        ).encode()
        for family in FAMILIES
    )
    return Rendered(lines, series, len(standings) - len(shown))


def _fitting(standings: Sequence[Standing], room: int) -> tuple[Sequence[Standing], int]:
    """Return the milestones whose series fit, open ones first, and how many series they have."""
    sizes = [_size(standing) for standing in standings]
    if (total := sum(sizes)) <= room:
        return standings, total
    closed = (State.ACHIEVED, State.CANCELLED)
    kept, series = [], 0
    for place in sorted(range(len(standings)), key=lambda place: standings[place].state in closed):
        if series + sizes[place] > room:
            break
        series += sizes[place]
        kept.append(place)
    return [standings[place] for place in sorted(kept)], series


def _size(standing: Standing) -> int:
    optional = (
        standing.baseline,
        standing.planned,
        standing.estimated,
        standing.actual,
        standing.forecast,
        standing.float_days,
        standing.last,
        standing.amount,
    )
    return len(State) + len(optional) - optional.count(None)


def _number(value: float) -> str:
    # Booleans and whole numbers print short; jobs may be integers beyond any float's range.
    if isinstance(value, int):
        return str(int(value)) if abs(value) < 10**300 else "+Inf"
    return repr(value)
