"""`milepost schema` prints the schemas, and knows what was meant."""

import json

import pytest
from typer.testing import CliRunner

from deploy.cli.app import app
from models.domain.data_fields import json_schema
from models.domain.events import DATA_TYPES


def test_the_schema_of_one_type_is_a_document_of_its_own() -> None:
    result = CliRunner().invoke(app, ["schema", "milepost.milestone.reported.v1"])

    assert json.loads(result.output) == json_schema("milepost.milestone.reported.v1")


def test_without_a_type_every_schema_is_printed_under_its_type() -> None:
    result = CliRunner().invoke(app, ["schema"])

    assert json.loads(result.output) == {name: json_schema(name) for name in DATA_TYPES}


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("milestone.reported", "did you mean milepost.milestone.reported.v1?"),
        ("???", "the types are milepost.programme.registered.v1, "),
    ],
)
def test_a_type_that_does_not_exist_ends_in_one_line(given: str, advice: str) -> None:
    result = CliRunner().invoke(app, ["schema", given])

    assert result.exit_code == 1
    assert advice in result.output
    assert result.output.count("\n") == 1
