"""Whatever the values are: Pods run under Pod Security `restricted`, and programs know their settings."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from models.settings import Settings, read_settings
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

#: Volumes that Pod Security `restricted` allows.
VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
#: What the programs and libpq read.
VARIABLES: Final = {f"MILEPOST_{name.upper()}" for name in Settings.model_fields} | {"PGSSLMODE", "PGSSLROOTCERT"}


@pytest.fixture(params=VALUES, name="row")
def _row(request: pytest.FixtureRequest) -> tuple[Mapping[str, Any], Sequence[Manifest]]:
    """Give the values of each row of the table with the workloads that they make."""
    values = VALUES[request.param]
    return values, of_kind(render(values), *WORKLOADS)


Row = tuple[Mapping[str, Any], Sequence[Manifest]]


def test_pods_keep_to_what_pod_security_restricted_demands(row: Row) -> None:
    for workload in row[1]:
        spec = pod_of(workload)["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"} <= VOLUMES
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["securityContext"]["runAsNonRoot"] is True
        # OpenShift, for one, gives each namespace users of its own.
        assert spec["securityContext"].get("runAsUser", 65532) > 0
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in context
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_pods_have_no_token_and_no_addresses_of_services_in_their_environment(row: Row) -> None:
    for workload in row[1]:
        spec = pod_of(workload)["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False


def test_every_container_asks_for_resources_and_has_a_limit_of_memory_and_none_of_processor(row: Row) -> None:
    for workload in row[1]:
        for container in pod_of(workload)["spec"]["containers"]:
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"])
            assert set(resources["limits"]) == {"memory"}


def test_deployments_have_probes_that_never_restart_for_kafka_or_the_database(row: Row) -> None:
    for workload in row[1]:
        container = container_of(workload)
        if workload["kind"] == "Job":
            continue
        assert container["startupProbe"]["httpGet"] == {"path": "/live", "port": "metrics"}
        assert container["livenessProbe"]["httpGet"] == {"path": "/live", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "metrics"}
        # A stalled worker ends itself after MILEPOST_STUCK_SECONDS: Kubernetes does not come before it.
        assert container["livenessProbe"]["periodSeconds"] * container["livenessProbe"]["failureThreshold"] >= 60


def test_only_what_takes_requests_waits_before_it_stops(row: Row) -> None:
    for workload in row[1]:
        container = container_of(workload)
        assert ("lifecycle" in container) == (container["name"] in {"board", "gateway"})
        if "lifecycle" in container:
            waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            stops = float(environment_of(workload)["MILEPOST_STOP_SECONDS"])
            assert waits + stops < pod_of(workload)["spec"]["terminationGracePeriodSeconds"]


def test_every_variable_is_one_that_the_program_knows_and_stands_once(row: Row) -> None:
    for workload in row[1]:
        names = [entry["name"] for entry in container_of(workload)["env"]]
        assert set(names) <= VARIABLES
        repeated = {name for name in names if names.count(name) > 1}
        assert repeated == set()


def test_every_secret_is_named_in_the_values_with_its_key(row: Row) -> None:
    values, workloads = row
    named_values = set(_texts(_merged(values)))
    for workload in workloads:
        spec = pod_of(workload)["spec"]
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["secretName"] in named_values
                assert {item["key"] for item in volume["secret"].get("items", [])} <= named_values
        for container in spec["containers"]:
            for entry in container.get("env", []):
                if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                    assert {reference["name"], reference["key"]} <= named_values


def test_no_secret_is_in_the_environment_of_a_program(row: Row) -> None:
    for workload in row[1]:
        assert not any("valueFrom" in entry for entry in container_of(workload)["env"])


def test_every_volume_is_mounted_once_and_every_mount_is_a_volume(row: Row) -> None:
    for workload in row[1]:
        spec = pod_of(workload)["spec"]
        volumes = [volume["name"] for volume in spec.get("volumes", [])]
        mounts = [mount for container in spec["containers"] for mount in container.get("volumeMounts", [])]
        assert sorted(mount["name"] for mount in mounts) == sorted(volumes)
        assert len({mount["mountPath"] for mount in mounts}) == len(mounts)


def test_a_program_reads_the_settings_of_its_pod(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for workload in row[1]:
        settings = read_pod_settings(workload, tmp_path, monkeypatch)
        component = container_of(workload)["name"]
        if component != "board":
            assert settings.kafka == environment_of(workload)["MILEPOST_KAFKA"]
        if component != "gateway":
            assert settings.database == "postgresql://user:word@database.example/milepost"


def read_pod_settings(workload: Manifest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings as the program would read them in its Pod, with files in a folder in the place of secrets."""
    with monkeypatch.context() as pod:
        volumes = {volume["name"]: volume for volume in pod_of(workload)["spec"].get("volumes", [])}
        for mount in container_of(workload).get("volumeMounts", []):
            inside = folder / mount["mountPath"].removeprefix("/")
            inside.mkdir(parents=True, exist_ok=True)
            for key in [item["key"] for item in volumes[mount["name"]].get("secret", {}).get("items", [])] or ["token"]:
                is_url = mount["name"] == "database"
                (inside / key).write_text(
                    "postgresql://user:word@database.example/milepost" if is_url else "sixteen letters or more"
                )
        for name, value in environment_of(workload).items():
            pod.setenv(name, re.sub(r"^/", f"{folder}/", value))
        return read_settings()


def test_settings_of_the_values_arrive_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = named(render(VALUES["everything"]), "Deployment", "milepost-worker")
    settings = read_pod_settings(worker, tmp_path, monkeypatch)

    assert settings.allowed_sources == {"north": ["//permit-office.example"]}
    assert (settings.max_series, settings.sweep_seconds, settings.batch) == (1_000_000, 0.5, 500)
    assert (settings.log, settings.board_url) == ("json", "https://board.example")


@pytest.mark.parametrize(
    ("row_name", "expected"),
    [
        ("defaults", {"SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD_FILE", "SSL_CAFILE", "SSL_STRICT"}),
        ("client certificates", {"SSL_CERTFILE", "SSL_KEYFILE", "SSL_CAFILE", "SSL_STRICT"}),
        ("plain text", set()),
        (
            "a token endpoint",
            {"SASL_MECHANISM", "SSL_CAFILE", "SSL_STRICT", "OAUTH_SCOPE", "OAUTH_CAFILE"}
            | {"OAUTH_TOKEN_ENDPOINT", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET_FILE"},
        ),
        ("a token that is kept fresh", {"SASL_MECHANISM", "SSL_CAFILE", "SSL_STRICT", "OAUTH_TOKEN_FILE"}),
        ("authorities of the image", {"SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD_FILE", "SSL_STRICT"}),
    ],
)
def test_a_way_to_log_in_is_the_settings_for_it_and_no_others(row_name: str, expected: set[str]) -> None:
    worker = environment_of(named(render(VALUES[row_name]), "Deployment", "milepost-worker"))
    found = {name.removeprefix("MILEPOST_KAFKA_") for name in worker if name.startswith("MILEPOST_KAFKA_")}

    assert found == expected | {"SECURITY_PROTOCOL"}


def test_a_cluster_can_choose_the_users() -> None:
    worker = named(render(VALUES["users that the cluster chooses"]), "Deployment", "milepost-worker")

    assert set(pod_of(worker)["spec"]["securityContext"]) == {"runAsNonRoot", "seccompProfile", "fsGroupChangePolicy"}


def test_an_image_can_be_named_by_its_digest() -> None:
    worker = named(render(VALUES["another image"]), "Deployment", "milepost-worker")

    assert container_of(worker)["image"] == f"registry.example/team/milepost@sha256:{'0' * 64}"


def _merged(values: Mapping[str, Any]) -> dict[str, Any]:
    from tests.chart.rendering import _chart  # noqa: PLC0415 - the library merges as an installation does

    merged: dict[str, Any] = _chart().merge_values(dict(values))
    return merged


def _texts(values: Any) -> Iterator[str]:  # noqa: ANN401 - whatever YAML holds
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _texts(value)
    elif isinstance(values, str):
        yield values
