"""The fields of data are described where they are declared, and the schemas follow from them."""

from msgspec.inspect import StructType

from models.domain.data_fields import DataField, allowed_values, data_fields, json_schema
from models.domain.events import DATA_TYPES, EventRetracted, MilestoneReported, Money, Predecessor


def every_field() -> list[DataField]:
    structs: tuple[type, ...] = (*DATA_TYPES.values(), Money, Predecessor)
    return [field for struct in structs for field in data_fields(struct)]


def test_every_field_says_what_it_means_and_gives_an_example() -> None:
    for field in every_field():
        assert field.description.endswith("."), field.name
        assert field.examples or isinstance(field.kind, StructType), field.name


def test_a_field_that_is_not_required_may_be_null() -> None:
    assert all(field.is_nullable is not field.is_required for field in every_field())


def test_enumerations_tell_their_values() -> None:
    [classifier] = [field for field in data_fields(MilestoneReported) if field.name == "classifier"]
    [reason] = [field for field in data_fields(EventRetracted) if field.name == "reason"]

    assert allowed_values(classifier.kind) == ["PLN", "EST", "ACT"]
    assert allowed_values(reason.kind) == ["did_not_occur", "incorrect_data"]


def test_a_schema_has_limits_and_the_values_that_are_allowed() -> None:
    properties = json_schema(MilestoneReported.TYPE)["properties"]

    assert properties["classifier"]["enum"] == ["PLN", "EST", "ACT"]
    assert properties["party"]["maxLength"] == 200
    assert properties["amount"]["properties"]["amount"] == {
        "description": "How much, in units of the currency.",
        "examples": [12500000],
        "type": "number",
        "minimum": 0,
    }
    assert json_schema(MilestoneReported.TYPE)["required"] == ["milestone", "classifier", "date"]
