"""The published JSON Schemas accept exactly what the decoder accepts without a remark."""

import json
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec.inspect import DateType, FloatType, IntType, StrType, StructType, Type

from models.domain.cloudevents import decode
from models.domain.data_faults import find_data_faults
from models.domain.data_fields import DataField, allowed_values, data_fields, json_schema
from models.domain.envelope import STRUCTURED_HEADERS
from models.domain.events import DATA_TYPES, Event, ProgrammeRegistered, Rejection

#: What no field takes, or only some.
ANYTHING = st.sampled_from(
    (
        None,
        True,
        False,
        0,
        -1,
        1.5,
        "",
        "0",
        "x",
        "X",
        "x\n",
        "\0",
        "2026-02-30",
        "EST",
        "EUR",
        "🏗",
        [],
        ["x"],
        {},
        {"x": 1},
    )
)
TEXTS = st.sampled_from(
    ("x", "a-b", "a.b_c", "-x", "x-", "a b", "A", "é", "a\n", "a\x7f", "a\x9f", "did_not_occur", "PLN", "eur", "EURO")
)
LENGTHS = st.sampled_from((1, 2, 63, 64, 65, 199, 200, 201, 255, 256, 999, 1000, 1001))
NUMBERS = st.sampled_from(
    (0, 1, -1, 3650, 3651, -3650, -3651, 1200.0, 1.2e3, 0.5, -0.0, -0.5, 2**63, 2**64, 10**30, 1e15, 1e308)
)
DATES = st.sampled_from(
    (
        *("1989-12-31", "1990-01-01", "2024-02-29", "2026-02-29", "2026-1-1", "2026-13-01", "2026-04-31", "20260401"),
        *("2100-12-31", "2101-01-01", "2026-04-01T00:00:00", "2026-04-01Z", " 2026-04-01", "+2026-04-01"),
    )
)


def values(kind: Type) -> SearchStrategy[Any]:
    """Give values of a kind, at its limits and beside them."""
    allowed = allowed_values(kind)
    if allowed is not None:
        return st.sampled_from((*allowed, allowed[0].swapcase(), f"{allowed[0]} "))
    if isinstance(kind, StructType):
        return objects(kind.cls)
    if isinstance(kind, DateType):
        return DATES | st.dates().map(str)
    if isinstance(kind, IntType | FloatType):
        return NUMBERS | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    assert isinstance(kind, StrType)
    return TEXTS | st.builds(lambda text, length: text * length, st.sampled_from("xé🏗"), LENGTHS) | st.text(max_size=8)


def field_values(field: DataField) -> SearchStrategy[Any]:
    """Give mostly what the field says that it takes, so that whole events are often valid."""
    samples = [*field.examples, *([None] if field.is_nullable else [])]
    if isinstance(field.kind, StructType):
        return objects(field.kind.cls) | ANYTHING
    usual = st.sampled_from(samples)
    return st.one_of(usual, usual, usual, usual, values(field.kind), ANYTHING)


@cache
def objects(struct: type) -> SearchStrategy[dict[str, Any]]:
    """Give objects for a struct: complete ones, incomplete ones, and ones with a field that nobody knows."""
    fields = [*data_fields(struct)]
    required = {field.name: field_values(field) for field in fields if field.is_required}
    optional = {field.name: field_values(field) for field in fields if not field.is_required}
    complete = st.fixed_dictionaries(required, optional=optional)
    incomplete = st.fixed_dictionaries({}, optional=required | optional)
    return complete | complete | complete | incomplete | complete.map(lambda whole: whole | {"colour": "blue"})


def has_no_remark(event_type: str, data: object) -> bool:
    """Return whether the decoder takes the data, and knows every field of them."""
    outcome = decoded(event_type, data)
    return isinstance(outcome, Event) and not outcome.oddities


def decoded(event_type: str, data: object) -> Event | Rejection:
    """Decode an event with the data."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "//office",
        "type": event_type,
        "subject": "north" if event_type == ProgrammeRegistered.TYPE else "north/wharf",
        # After every date: which days a report of an actual date may name is no matter of its data alone.
        "time": "2200-01-01T00:00:00Z",
        "data": data,
    }
    return decode(STRUCTURED_HEADERS, json.dumps(event).encode())


@pytest.mark.parametrize("event_type", DATA_TYPES)
def test_schema_and_decoder_agree(event_type: str) -> None:
    validator = jsonschema_rs.Draft202012Validator(json_schema(event_type), validate_formats=True)
    outcomes = set()

    @settings(max_examples=1000)
    @given(data=objects(DATA_TYPES[event_type]) | st.sampled_from(([], "x", 5, True)))
    def agree(data: object) -> None:
        is_valid = validator.is_valid(data)
        outcomes.add(is_valid)
        assert has_no_remark(event_type, data) is is_valid, data
        # The faults are found by other code than the decoder's: every field in turn, in words.
        is_rejected = isinstance(decoded(event_type, data), Rejection)
        assert bool(find_data_faults(event_type, json.dumps(data).encode())) is is_rejected, data

    agree()
    assert outcomes == {True, False}


@pytest.mark.parametrize("event_type", DATA_TYPES)
def test_every_schema_is_one_of_draft_2020_12_and_closed(event_type: str) -> None:
    schema = json_schema(event_type)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert jsonschema_rs.meta.is_valid(schema)
    assert schema["additionalProperties"] is False
    for nested in schema["properties"].values():
        assert "properties" not in nested or nested["additionalProperties"] is False
