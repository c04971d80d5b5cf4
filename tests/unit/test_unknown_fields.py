"""Fields that no type knows are named, with what was probably meant."""

import json

import pytest

from models.domain.cloudevents import decode
from models.domain.events import Event
from models.domain.unknown_fields import describe_unknown_field
from tests.helpers.event_generators import structured_record
from tests.helpers.oracle import DEPENDENCY_DECLARED
from tests.helpers.recorder import event_json

DATA = {"milestone": "opened", "after": {"project": "wharf", "milestone": "built"}}


def unknown_fields(**changes: object) -> tuple[str, ...]:
    event = decode(*structured_record(event_json(DEPENDENCY_DECLARED, "1", DATA | changes)))
    assert isinstance(event, Event)
    return event.unknown_fields


def test_an_event_tells_the_paths_of_its_unknown_fields() -> None:
    assert unknown_fields() == ()
    assert unknown_fields(lag=3, after={**DATA["after"], "lag": 1}) == ("lag", "after.lag")  # type: ignore[dict-item]


def test_what_an_event_tells_of_them_is_bounded() -> None:
    found = unknown_fields(**{f"{number}{'x' * 100}": 1 for number in range(1000)})

    assert len(found) == 10
    assert len(json.dumps(found)) < 1000


def test_unknown_fields_are_not_part_of_the_content() -> None:
    plain, odd = (
        decode(*structured_record(event_json(DEPENDENCY_DECLARED, "1", data))) for data in (DATA, DATA | {"lag": 3})
    )

    assert isinstance(plain, Event)
    assert isinstance(odd, Event)
    assert plain.digest() == odd.digest()


@pytest.mark.parametrize(
    ("path", "described"),
    [
        ("lag", "`lag`: did you mean `lag_days`?"),
        ("lagDays", "`lagDays`: did you mean `lag_days`?"),
        ("after.projekt", "`after.projekt`: did you mean `after.project`?"),
        ("milestome", "`milestome`: did you mean `milestone`?"),
        ("colour", "`colour`"),
    ],
)
def test_an_unknown_field_is_described_by_the_nearest_that_is_known(path: str, described: str) -> None:
    assert describe_unknown_field(path, DEPENDENCY_DECLARED) == described


def test_without_a_type_the_nearest_field_of_any_type_is_named() -> None:
    assert describe_unknown_field("clasifier") == "`clasifier`: did you mean `classifier`?"
