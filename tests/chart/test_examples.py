"""The files of deploy/helm/examples fit the chart, the documentation and the product."""

from deploy.topics import required_topics
from models.settings import Settings
from tests.chart.cluster_objects import database_statements, topics, users
from tests.chart.rendering import WORKLOADS, environment_of, example, named, of_kind, render
from tests.chart.tables import VALUES
from tests.helpers.documented_rights import documented_rights
from tests.helpers.postgresql_servers import documented_scripts


def test_users_have_the_rights_of_the_documentation_and_no_others() -> None:
    documented = {f"milepost-{role}": set(rights) for role, rights in documented_rights().items()}
    # Topics that kafka.yaml makes need no right to make them.
    documented["milepost-init"] = {right for right in documented["milepost-init"] if right.operation != "CREATE"}
    granted = {user: set(rights) for user, rights in users().items()}

    assert granted == {user: documented[user] for user in granted}
    assert {"milepost-init", "milepost-worker", "milepost-gateway", "milepost-notify"} <= set(granted)


def test_topics_are_those_that_init_would_make() -> None:
    required = {topic.name: (topic.partitions, dict(topic.config)) for topic in required_topics(Settings())}
    found = {topic.name: (topic.partitions, dict(topic.config)) for topic in topics()}

    assert {config.pop("min.insync.replicas") for _, config in found.values()} == {"2"}
    assert found == required


def test_the_database_has_the_roles_of_the_documentation() -> None:
    documented = [
        _words(statement) for statement in documented_scripts()[0].replace("\\connect milepost", "").split(";")
    ]
    statements = [_words(statement) for statement in database_statements()]
    [cluster] = example("postgres.yaml")
    managed = {role["name"] for role in cluster["spec"]["managed"]["roles"] if role["login"]}

    # The operator makes the owner and the database, and gives the other two their passwords.
    assert [statement for statement in documented if statement and not statement.startswith("CREATE")] == [
        statement for statement in statements if not statement.startswith("CREATE")
    ]
    assert [f"CREATE ROLE {role}" for role in sorted(managed, reverse=True)] == statements[:2]
    assert cluster["spec"]["bootstrap"]["initdb"]["owner"] == "milepost_owner"


def test_every_server_that_the_chart_asks_is_one_of_the_examples() -> None:
    manifests = render(VALUES["the examples"])
    [kafka] = [each for each in example("kafka.yaml") if each["kind"] == "Kafka"]
    [listener] = kafka["spec"]["kafka"]["listeners"]
    worker = environment_of(named(manifests, "Deployment", "milepost-worker"))

    assert worker["MILEPOST_KAFKA"] == f"{kafka['metadata']['name']}-kafka-bootstrap:{listener['port']}"
    assert worker["MILEPOST_KAFKA_SASL_MECHANISM"].lower() == listener["authentication"]["type"]
    assert {
        user["metadata"]["labels"]["strimzi.io/cluster"] for user in example("kafka.yaml") if user["kind"] != "Kafka"
    } == {"kafka"}
    for workload in of_kind(manifests, *WORKLOADS):
        if user := environment_of(workload).get("MILEPOST_KAFKA_SASL_USERNAME"):
            assert user in users()


def _words(statement: str) -> str:
    return " ".join(statement.split())
