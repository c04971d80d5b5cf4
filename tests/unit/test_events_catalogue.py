"""The milestones everyone knows, in their order."""

from itertools import pairwise

from models.domain.events import MILESTONE_CATALOGUE
from models.domain.row_order import catalogue_sort_key
from tests.helpers.oracle import MILESTONE_SEQUENCE


def test_the_catalogue_has_the_contracts_milestones_in_the_contracts_order() -> None:
    assert MILESTONE_CATALOGUE == MILESTONE_SEQUENCE
    assert len(set(MILESTONE_CATALOGUE)) == 11


def test_milestones_sort_in_the_order_of_the_catalogue_and_the_unknown_behind_them_by_name() -> None:
    unknown = ["a-first", "production-launched-2", "production-launched-10", "z-last"]
    assert sorted({*MILESTONE_CATALOGUE, *unknown}, key=catalogue_sort_key) == [*MILESTONE_CATALOGUE, *unknown]


def test_every_place_is_its_own() -> None:
    places = [catalogue_sort_key(milestone) for milestone in (*MILESTONE_CATALOGUE, "other", "others")]
    assert all(one < other for one, other in pairwise(places))
