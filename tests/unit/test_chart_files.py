"""The chart's files that need no Helm to be looked at: copies, the README, the schema of the values, versions."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.helm.generated import CHART, UndocumentedValueError, generated_files, read_values
from models.settings import Settings

CHECKOUT: Final = Path(__file__).parents[2]
SCHEMA: Final[dict[str, Any]] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
#: What the chart decides itself, from other values or for all installations.
SET_BY_THE_CHART: Final = ("kafka", "database", "feed_key", "gateway", "oauth")


def test_what_is_generated_is_what_make_generated_would_write() -> None:
    for name, text in generated_files().items():
        assert (CHART / name).read_text(encoding="utf-8") == text, f"{name}: run `make generated`"
    copies = {str(path.relative_to(CHART)) for path in (CHART / "files").rglob("*") if path.is_file()}
    assert copies == {name for name in generated_files() if name.startswith("files/")}


def test_a_value_without_a_meaning_is_refused() -> None:
    with pytest.raises(UndocumentedValueError, match=r"board\.colour in values\.yaml has no comment"):
        read_values("board:\n  colour: red\n")


def test_the_readme_has_every_value_with_its_default() -> None:
    found = {value.path: yaml.safe_load(value.default) for value in read_values((CHART / "values.yaml").read_text())}

    for path, default in found.items():
        value = VALUES
        for name in path:
            value = value[name]
        assert value == default, path
    assert {path[0] for path in found} == set(VALUES)


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert chart["version"] == chart["appVersion"] == project["version"]


def test_the_schema_has_the_values_and_no_others() -> None:
    documented = {value.path for value in read_values((CHART / "values.yaml").read_text(encoding="utf-8"))}
    schema = set(schema_paths(SCHEMA))

    assert documented <= schema
    for path in schema:
        is_known = path == () or any(path[: len(value)] == value or value[: len(path)] == path for value in documented)
        # Helm hands `global` to every chart.
        assert is_known or path[0] in {"global", "settings"}, path


def test_values_may_hold_each_setting_that_the_chart_does_not_set_itself_and_no_other() -> None:
    chosen = {
        "web",
        "web_hosts",
        "metrics",
        "board_url",
        "workers",
        "notify",
        "group",
        "partitions",
        "prefix",
        "topics",
    }
    chosen |= {"stop_seconds", "failpoint"}
    free = {name for name in Settings.model_fields if name not in chosen and not name.startswith(SET_BY_THE_CHART)}

    assert set(SCHEMA["properties"]["settings"]["properties"]) == {f"MILEPOST_{name.upper()}" for name in free}
    assert SCHEMA["properties"]["settings"]["additionalProperties"] is False


def schema_paths(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the paths that a schema names."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    yield path
    for name, part in schema.get("properties", {}).items():
        yield from schema_paths(part, (*path, name))
