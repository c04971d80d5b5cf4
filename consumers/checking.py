"""Judge events before they are sent, as a worker will that reads them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from consumers.event_files import Written
from models.admission import AllowedSources, admit
from models.envelope import STRUCTURED, decode
from models.events import DATA_TYPES, Event, Oddity, Reason, Rejection
from models.settings import Settings

#: Takes a line for people.
Tell = Callable[[str], None]

STRUCTURED_HEADERS: Final = [("content-type", STRUCTURED.encode())]


class Checked(NamedTuple):
    """What came of checking one event."""

    where: str
    outcome: Event | Rejection
    #: Fields of `data` that nobody will read.
    unknown: Sequence[str] = ()


class _Carrying(Struct):
    data: dict[str, Raw] = {}


_decode_carrying = msgspec.json.Decoder(_Carrying).decode


def check(written: Iterable[Written], now_ms: int, allowed: AllowedSources) -> Iterator[Checked]:
    """Judge events as a worker would that reads them at this moment."""
    for place in written:
        if place.fault is not None:
            yield Checked(place.where, Rejection(Reason.MALFORMED, place.fault))
            continue
        outcome = decode(STRUCTURED_HEADERS, place.value)
        if isinstance(outcome, Event):
            outcome = admit(outcome, now_ms, allowed)
        unknown: Sequence[str] = ()
        if isinstance(outcome, Event) and Oddity.UNKNOWN_FIELD in outcome.oddities:
            unknown = _unknown_fields(outcome, place.value)
        yield Checked(place.where, outcome, unknown)


def _unknown_fields(event: Event, value: bytes) -> Sequence[str]:
    return sorted(_decode_carrying(value).data.keys() - set(DATA_TYPES[event.type].__struct_fields__)) or [
        "data_base64"
    ]


def check_all(settings: Settings, written: Iterable[Written], now_ms: int, tell: Tell, warn: Tell) -> tuple[int, int]:
    """Check events, telling the bad and warning of the odd; return how many there are and how many are bad."""
    count = bad = 0
    for where, outcome, unknown in check(written, now_ms, settings.allowed_sources):
        count += 1
        if isinstance(outcome, Rejection):
            bad += 1
            tell(f"{where}: {outcome.reason}: {outcome.detail}")
        elif unknown:
            warn(f"{where}: warning: {outcome.type} does not know {', '.join(unknown)}: nobody will read it")
    return count, bad
