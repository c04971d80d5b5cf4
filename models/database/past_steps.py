"""A past that is loaded: of each milestone, the steps that are not published yet become one history row.

Contract, section 8: what is told of a past is how each milestone stands, not each step of it. Rows are merged before
they are published, so that what is published is what `history` holds, and a change that is published twice is the same
event twice.
"""

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, func, select, tuple_, update

from models.database.tables import checkpoints, history, ledger
from models.domain.schedule import State
from models.domain.timestamps import Instant, Stamp, instant_from_epoch_ms

#: How long before it is noticed an event was stamped at least whose changes belong to a past. Many publishers stamp
#: with a day alone, in any time zone, and send in the night what they have of a day.
PAST_MS: Final = 2 * 24 * 60 * 60 * 1000
#: How many rows are read at once.
_ROWS_PER_READ: Final = 1000


class _Step(NamedTuple):
    """An unpublished history row, and when its cause was stamped."""

    project: str
    milestone: str
    number: int
    recorded_ms: int
    previous: date | None
    current: date | None
    state: str
    dependents: int | None
    instant: Instant | None


def is_past(stamp: Stamp | Instant, noticed_ms: int) -> bool:
    """Return whether what is noticed at a moment, in milliseconds since the epoch, was stamped long before."""
    return stamp < instant_from_epoch_ms(noticed_ms - PAST_MS)


_LOCK_PUBLISHED_NUMBER: Final = (
    select(checkpoints.c.published_number)
    .where(checkpoints.c.programme == bindparam("programme"))
    # Whoever calculates the programme meanwhile adds its rows after this.
    .with_for_update()
)
_IS_UNPUBLISHED: Final = (history.c.programme == bindparam("programme")) & (history.c.number > bindparam("published"))
_PLACE: Final = (history.c.project, history.c.milestone)
_SELECT_STEPS: Final = (
    select(*(history.c[name] for name in _Step._fields[:-1]), ledger.c.instant)
    .select_from(
        history.outerjoin(ledger, and_(ledger.c.source == history.c.cause_source, ledger.c.id == history.c.cause_id))
    )
    .where(
        _IS_UNPUBLISHED,
        tuple_(*_PLACE).in_(select(*_PLACE).where(_IS_UNPUBLISHED).group_by(*_PLACE).having(func.count() > 1)),
    )
    .order_by(*_PLACE, history.c.number)
)
_DELETE_ROW: Final = delete(history).where(
    history.c.programme == bindparam("key_programme"), history.c.number == bindparam("key_number")
)
_UPDATE_ROW: Final = (
    update(history)
    .where(history.c.programme == bindparam("key_programme"), history.c.number == bindparam("key_number"))
    .values(previous=bindparam("new_previous"), dependents=bindparam("new_dependents"))
)


def merge_past_steps(connection: Connection, programme: str) -> None:
    """Merge the unpublished history rows of each milestone of a programme of which all belong to a past.

    The newest of them stays, and tells the whole way; none where the forecast is what it was before. A milestone that
    an event of the present changed as well keeps its steps.
    """
    published = connection.scalar(_LOCK_PUBLISHED_NUMBER, {"programme": programme})
    if published is None:
        return
    rows = connection.execute(
        _SELECT_STEPS, {"programme": programme, "published": published}, execution_options={"yield_per": _ROWS_PER_READ}
    )
    deleted, updated = list[int](), list[dict[str, Any]]()
    for _, group in groupby(map(_Step._make, rows), key=lambda step: step[:2]):
        steps = [*group]
        if not all(step.instant is not None and is_past(step.instant, step.recorded_ms) for step in steps):
            continue
        *superseded, last = steps
        deleted += [step.number for step in superseded]
        previous, dependents = steps[0].previous, _find_dependents(steps)
        if previous == last.current and dependents is None:
            deleted.append(last.number)
        else:
            updated.append(
                {
                    "key_programme": programme,
                    "key_number": last.number,
                    "new_previous": previous,
                    "new_dependents": dependents,
                }
            )
    if deleted:
        connection.execute(_DELETE_ROW, [{"key_programme": programme, "key_number": number} for number in deleted])
    if updated:
        connection.execute(_UPDATE_ROW, updated)


def _find_dependents(steps: Sequence[_Step]) -> int | None:
    """Return how many milestones waited for one that was achieved on the way, and still is; else None."""
    if steps[-1].state != State.ACHIEVED.value:
        return None
    return next((step.dependents for step in reversed(steps) if step.dependents is not None), None)
