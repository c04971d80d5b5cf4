"""The Pods that the chart renders, run as containers: with the users, topics and roles of the examples, and no others.

What the chart says is what runs: variables, secrets as files, user, rights and limits. Ports alone are others, because
all containers have this machine's network.
"""

import json
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.chart.cluster_objects import database_statements, topics, users
from tests.chart.rendering import (
    WORKLOADS,
    Manifest,
    container_of,
    environment_of,
    named,
    of_kind,
    pod_of,
    render,
)
from tests.chart.tables import VALUES
from tests.helpers.board import send_request
from tests.helpers.containers import Container, ContainerImage, Setup
from tests.helpers.gateway import OFFICE, TOKENS, report
from tests.helpers.postgresql_servers import PostgresqlServer, running_server
from tests.helpers.secure_kafka import PASSWORD, SecureKafka
from tests.helpers.webhooks import SECRET, Receiver, receiver
from tests.helpers.workers import free_port, wait_until

#: Other tests of the session have the usual topics and group.
PREFIX: Final = "chart"
_DATABASE_PASSWORD: Final = "0123456789abcdef"  # noqa: S105 - of the tests
#: Podman alone takes a minute for a container on a machine that is busy with other tests.
_START_SECONDS: Final = 180
_PORTS: Final = ("MILEPOST_WEB", "MILEPOST_GATEWAY", "MILEPOST_METRICS")


class Cluster:
    """What a cluster would have: secrets, users, topics and roles, and the objects of the chart."""

    def __init__(self, kafka: SecureKafka, database: PostgresqlServer, target: str, folder: Path) -> None:
        self._folder = folder
        self._ports = dict[tuple[str, str], int]()
        kafka.add_users(
            {
                user: [right._replace(name=right.name.replace("milepost", PREFIX, 1)) for right in rights]
                for user, rights in users().items()
            }
        )
        _make_topics(kafka)
        _make_database(database)
        uri = f"postgresql://{{}}:{_DATABASE_PASSWORD}@localhost:{database.port}/milepost"
        targets = f'[[target]]\nname = "operations"\nurl = "{target}"\nsecret_file = "hook.secret"\nprivate = true\n'
        self._secrets: Mapping[str, Mapping[str, str]] = {
            "kafka-cluster-ca-cert": {"ca.crt": kafka.authority.certificate.read_text()},
            **{user: {"password": PASSWORD} for user in users()},
            "milepost-db-ca": {"ca.crt": database.authority.certificate.read_text()},
            "milepost-db-app": {"uri": uri.format("milepost_owner")},
            "milepost-db-worker": {"uri": uri.format("milepost_worker")},
            "milepost-db-reader": {"uri": uri.format("milepost_reader")},
            "milepost-gateway-tokens": {"tokens.toml": TOKENS},
            "milepost-notify-targets": {"targets.toml": targets, "hook.secret": SECRET},
        }
        values = json.loads(json.dumps(VALUES["the examples"]))
        values["kafka"] |= {"bootstrapServers": [kafka.address()], "prefix": PREFIX, "group": PREFIX}
        self.workloads = {container_of(each)["name"]: each for each in of_kind(render(values), *WORKLOADS)}

    def port(self, program: str, setting: str) -> int:
        """Return the port of this machine for one of a Pod."""
        return self._ports.setdefault((program, setting), free_port())

    def arguments(self, program: str) -> list[str]:
        """Return what the container is called with."""
        found: list[str] = container_of(self.workloads[program])["args"]
        return found

    def setup(self, program: str) -> Setup:
        """Return what podman has to give a container of the Pod."""
        workload = self.workloads[program]
        environment = environment_of(workload)
        for setting in _PORTS:
            if setting in environment:
                port = self.port(program, setting)
                environment[setting] = re.sub(r":\d+$", f":{port}", environment[setting])
        if "MILEPOST_WORKERS" in environment:
            environment["MILEPOST_WORKERS"] = f"127.0.0.1:{self.port('worker', 'MILEPOST_METRICS')}"
        return Setup(environment, dict(self._mounts(program, workload)), options=_restrictions(workload))

    def _mounts(self, program: str, workload: Manifest) -> Iterator[tuple[Path, str]]:
        spec = pod_of(workload)["spec"]
        volumes = {volume["name"]: volume["secret"] for volume in spec["volumes"]}
        for mount in container_of(workload)["volumeMounts"]:
            secret = volumes[mount["name"]]
            content = self._secrets[secret["secretName"]]
            items = secret.get("items", [{"key": key, "path": key} for key in content])
            folder = self._folder / program / mount["name"]
            folder.mkdir(parents=True)
            for item in items:
                path = folder / item["path"]
                path.write_text(content[item["key"]])
                # As the kubelet does it: root's, and readable for the group that is `fsGroup`.
                os.chown(path, 0, spec["securityContext"]["fsGroup"])
                path.chmod(secret["defaultMode"])
            yield folder, mount["mountPath"]

    def is_ready(self, program: str) -> bool:
        """Say whether the readiness probe of a Pod succeeds."""
        probe = container_of(self.workloads[program])["readinessProbe"]["httpGet"]
        assert probe["port"] == "metrics"
        url = f"http://127.0.0.1:{self.port(program, 'MILEPOST_METRICS')}{probe['path']}"
        try:
            return send_request(urllib.request.Request(url)).status == 200
        except OSError:
            return False


def _restrictions(workload: Manifest) -> list[str]:
    """Return the options for user, rights and memory; other ones are those of every container of the tests."""
    context = {**pod_of(workload)["spec"]["securityContext"], **container_of(workload)["securityContext"]}
    assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
    assert context["capabilities"] == {"drop": ["ALL"]}
    memory = container_of(workload)["resources"]["limits"]["memory"]
    return [
        f"--user={context['runAsUser']}:{context['runAsGroup']}",
        f"--memory={memory.replace('Mi', 'm').replace('Gi', 'g')}",
    ]


def _make_topics(kafka: SecureKafka) -> None:
    wanted = [
        NewTopic(
            topic.name.replace("milepost", PREFIX, 1),
            topic.partitions,
            1,
            topic_configs={**topic.config, "min.insync.replicas": "1"},
        )
        for topic in topics()
    ]
    with closing(KafkaAdminClient(bootstrap_servers=kafka.address("admin"))) as admin:
        admin.create_topics(wanted)


def _make_database(database: PostgresqlServer) -> None:
    database.administrate(
        f"CREATE ROLE milepost_owner LOGIN PASSWORD '{_DATABASE_PASSWORD}'",
        "CREATE DATABASE milepost OWNER milepost_owner ENCODING 'UTF8' TEMPLATE template0",
    )
    database.administrate(
        *database_statements(),
        *(
            f"ALTER ROLE {role} LOGIN PASSWORD '{_DATABASE_PASSWORD}'"
            for role in ("milepost_worker", "milepost_reader")
        ),
        database="milepost",
    )


@pytest.fixture(scope="module")
def target() -> Iterator[Receiver]:
    """Give a system that is told."""
    with receiver() as found:
        yield found


@pytest.fixture(scope="module")
def cluster(secure_kafka: SecureKafka, target: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give everything but the Pods."""
    with running_server() as database:
        yield Cluster(secure_kafka, database, target.url, tmp_path_factory.mktemp("pods"))


@contextmanager
def running_pods(cluster: Cluster, image: ContainerImage, folder: Path) -> Iterator[Mapping[str, Container]]:
    """Run the Pods of all Deployments until the block ends, once they are ready."""
    with ExitStack() as stack:
        containers = dict[str, Container]()
        for program in ("worker", "board", "gateway", "notify"):
            container = stack.enter_context(
                image.running(*cluster.arguments(program), log_folder=folder, setup=cluster.setup(program))
            )

            def is_ready(program: str = program, container: Container = container) -> bool:
                assert container.process.poll() is None, container.log_text
                return cluster.is_ready(program)

            wait_until(is_ready, f"{program} is ready", _START_SECONDS)
            containers[program] = container
        yield containers


def test_the_pods_of_the_chart_work_together(
    cluster: Cluster, milepost_image: ContainerImage, target: Receiver, tmp_path: Path
) -> None:
    init = milepost_image.run(*cluster.arguments("init"), setup=cluster.setup("init"))
    assert init.returncode == 0, init.stderr
    assert init.stdout.count("found") == len(topics())
    assert "warning" not in init.stdout

    with running_pods(cluster, milepost_image, tmp_path) as containers:
        event = report("chart-1")
        request = urllib.request.Request(
            f"http://127.0.0.1:{cluster.port('gateway', 'MILEPOST_GATEWAY')}/events",
            json.dumps(event).encode(),
            {"Authorization": f"Bearer {OFFICE}", "Content-Type": "application/cloudevents+json"},
        )
        assert send_request(request).status == 202
        board = f"http://127.0.0.1:{cluster.port('board', 'MILEPOST_WEB')}"
        wait_until(lambda: "north" in _read(f"{board}/api/programmes"), "the board shows the programme")
        wait_until(lambda: bool(target.events()), "the system is told")
        assert target.events()[0]["subject"] == event["subject"]
        pipeline = f"{board}/api/pipeline"
        assert json.loads(_read(pipeline))["workers"] == [f"127.0.0.1:{cluster.port('worker', 'MILEPOST_METRICS')}"]
        # What a worker said is kept for a moment.
        wait_until(lambda: json.loads(_read(pipeline))["pipeline"]["events"]["accepted"] == 1, "the event is counted")

        for program, container in containers.items():
            status = Path(f"/proc/{container.inspect('{{.State.Pid}}').strip()}/status").read_text()
            facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert (facts["CapEff"], facts["NoNewPrivs"]) == ("0" * 16, "1")
            assert set(facts["Uid"].split()) == {"65532"}
            assert container.stop() == 0, f"{program}: {container.log_text}"
            lines: list[dict[str, Any]] = [json.loads(line) for line in container.log_text.splitlines()]
            assert [line for line in lines if line["level"] not in {"INFO", "WARNING"}] == []


def test_the_service_of_the_board_is_a_name_to_which_the_board_answers(
    cluster: Cluster,
) -> None:
    hosts = environment_of(cluster.workloads["board"])["MILEPOST_WEB_HOSTS"].split(",")
    service = named(render(VALUES["the examples"]), "Service", "milepost-board")["metadata"]

    assert {service["name"], f"{service['name']}.{service['namespace']}.svc"} <= set(hosts)


def _read(url: str) -> str:
    return send_request(urllib.request.Request(url)).text  # noqa: S310 - the tests' own addresses
