"""What the chart has from elsewhere: Prometheus' rules and Grafana's dashboards, and the README of its values.

Helm reads no file outside a chart, so the chart holds copies; a test compares them with their originals.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

import deploy
from models.errors import MilepostError

_DEPLOY: Final = Path(deploy.__file__).parent
CHART: Final = _DEPLOY / "helm" / "milepost"
#: Folders of the chart, and where each comes from.
_COPIES: Final[Mapping[str, Path]] = {
    "files/rules": _DEPLOY / "prometheus" / "rules",
    "files/dashboards": _DEPLOY / "grafana" / "dashboards",
}
_PROGRAMS: Final = ("init", "worker", "board", "gateway", "notify")
_KEY: Final = re.compile(r"^(?P<indent> *)(?P<name>\w+):(?: (?P<value>.+))?$")
_INTRODUCTION: Final = """\
# The Helm chart of Milepost

Workers, board, gateway and notify as Deployments, `milepost init` as a Job.
[docs/kubernetes.md](../../../docs/kubernetes.md) goes from nothing to alerts; [examples](../examples) has Kafka,
PostgreSQL and the rest around the chart. The chart makes no secret, and no value holds one: each is named with its key.
The names in the default values are those of the examples.

`make generated` writes this page from `values.yaml`. Names and types that are not here are refused
(`values.schema.json`).
"""


class UndocumentedValueError(MilepostError):
    """A value of the chart has no comment."""


class Value(NamedTuple):
    """A value of the chart: its path, what it means, and its default as values.yaml has it."""

    path: tuple[str, ...]
    meaning: str
    default: str


def generated_files() -> Mapping[str, str]:
    """Return the text of each generated file of the chart by its path in it.

    Raises `UndocumentedValueError`.
    """
    copies = {
        f"{folder}/{path.name}": path.read_text(encoding="utf-8")
        for folder, origin in _COPIES.items()
        for path in sorted(origin.iterdir())
        if path.is_file()
    }
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    return {**copies, "README.md": f"{_INTRODUCTION}{''.join(_sections(read_values(values)))}"}


def read_values(text: str) -> Sequence[Value]:
    """Return the values in the text of values.yaml, in their order; a mapping in one line is one value.

    A key of a program without a comment has that of the same key of another program. Raises `UndocumentedValueError`
    for a value that has neither.
    """
    values = list(_scan_values(text))
    meanings = {_key_of_program(value.path): value.meaning for value in reversed(values) if value.meaning}
    for value in values:
        if not value.meaning and _key_of_program(value.path) not in meanings:
            raise UndocumentedValueError(f"{'.'.join(value.path)} in values.yaml has no comment: say what it means")
    return [value._replace(meaning=value.meaning or meanings[_key_of_program(value.path)]) for value in values]


def _scan_values(text: str) -> Iterator[Value]:
    """Give the values with the comments above them, which may be empty."""
    comments, parents = list[str](), list[str]()
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comments.append(line.strip().removeprefix("#").strip())
            continue
        match = _KEY.match(line)
        if match is not None:
            parents = [*parents[: len(match["indent"]) // 2], match["name"]]
            if match["value"] is not None:
                yield Value(tuple(parents), " ".join(comments), match["value"])
        comments = []


def _key_of_program(path: tuple[str, ...]) -> tuple[str, ...]:
    return ("", *path[1:]) if path[0] in _PROGRAMS else path


def default_of(value: Value) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return the default of a value."""
    return yaml.safe_load(value.default)


def _sections(values: Sequence[Value]) -> Iterator[str]:
    sections = dict[str, list[Value]]()
    for value in values:
        sections.setdefault(value.path[0] if len(value.path) > 1 else "", []).append(value)
    for name, rows in sections.items():
        yield f"\n## {f'`{name}`' if name else 'The whole'}\n\n| value | default | meaning |\n|---|---|---|\n"
        for row in rows:
            yield f"| `{'.'.join(row.path)}` | `{row.default}` | {row.meaning} |\n"
