"""The order of rows, for any names and dates."""

import random
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from models.domain.claims import Facts
from models.domain.row_order import milestone_sort_key, natural_sort_key
from models.domain.schedule import MilestoneStatus, State, compute_schedule
from tests.helpers.networks import any_facts, data_dates
from tests.helpers.oracle import in_order_of_rows
from tests.helpers.recorder import json_status_row

#: Few characters, so that names differ in a number, in its zeros, or behind it.
names = st.text(alphabet="a-.0129", min_size=1, max_size=8)
days = st.none() | st.sampled_from([date(2026, 1, 1), date(2026, 1, 2), date(2026, 12, 31), date.max])
slugs = names | st.sampled_from(["permit-approved", "memorandum-signed", "permit-approved-2"])


def status_of(programme: str, project: str, milestone: str, dates: list[date | None]) -> MilestoneStatus:
    numbers = (None, None, State.PLANNED, None, 0, None, None, None)
    return MilestoneStatus._make((programme, project, milestone, *dates, *numbers))


statuses = st.builds(status_of, names, names, slugs, st.lists(days, min_size=5, max_size=5))
status_lists = st.lists(statuses, unique_by=lambda status: status.key)


@given(names, names, names)
def test_names_are_in_a_total_order(one: str, other: str, third: str) -> None:
    first, second, last = map(natural_sort_key, (one, other, third))
    assert (first < second) + (first == second) + (first > second) == 1
    assert (first == second) == (one == other)
    assert not first < second < last or first < last


@given(names, names, st.integers(0, 10**40), st.integers(0, 10**40), st.sampled_from(["", "0", "000"]))
def test_numbers_within_names_compare_by_value_and_their_zeros_only_between_equals(
    before: str, behind: str, one: int, other: int, zeros: str
) -> None:
    this, that = f"{before}-{zeros}{one}-{behind}", f"{before}-00{other}-{behind}"
    if one != other:
        assert (natural_sort_key(this) < natural_sort_key(that)) == (one < other)
    else:
        assert (natural_sort_key(this) < natural_sort_key(that)) == (this < that)


@given(st.text(alphabet="az-._", max_size=8), st.text(alphabet="az-._", max_size=8))
def test_names_without_numbers_stand_in_the_order_of_their_text(one: str, other: str) -> None:
    assert (natural_sort_key(one) < natural_sort_key(other)) == (one < other)


def test_numbers_of_any_length_compare() -> None:
    # Python refuses to read these as integers.
    digits = "9" * 10_000
    in_order = ["lot-2", "lot-10", f"lot-{digits}", f"lot-0{digits}", f"lot-1{digits}", "lot-a"]
    assert sorted(sorted(in_order), key=natural_sort_key) == ["lot-2", "lot-10", *sorted(in_order[2:4]), *in_order[4:]]


@given(status_lists, st.randoms(use_true_random=False))
def test_rows_are_in_one_order_whatever_the_order_they_come_in(
    rows: list[MilestoneStatus], chance: random.Random
) -> None:
    in_order = sorted(rows, key=milestone_sort_key)
    assert sorted(chance.sample(rows, len(rows)), key=milestone_sort_key) == in_order
    assert len({milestone_sort_key(row) for row in rows}) == len(rows)


@given(status_lists)
def test_rows_are_in_the_contracts_order(rows: list[MilestoneStatus]) -> None:
    in_order = sorted(rows, key=milestone_sort_key)
    assert list(map(json_status_row, in_order)) == in_order_of_rows(map(json_status_row, rows))


@given(any_facts, data_dates)
def test_rows_of_any_programme_are_in_the_contracts_order(known: Facts, day: date) -> None:
    shown = compute_schedule(known, day).statuses
    in_order = sorted(shown, key=milestone_sort_key)
    assert list(map(json_status_row, in_order)) == in_order_of_rows(map(json_status_row, shown))
