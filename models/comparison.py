"""What should be there against what is there: rows to differences, row by row and field by field."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

Key = tuple[str, ...]
Fields = Mapping[str, Any]


class Difference(NamedTuple):
    """One thing that is not as it should be."""

    #: `<table> <key>`, with ` <field>` where one field of a row differs; or `<topic>:<partition>:<offset>`.
    where: str
    expected: str
    found: str
    #: Whose rows they are; None where the ledger or the topic itself is not as it should be.
    programme: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


def compare(table: str, expected: Mapping[Key, Fields], found: Mapping[Key, Fields]) -> Iterator[Difference]:
    """Give the differences of a table, in the order of its keys; the first part of a key is the programme."""
    for key in sorted(expected.keys() | found.keys()):
        where = f"{table} {'/'.join(key)}"
        if key not in found:
            yield Difference(where, "a row", "none", key[0])
        elif key not in expected:
            yield Difference(where, "no row", "one", key[0])
        else:
            for name, value in expected[key].items():
                there = found[key][name]
                if plain(value) != plain(there):
                    yield Difference(f"{where} {name}", shown(value), shown(there), key[0])


def plain(value: Any) -> Any:  # noqa: ANN401 - any column's value
    """Return a value as JSON has it: an amount of the fold and one read from the database are then alike."""
    return msgspec.to_builtins(value)


def shown(value: Any) -> str:  # noqa: ANN401 - as above
    """Return a value as a difference says it."""
    return "nothing" if value is None else str(plain(value))
