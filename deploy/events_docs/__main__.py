"""Writes docs/events.md: the prose of page.md, with tables and examples from the types."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Final

from msgspec.inspect import DateType, FloatType, IntType, StrType, StructType, Type

from deploy.events_docs import examples
from deploy.events_docs.examples import JsonObject
from models.domain.data_fields import DataField, allowed_values, data_fields, first_line
from models.domain.events import (
    CURRENCY_PATTERN,
    DATA_TYPES,
    FIRST_YEAR,
    LAST_YEAR,
    MAX_CLOCK_SKEW_MS,
    MAX_VALUE_BYTES,
    MILESTONE_CATALOGUE,
    SLUG_PATTERN,
    EventData,
    MilestoneReported,
    ProgrammeRegistered,
)
from models.domain.json_values import MAX_JSON_DEPTH

_TEMPLATE: Final = Template(Path(__file__).with_name("page.md").read_text(encoding="utf-8"))
_TEXT_RULE: Final = "1 to 255 characters, none of them a control character"
_TIME_RULE: Final = "RFC 3339 with an offset, from year 1 on"

#: Each attribute: whether it is required, its rule in words, an example.
ATTRIBUTES: Final[dict[str, tuple[str, str, str]]] = {
    "specversion": ("yes", "the text `1.0`", "1.0"),
    "id": ("yes", f"{_TEXT_RULE}; with `source`, it names the claim for ever", "2026-0004"),
    "source": ("yes", f"{_TEXT_RULE}; who says it: a URI of your own, always the same", examples.SOURCE),
    "type": ("yes", "one of the types below", MilestoneReported.TYPE),
    "subject": (
        "yes",
        f"`<programme>/<project>`, both slugs; `<programme>` alone for `{ProgrammeRegistered.TYPE}` and no other type",
        "harbour/terminal-2",
    ),
    "time": ("yes", f"{_TIME_RULE}: when the claim was made", "2026-02-03T15:30:00+02:00"),
    "recordedtime": ("no", f"{_TIME_RULE}: takes the place of `time`", "2026-02-04T09:05:00+02:00"),
    "correlationid": ("no", "any text; handed on", "batch-17"),
    "causationid": ("no", "any text; kept", "2026-0003"),
    "partitionkey": ("no", "any text; the record's key, when `milepost publish` sends the event", "harbour"),
    "datacontenttype": ("no", "not read: the data are JSON", "application/json"),
    "data": ("by type", "a JSON object, by the type; absent counts as `{}`", "{…}"),
    "data_base64": ("no", "instead of `data` in structured mode: the same JSON in base64", ""),
}


def render_events_docs() -> str:
    """Return the whole of docs/events.md."""
    short = examples.SHORT_EVENT
    return _TEMPLATE.substitute(
        max_value_bytes=f"{MAX_VALUE_BYTES:,}",
        structured_record=_record([("content-type", "application/cloudevents+json")], short),
        binary_record=_record(examples.binary_headers(short), short["data"]),
        attributes="\n".join(
            f"| `{name}` | {required} | {rule} | {f'`{example}`' if example else ''} |"
            for name, (required, rule, example) in ATTRIBUTES.items()
        ),
        catalogue=", ".join(f"`{milestone}`" for milestone in MILESTONE_CATALOGUE),
        max_depth=MAX_JSON_DEPTH,
        max_skew=MAX_CLOCK_SKEW_MS // 60_000,
        types="\n".join(line for data_type in DATA_TYPES.values() for line in _type_section(data_type)).rstrip(),
        amended=_json(examples.amended_example()),
        retraction=_json(examples.retraction_example()),
        json_lines="\n".join(map(_line, examples.file_events())),
        csv=examples.csv_file().rstrip(),
        yaml=examples.yaml_file().rstrip(),
        reasons="\n".join(line for given in examples.REJECTED_INPUTS for line in _reason_section(given)).rstrip(),
        changes="\n\n".join(map(_json, examples.change_examples())),
        dead_letter=_dead_letter(),
    )


def _line(document: object) -> str:
    return json.dumps(document, ensure_ascii=False)


def _json(document: object) -> str:
    return f"```json\n{json.dumps(document, ensure_ascii=False, indent=2)}\n```"


def _record(headers: Iterable[tuple[str, str]], value: JsonObject, key: str = "harbour") -> str:
    lines = [
        f"key      {key}",
        *(f"header   {name}: {content}" for name, content in headers),
        f"value    {_line(value)}",
    ]
    return "\n".join(["```text", *lines, "```"])


def _type_section(data_type: type[EventData]) -> Iterator[str]:
    yield f"### `{data_type.TYPE}`\n"
    subject = "`<programme>` alone" if data_type is ProgrammeRegistered else "`<programme>/<project>`"
    yield f"{first_line(data_type)} Subject: {subject}.\n"
    yield "| field | required | rule | meaning | example |"
    yield "|---|---|---|---|---|"
    yield from _field_rows(data_type)
    if data_type is MilestoneReported:
        yield "\nAn actual date (`ACT`) lies at most one day after the day (UTC) on which the claim was made."
    yield ""
    yield f"{_json(examples.example_event(data_type.TYPE))}\n"


def _field_rows(struct: type, parent: str = "", *, is_within_optional: bool = False) -> Iterator[str]:
    for field in data_fields(struct):
        path = f"{parent}{field.name}"
        required = "no" if not field.is_required else f"with `{parent[:-1]}`" if is_within_optional else "yes"
        example = f"`{json.dumps(field.examples[0])}`" if field.examples else ""
        yield f"| `{path}` | {required} | {_rule(field)} | {field.description} | {example} |"
        if isinstance(field.kind, StructType):
            is_optional = is_within_optional or not field.is_required
            yield from _field_rows(field.kind.cls, f"{path}.", is_within_optional=is_optional)


def _rule(field: DataField) -> str:
    rule = describe_kind(field.kind)
    return rule if field.default is None else f"{rule}; absent counts as {field.default}"


def describe_kind(kind: Type) -> str:
    """Return in words what a kind of field takes."""
    values = allowed_values(kind)
    if values is not None:
        return "one of " + ", ".join(f"`{value}`" for value in values)
    if isinstance(kind, StructType):
        return "object"
    if isinstance(kind, DateType):
        return f"`YYYY-MM-DD`, years {FIRST_YEAR} to {LAST_YEAR}"
    if isinstance(kind, IntType | FloatType):
        word = "integer" if isinstance(kind, IntType) else "number"
        limits = [f"from {kind.ge}"] * (kind.ge is not None) + [f"to {kind.le}"] * (kind.le is not None)
        return " ".join([word, *limits])
    if not isinstance(kind, StrType):
        raise TypeError(f"no words for a {kind}")
    return _describe_text(kind)


def _describe_text(kind: StrType) -> str:
    if kind.pattern is None:
        return f"text of at most {kind.max_length} characters"
    return {SLUG_PATTERN: "slug", CURRENCY_PATTERN: "three capital letters"}.get(
        kind.pattern.removeprefix(r"\A").removesuffix(r"\Z"), _TEXT_RULE
    )


def _reason_section(given: examples.RejectedInput) -> Iterator[str]:
    yield f"### `{given.reason}`\n"
    yield f"{given.about}\n"
    yield f"```text\n{given.value.decode() if given.shown is None else given.shown}\n```\n"
    yield f"Detail: `` {given.detail() or examples.DATABASE_DETAILS[given.reason]} ``\n"
    yield f"{given.remedy}\n"


def _dead_letter() -> str:
    key, headers, value = examples.dead_letter_example()
    return _record(headers, json.loads(value), key)


def main(arguments: list[str]) -> int:
    """Write the page to the file given; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("say where to write: python -m deploy.events_docs docs/events.md\n")
        return 2
    Path(arguments[0]).write_text(render_events_docs().rstrip("\n") + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
