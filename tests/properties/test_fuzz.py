"""The fuzz targets hold with every seed that once found something, and with one more of each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import FuzzTarget, open_targets

SEEDS = [
    line.split()
    for line in Path("tests/fuzz/seeds.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, FuzzTarget]]:
    with open_targets() as opened:
        yield opened


@pytest.mark.parametrize(("name", "seed"), SEEDS)
def test_a_kept_seed_finds_nothing(targets: dict[str, FuzzTarget], name: str, seed: str) -> None:
    targets[name].run(int(seed), 300)
