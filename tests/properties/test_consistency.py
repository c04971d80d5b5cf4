"""What differs between two tables is found, and nothing else."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from models.database.consistency import Difference, RowFields, RowKey, diff_table, to_json_value

keys = st.tuples(st.sampled_from(["north", "south"]), st.sampled_from(["a", "b", "c"]))
values = st.none() | st.integers(-2, 2) | st.text(max_size=2) | st.dates() | st.booleans()
rows = st.dictionaries(keys, st.fixed_dictionaries({"planned": values, "jobs": values}))
Rows = dict[RowKey, dict[str, Any]]


def differences(expected: Rows, there: Rows) -> list[Difference]:
    return list(diff_table("milestones", expected, there))


def applied(there: Rows, expected: Rows, wrong: list[Difference]) -> Rows:
    """Put right what differences name, and no more."""
    right = {key: dict(row) for key, row in there.items()}
    for difference in wrong:
        _, key, *field = difference.where.split()
        its: RowKey = tuple(key.split("/"))
        if difference.found == "one":
            del right[its]
        elif not field:
            right[its] = dict(expected[its])
        else:
            right[its][field[0]] = expected[its][field[0]]
    return right


@given(rows)
def test_a_table_does_not_differ_from_itself(table: Rows) -> None:
    assert differences(table, {key: dict(row) for key, row in table.items()}) == []


@given(rows, rows)
def test_what_differs_is_all_that_has_to_be_repaired(expected: Rows, there: Rows) -> None:
    wrong = differences(expected, there)
    right = applied(there, expected, wrong)

    assert plain_rows(right) == plain_rows(expected)
    assert differences(expected, right) == []
    # None of it is too much: to leave one out leaves a difference.
    for number in range(len(wrong)):
        assert differences(expected, applied(there, expected, wrong[:number] + wrong[number + 1 :])) != []


@given(rows, rows)
def test_differences_come_in_the_order_of_their_keys_each_with_its_programme(expected: Rows, there: Rows) -> None:
    wrong = differences(expected, there)

    assert [difference.where.split()[1] for difference in wrong] == sorted(
        difference.where.split()[1] for difference in wrong
    )
    assert all(difference.programme == difference.where.split()[1].split("/")[0] for difference in wrong)


@given(rows, rows)
def test_a_table_that_lacks_a_row_and_one_that_has_it_too_many_are_distinguished(expected: Rows, there: Rows) -> None:
    forth, back = differences(expected, there), differences(there, expected)

    def whole(wrong: list[Difference], what: str) -> list[str]:
        return [difference.where for difference in wrong if difference.found == what]

    assert {d.where for d in forth} == {d.where for d in back}
    assert whole(forth, "none") == [d.where for d in back if d.expected == "no row"]


def plain_rows(table: dict[RowKey, dict[str, Any]]) -> dict[RowKey, RowFields]:
    return {key: to_json_value(row) for key, row in table.items()}
