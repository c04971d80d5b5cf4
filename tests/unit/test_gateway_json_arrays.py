"""JSON arrays are taken apart into their elements, and the first that is no JSON is named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.gateway.json_arrays import NotAnArrayError, split_array

SPACE = st.text(" \t\n\r", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
#: What the standard library writes, and the decoder of the gateway does not read.
ODD_VALUES = VALUES | st.floats() | st.sampled_from(["\ud800", "a\udfffb"]).map(lambda text: {"id": text})


@st.composite
def arrays(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """Return texts of elements, and an array of them."""
    elements = [json.dumps(value) for value in draw(st.lists(ODD_VALUES, max_size=6))]
    spaced = [draw(SPACE) + element + draw(SPACE) for element in elements]
    return elements, f"{draw(SPACE)}[{draw(SPACE)}{','.join(spaced)}]{draw(SPACE)}".encode()


@given(arrays())
def test_an_array_is_taken_apart_into_its_elements(array: tuple[list[str], bytes]) -> None:
    elements, value = array
    assert [element.strip(b" \t\n\r") for element in split_array(value, 6)] == [text.encode() for text in elements]


@given(st.lists(VALUES, max_size=4), st.sampled_from(["", "{]", "tru", "-", "[" * 5000]), st.data())
def test_the_first_element_that_is_no_json_is_named(values: list[Any], wrong: str, data: st.DataObject) -> None:
    elements = [json.dumps(value) for value in values]
    place = data.draw(st.integers(0, len(elements)))
    elements.insert(place, wrong)
    with pytest.raises(NotAnArrayError) as refusal:
        split_array(f"[{','.join(elements)}, 1]".encode(), 10)
    assert refusal.value.index == place


@pytest.mark.timeout(10)
def test_many_elements_are_not_looked_at_for_ever() -> None:
    with pytest.raises(NotAnArrayError) as refusal:
        split_array(b"[" + b"0," * 500_000 + b"NaN]", 8322)
    assert refusal.value.index is None
