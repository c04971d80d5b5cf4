"""The milestones' series for `/metrics/milestones`: contract, section 7.

prometheus_client's encoder costs 8 to 18 µs a series and scrape. Here a milestone is rendered once, when it changes,
and a scrape joins bytes. Each family is a row of a table: name, help, and the samples of a milestone or a programme.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeVar

from models.domain.claims import Facts, Programme, Project, ProjectKey
from models.domain.schedule import Picture, Standing, State
from models.domain.timestamps import epoch_seconds, read_stamp

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DAY_SECONDS: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
#: What ends a line or a label value, and what has no business in a terminal, a page or a parser.
_UNFIT: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\\"\u2028\u2029]')
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}

T = TypeVar("T")


class Family(NamedTuple, Generic[T]):
    """One metric family: of each subject, its samples as (labels, value) pairs."""

    name: str
    help: str
    samples: Callable[[T], Iterable[tuple[str, float]]]


class Whole(NamedTuple):
    """What is rendered of a programme besides its milestones."""

    name: str
    programme: Programme
    #: Every project that an event names, sorted; an empty one where it was never registered.
    projects: Sequence[tuple[ProjectKey, Project]]
    #: How many dependencies were set aside.
    set_aside: int


def whole(name: str, facts: Facts, picture: Picture) -> Whole:
    """Return what there is of a programme besides its milestones; the picture knows which of them exist."""
    named = {*facts.projects, *(key[:2] for key in picture.network.milestones), *(key[::2] for key in facts.sites)}
    unregistered = Project()
    projects = [(key, facts.projects.get(key, unregistered)) for key in sorted(ProjectKey(*key) for key in named)]
    return Whole(name, facts.programmes.get(name) or Programme(), projects, len(picture.set_aside))


def escape(text: str) -> str:
    """Return text as it may stand between the quotes of a label value."""
    return _UNFIT.sub(lambda unfit: _ESCAPES.get(unfit[0], "\N{REPLACEMENT CHARACTER}"), text)


def labels(**values: str) -> str:
    """Return a label set, escaped, without braces."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in values.items())


@lru_cache(maxsize=4096)
def _midnight(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY_SECONDS


def _date(column: str) -> Callable[[Standing], Iterable[tuple[str, float]]]:
    def samples(standing: Standing) -> Iterable[tuple[str, float]]:
        day: date | None = getattr(standing, column)
        return () if day is None else (("", _midnight(day)),)

    return samples


def _float(standing: Standing) -> Iterable[tuple[str, float]]:
    return () if standing.float_days is None else (("", standing.float_days * DAY_SECONDS),)


#: The samples of every state: 1 for it, 0 for the others.
_STATE_SETS: Final = {state: tuple((f',state="{other}"', int(other is state)) for other in State) for state in State}


def _state(standing: Standing) -> Iterable[tuple[str, float]]:
    return _STATE_SETS[standing.state]


def _last_event(standing: Standing) -> Iterable[tuple[str, float]]:
    return () if standing.last is None else (("", epoch_seconds(read_stamp(standing.last).instant)),)


def _driver(standing: Standing) -> Iterable[tuple[str, float]]:
    if (driver := standing.driver) is None:
        return ()
    return ((f',driver_project="{driver.project}",driver_milestone="{driver.milestone}"', 1),)


def _dependents(standing: Standing) -> Iterable[tuple[str, float]]:
    return (("", standing.dependents),)


def _amount(standing: Standing) -> Iterable[tuple[str, float]]:
    amount = standing.amount
    return () if amount is None else ((f',currency="{amount.currency}"', amount.amount),)


#: Labels beyond programme, project and milestone begin with a comma.
MILESTONE_FAMILIES: Final[tuple[Family[Standing], ...]] = (
    *(
        Family(f"milepost_milestone_{column}_timestamp_seconds", f"{what}, at 00:00 UTC.", _date(column))
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
    Family("milepost_milestone_driver_info", "The milestone that sets its forecast.", _driver),
    Family("milepost_milestone_dependents", "Open milestones that wait for it.", _dependents),
    Family("milepost_milestone_amount", "The newest claim's amount.", _amount),
)


def _programme_info(its: Whole) -> Iterator[tuple[str, float]]:
    if its.projects or its.programme.registered is not None:
        name = its.programme.name
        yield labels(programme=its.name, name=name.value if name else ""), 1


def _programme_investment(its: Whole) -> Iterator[tuple[str, float]]:
    if (investment := its.programme.investment) is not None:
        yield labels(programme=its.name, currency=investment.value.currency), investment.value.amount


def _programme_jobs(its: Whole) -> Iterator[tuple[str, float]]:
    if (jobs := its.programme.jobs) is not None:
        yield labels(programme=its.name), jobs.value


def _set_aside(its: Whole) -> Iterator[tuple[str, float]]:
    if its.projects:
        yield labels(programme=its.name), its.set_aside


def _project_info(its: Whole) -> Iterator[tuple[str, float]]:
    for key, project in its.projects:
        known = {name: getattr(project, name) for name in ("kind", "site", "name")}
        told = {name: register.value if register else "" for name, register in known.items()}
        yield labels(programme=key.programme, project=key.project, **told), 1


def _project_investment(its: Whole) -> Iterator[tuple[str, float]]:
    for key, project in its.projects:
        if (investment := project.investment) is not None:
            money = investment.value
            yield labels(programme=key.programme, project=key.project, currency=money.currency), money.amount


def _project_jobs(its: Whole) -> Iterator[tuple[str, float]]:
    for key, project in its.projects:
        if project.jobs is not None:
            yield labels(programme=key.programme, project=key.project), project.jobs.value


WHOLE_FAMILIES: Final[tuple[Family[Whole], ...]] = (
    Family("milepost_programme_info", "A programme and its name.", _programme_info),
    Family("milepost_programme_investment", "What is announced for the whole.", _programme_investment),
    Family("milepost_programme_jobs", "What is announced for the whole.", _programme_jobs),
    Family("milepost_programme_dependencies_set_aside", "Dependencies that would close a cycle.", _set_aside),
    Family("milepost_project_info", "What is known of a project.", _project_info),
    Family("milepost_project_investment", "A project's investment.", _project_investment),
    Family("milepost_project_jobs", "A project's jobs.", _project_jobs),
)


class Lines(NamedTuple):
    """A milestone's lines."""

    standing: Standing
    #: How many series it has.
    series: int
    #: Of each family, in the order of `MILESTONE_FAMILIES`.
    lines: tuple[bytes, ...]


def render_milestone(standing: Standing) -> Lines:
    """Return the lines of one milestone."""
    # The parts are slugs: nothing in them needs escaping.
    programme, project, milestone, *_ = standing
    named = f'{{programme="{programme}",project="{project}",milestone="{milestone}"'
    return Lines(
        standing,
        count_series(standing),
        tuple(
            "".join(
                f"{family.name}{named}{more}}} {_number(value)}\n" for more, value in family.samples(standing)
            ).encode()
            for family in MILESTONE_FAMILIES
        ),
    )


def render_whole(its: Whole) -> tuple[bytes, ...]:
    """Return the lines of a programme and its projects, of each family in the order of `WHOLE_FAMILIES`."""
    return tuple(
        "".join(f"{family.name}{{{labelled}}} {_number(value)}\n" for labelled, value in family.samples(its)).encode()
        for family in WHOLE_FAMILIES
    )


def count_series(standing: Standing) -> int:
    """Return how many series a milestone has."""
    optional = (*standing[3:8], standing.float_days, standing.driver, standing.last, standing.amount)
    # The five dates and what else may be missing; the states and the dependents are always there.
    return len(State) + 1 + len(optional) - optional.count(None)


def _number(value: float) -> str:
    # Whole numbers print short; jobs may be integers beyond any float's range.
    if isinstance(value, int):
        return str(value) if abs(value) < 10**300 else "+Inf"
    return repr(value)
