"""What the operators would make of the files in deploy/helm/examples, in the words of the tests."""

from collections.abc import Mapping

from deploy.topic_settings import TopicSpec
from tests.chart.rendering import example
from tests.helpers.documented_rights import as_kafka_says
from tests.helpers.secure_kafka import Right


def users() -> Mapping[str, list[Right]]:
    """Return the users of kafka.yaml with their rights; the name of a prefix ends in *."""
    found = {}
    for user in (each for each in example("kafka.yaml") if each["kind"] == "KafkaUser"):
        assert user["spec"]["authorization"]["type"] == "simple"
        found[user["metadata"]["name"]] = [
            Right(acl["resource"]["type"].upper(), _pattern(acl["resource"]), as_kafka_says(operation))
            for acl in user["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        ]
    return found


def _pattern(resource: Mapping[str, str]) -> str:
    return resource["name"] + {"prefix": "*", "literal": ""}[resource.get("patternType", "literal")]


def topics() -> list[TopicSpec]:
    """Return the topics of kafka.yaml, with settings as text."""
    return [
        TopicSpec(
            each["metadata"]["name"],
            each["spec"]["partitions"],
            {name: str(value) for name, value in each["spec"]["config"].items()},
        )
        for each in example("kafka.yaml")
        if each["kind"] == "KafkaTopic"
    ]


def database_statements() -> list[str]:
    """Return the statements of postgres.yaml in the new database, as the operator runs them."""
    [cluster] = example("postgres.yaml")
    statements: list[str] = cluster["spec"]["bootstrap"]["initdb"]["postInitApplicationSQL"]
    return statements


def made_secrets() -> Mapping[str, set[str]]:
    """Return the secrets that the operators make, with their keys."""
    [kafka] = [each for each in example("kafka.yaml") if each["kind"] == "Kafka"]
    [database] = example("postgres.yaml")
    return {
        **{user: {"password", "sasl.jaas.config"} for user in users()},
        f"{kafka['metadata']['name']}-cluster-ca-cert": {"ca.crt", "ca.p12", "ca.password"},
        f"{database['metadata']['name']}-app": {"uri", "username", "password", "dbname", "host", "port"},
        f"{database['metadata']['name']}-ca": {"ca.crt", "ca.key"},
    }
