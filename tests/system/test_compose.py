"""The file of compose: what the specification allows, what reaches others, and the whole of it without containers."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
import yaml

from deploy.kafka.broker import run_broker
from models.settings import Settings
from tests.helpers.board import send_request
from tests.helpers.gateway import report
from tests.helpers.postgresql_servers import PostgresqlServer, documented_scripts, running_server
from tests.helpers.promtool import skip_without
from tests.helpers.workers import free_port, wait_until

CHECKOUT: Final = Path(__file__).parents[2]
FOLDER: Final = CHECKOUT / "deploy" / "compose"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Final[Mapping[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = {name: service for name, service in SERVICES.items() if "MILEPOST_IMAGE" in service["image"]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the folder after prepare.sh."""
    checkout = tmp_path_factory.mktemp("checkout")
    shutil.copytree(FOLDER, checkout / "deploy" / "compose", ignore=shutil.ignore_patterns("secrets", "prometheus"))
    (checkout / ".venv").symlink_to(sys.prefix)
    prepare(checkout / "deploy" / "compose")
    return checkout / "deploy" / "compose"


def prepare(folder: Path) -> str:
    return subprocess.run([folder / "prepare.sh"], check=True, capture_output=True, text=True, cwd="/").stdout


def test_the_file_is_as_the_specification_of_compose_says() -> None:
    schema = json.loads((CHECKOUT / "tests" / "data" / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema_rs.validator_for(schema)

    assert [f"{fault.instance_path}: {fault.message}" for fault in validator.iter_errors(COMPOSE)] == []
    assert not validator.is_valid({**COMPOSE, "services": {"kafka": {"imagge": "x"}}})


def test_every_port_is_on_the_loopback_of_the_machine() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
        assert "network_mode" not in service
        assert "privileged" not in service


def test_every_service_has_a_health_check_and_a_volume_for_what_it_keeps() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name != "init")
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if not volume.startswith(".")}
        assert named <= set(COMPOSE["volumes"])
    kept = [volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert set(COMPOSE["volumes"]) <= set(kept)


def test_milepost_runs_without_rights_and_writes_nothing() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(OURS) == {"init", "worker", "board", "gateway"}
    for service in OURS.values():
        # What `make image` builds
        assert service["image"] == f"${{MILEPOST_IMAGE:-milepost:{project['version']}}}"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]


def test_every_setting_is_one_that_milepost_knows() -> None:
    known = {f"MILEPOST_{name.upper()}" for name in Settings.model_fields}
    for service in OURS.values():
        assert set(service["environment"]) <= known


def test_no_secret_is_in_the_file_and_each_is_one_that_prepare_writes(prepared: Path) -> None:
    used = set()
    for service in SERVICES.values():
        granted = {each if isinstance(each, str) else each["source"] for each in service.get("secrets", [])}
        named = {
            Path(value).name
            for value in service.get("environment", {}).values()
            if str(value).startswith("/run/secrets/")
        }
        assert named <= granted
        used |= granted
    assert used == set(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        # A user of a container reads the file; others on the machine do not reach it.
        assert (prepared / "secrets" / name).stat().st_mode & 0o777 == 0o644
    assert (prepared / "secrets").stat().st_mode & 0o777 == 0o700


def test_preparing_again_leaves_the_secrets_as_they_are(prepared: Path) -> None:
    before = {path.name: path.read_text() for path in (prepared / "secrets").iterdir()}

    assert "gateway-token is for publishers" in prepare(prepared)
    assert {path.name: path.read_text() for path in (prepared / "secrets").iterdir()} == before
    assert len({text for name, text in before.items() if "password" in name}) == 2


def test_the_roles_are_those_of_the_documentation(prepared: Path) -> None:
    template = (FOLDER / "roles.sql").read_text(encoding="utf-8")

    assert template.partition("\n")[2].strip() == documented_scripts()[0].strip()
    assert "…" not in (prepared / "secrets" / "roles.sql").read_text(encoding="utf-8")


@skip_without("promtool", "amtool")
def test_prometheus_and_alertmanager_take_their_configuration(prepared: Path) -> None:
    for command in (
        ["promtool", "check", "config", str(prepared / "prometheus" / "prometheus.yml")],
        ["amtool", "check-config", str(prepared / "prometheus" / "alertmanager.yml")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((prepared / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs == {
        "milepost": ["worker:8092"],
        "milepost-milestones": ["worker:8092"],
        "milepost-gateway": ["gateway:8092"],
        "milepost-notify": [],
    }


def broker_properties(inside: int, outside: int, controller: int) -> dict[str, str]:
    """Return what the image makes of Kafka's variables, with ports of this machine in the place of the containers'."""
    ports = {"9092": inside, "9094": outside, "9093": controller}
    properties = {}
    for name, value in SERVICES["kafka"]["environment"].items():
        here = re.sub(r"\b(?:kafka|0\.0\.0\.0|127\.0\.0\.1):(\d+)", lambda port: f"127.0.0.1:{ports[port[1]]}", value)
        properties[name.removeprefix("KAFKA_").lower().replace("_", ".")] = here
    del properties["log.dirs"]
    return properties


class Running:
    """Milepost's services as processes, each with its environment of the file."""

    def __init__(self, prepared: Path, kafka: str, database: PostgresqlServer) -> None:
        self._secrets = prepared / "secrets"
        for name in ("owner", "worker", "reader"):
            path = self._secrets / f"database-{name}"
            path.write_text(path.read_text().replace("@postgres:5432", f"@localhost:{database.port}"))
        #: Ports of this machine by service and port of its container; workers are found by their name.
        self.ports = {(name, port): free_port() for name in OURS for port in (8090, 8091, 8092)}
        self._kafka = kafka

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a service on this machine."""
        found = {key: value for key, value in os.environ.items() if not key.startswith("MILEPOST_")}
        for key, value in OURS[name]["environment"].items():
            here = re.sub(r"^(worker|0\.0\.0\.0|127\.0\.0\.1):(\d+)$", lambda at: self._here(name, at), value)
            found[key] = here.replace("kafka:9092", self._kafka).replace("/run/secrets/", f"{self._secrets}/")
        return found

    def _here(self, name: str, at: re.Match[str]) -> str:
        service = at[1] if at[1] in OURS else name
        return f"127.0.0.1:{self.ports[service, int(at[2])]}"

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a service to its end."""
        return subprocess.run(
            self._command(name), env=self.environment(name), capture_output=True, text=True, check=False, timeout=120
        )

    @contextmanager
    def running(self, name: str, folder: Path) -> Iterator[None]:
        """Run a service until the block ends, once its health check succeeds."""
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(self._command(name), env=self.environment(name), stdout=log, stderr=log, cwd="/")
        try:
            wait_until(lambda: self.is_healthy(name, process), f"{name} is healthy")
            yield
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()

    def is_healthy(self, name: str, process: subprocess.Popen[bytes]) -> bool:
        """Say whether the command of the health check ends well."""
        assert process.poll() is None, f"{name} ended"
        marker, python, *arguments = OURS[name]["healthcheck"]["test"]
        assert (marker, python) == ("CMD", "python3")
        script = [each.replace(":8092", f":{self.ports[name, 8092]}") for each in arguments]
        return subprocess.run([sys.executable, *script], capture_output=True, check=False).returncode == 0

    @staticmethod
    def _command(name: str) -> list[str]:
        return [str(Path(sys.executable).parent / "milepost"), *OURS[name]["command"]]


def test_the_services_work_together(prepared: Path, tmp_path: Path) -> None:
    inside, outside, controller = (free_port() for _ in range(3))
    properties = broker_properties(inside, outside, controller)
    with ExitStack() as stack:
        database = stack.enter_context(running_server())
        database.paste((prepared / "secrets" / "roles.sql").read_text(encoding="utf-8"))
        broker = stack.enter_context(
            run_broker(tmp_path / "kafka", port=inside, report_progress=lambda _: None, property_overrides=properties)
        )
        services = Running(prepared, broker.bootstrap_servers, database)
        init = services.run("init")
        assert (init.returncode, init.stderr) == (0, "")
        for name in ("worker", "board", "gateway"):
            stack.enter_context(services.running(name, tmp_path))

        token = (prepared / "secrets" / "gateway-token").read_text().strip()
        event = report("compose-1", source="//my-desk.example")
        request = urllib.request.Request(
            f"http://127.0.0.1:{services.ports['gateway', 8091]}/events",
            json.dumps(event).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"},
        )
        assert send_request(request).status == 202
        board = urllib.request.Request(f"http://127.0.0.1:{services.ports['board', 8090]}/api/programmes")
        wait_until(lambda: "north" in send_request(board).text, "the board shows the programme")
