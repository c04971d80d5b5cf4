"""The milestones everyone knows, in their order."""

from itertools import pairwise

from models.domain.events import CATALOGUE, place
from tests.publisher import PATH


def test_the_catalogue_has_the_contracts_milestones_in_the_contracts_order() -> None:
    assert CATALOGUE == PATH
    assert len(set(CATALOGUE)) == 11


def test_milestones_sort_in_the_order_of_the_catalogue_and_the_unknown_behind_them_by_name() -> None:
    unknown = ["a-first", "production-launched-2", "z-last"]
    assert sorted({*CATALOGUE, *unknown}, key=place) == [*CATALOGUE, *unknown]


def test_every_place_is_its_own() -> None:
    places = [place(milestone) for milestone in (*CATALOGUE, "other", "others")]
    assert all(one < other for one, other in pairwise(places))
