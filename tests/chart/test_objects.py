"""Whatever the values are: an API server takes each object, and the objects fit each other."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from deploy.helm.generated import CHART
from tests.chart.rendering import (
    EXAMPLES,
    NAMESPACE,
    WORKLOADS,
    Manifest,
    container_of,
    documents,
    environment_of,
    helm,
    named,
    of_kind,
    pod_of,
    render,
)
from tests.chart.schemas import VERSIONS, find_faults
from tests.chart.tables import VALUES

#: What a Service, a volume or a program may be called.
LONGEST_NAME = 63
#: The kinds that operators bring; a cluster without them takes the chart all the same.
OPERATOR_GROUPS = ("monitoring.coreos.com", "gateway.networking.k8s.io")


@pytest.fixture(params=VALUES, name="manifests")
def _manifests(request: pytest.FixtureRequest) -> Sequence[Manifest]:
    """Give the objects for each row of the table."""
    release = "a-release-with-a-name-as-long-as-helm-allows-53-signs" if request.param == "long names" else "milepost"
    return render(VALUES[request.param], release=release)


def test_the_schemas_are_those_of_the_oldest_and_of_the_newest_kubernetes() -> None:
    oldest, newest = ([int(part) for part in version.split(".")[:2]] for version in VERSIONS)

    assert oldest == [1, 31]
    assert newest >= [1, 37]


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    for version in ("v1.31.0", "v1.37.0"):
        report = helm.lint(CHART, {}, strict=True, kube_version=version)
        assert [note for note in report["messages"] if note["error"] != "icon is recommended"] == []
        assert report["errors"] == []


def test_an_api_server_takes_each_object(manifests: Sequence[Manifest]) -> None:
    assert [fault for manifest in manifests for fault in find_faults(manifest)] == []


def test_an_object_that_an_api_server_would_refuse_is_noticed() -> None:
    worker = named(render(), "Deployment", "milepost-worker")
    monitor = named(render(VALUES["everything"]), "PodMonitor", "milepost-worker")
    worker["spec"]["template"]["spec"]["containers"][0]["imagePullPolicies"] = "Always"
    monitor["spec"]["podMetricsEndpoints"][0]["jobb"] = "milepost"

    assert len(find_faults(worker)) == len(VERSIONS)
    assert len(find_faults(monitor)) == 1
    assert find_faults({"apiVersion": "nobody.example/v1", "kind": "Thing", "metadata": {"name": "a"}})


def test_names_are_unique_and_short_enough(manifests: Sequence[Manifest]) -> None:
    names = [(found["kind"], found["metadata"]["name"]) for found in manifests]

    assert len(names) == len(set(names))
    assert [name for _, name in names if len(name) > LONGEST_NAME] == []


def test_every_object_is_in_the_namespace_of_the_release_and_has_its_labels(manifests: Sequence[Manifest]) -> None:
    for manifest in manifests:
        if manifest["metadata"]["name"].endswith("-extra"):
            continue  # One of `extraObjects` is as its author wrote it.
        assert manifest["metadata"]["namespace"] == NAMESPACE
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "milepost"


def test_a_selector_finds_the_pods_of_one_program_and_no_others(manifests: Sequence[Manifest]) -> None:
    pods = {
        (workload["kind"], workload["metadata"]["name"]): pod_of(workload)["metadata"]["labels"]
        for workload in of_kind(manifests, *WORKLOADS)
    }
    for manifest in of_kind(manifests, "Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor", "Deployment"):
        spec = manifest["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        wanted = selector.get("matchLabels", selector)
        found = [name for name, labels in pods.items() if wanted.items() <= labels.items()]
        component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
        assert len(found) == 1, (manifest["kind"], manifest["metadata"]["name"], found)
        assert pods[found[0]]["app.kubernetes.io/component"] == component


def test_pods_are_spread_by_their_own_selector(manifests: Sequence[Manifest]) -> None:
    for workload in of_kind(manifests, "Deployment"):
        for spread in pod_of(workload)["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"] == workload["spec"]["selector"]


def test_ports_that_are_named_are_ports_of_the_pods(manifests: Sequence[Manifest]) -> None:
    ports: dict[str, set[Any]] = {}
    for workload in of_kind(manifests, *WORKLOADS):
        spec = pod_of(workload)
        found = [port for each in spec["spec"]["containers"] for port in each.get("ports", [])]
        component = spec["metadata"]["labels"]["app.kubernetes.io/component"]
        ports[component] = {port["name"] for port in found} | {port["containerPort"] for port in found}
    for manifest in manifests:
        component = manifest["metadata"].get("labels", {}).get("app.kubernetes.io/component")
        if manifest["kind"] == "Service":
            assert {port["targetPort"] for port in manifest["spec"]["ports"]} <= ports[component]
        elif manifest["kind"] == "PodMonitor":
            assert {each["port"] for each in manifest["spec"]["podMetricsEndpoints"]} <= ports[component]
        elif manifest["kind"] == "NetworkPolicy":
            allowed = [port["port"] for rule in manifest["spec"]["ingress"] for port in rule["ports"]]
            assert set(allowed) <= ports[component]
    services = {found["metadata"]["name"]: found for found in of_kind(manifests, "Service")}
    for route in of_kind(manifests, "Ingress", "HTTPRoute"):
        [rule] = route["spec"]["rules"]
        backend = (
            rule["backendRefs"][0] if route["kind"] == "HTTPRoute" else rule["http"]["paths"][0]["backend"]["service"]
        )
        port = backend["port"]["name"] if route["kind"] == "Ingress" else backend["port"]
        [served] = services[backend["name"]]["spec"]["ports"]
        assert port in {served["name"], served["port"]}


def test_a_name_under_which_people_come_is_one_to_which_the_board_answers(manifests: Sequence[Manifest]) -> None:
    for route in of_kind(manifests, "Ingress", "HTTPRoute"):
        if route["metadata"]["labels"]["app.kubernetes.io/component"] != "board":
            continue
        board = environment_of(named(manifests, "Deployment", route["metadata"]["name"]))
        hosts = [rule["host"] for rule in route["spec"]["rules"] if "host" in rule] + route["spec"].get("hostnames", [])
        assert hosts
        assert set(hosts) <= set(board["MILEPOST_WEB_HOSTS"].split(","))


def test_the_board_asks_every_worker_also_one_that_is_not_ready(manifests: Sequence[Manifest]) -> None:
    for board in of_kind(manifests, "Deployment"):
        if (address := environment_of(board).get("MILEPOST_WORKERS")) is None:
            continue
        name, _, port = address.partition(":")
        service = named(manifests, "Service", name)["spec"]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True
        assert [each["port"] for each in service["ports"]] == [int(port)]


def test_a_restart_takes_one_pod_at_a_time_and_members_of_the_group_are_dynamic(manifests: Sequence[Manifest]) -> None:
    for workload in of_kind(manifests, "Deployment"):
        assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        seconds = float(environment_of(workload)["MILEPOST_STOP_SECONDS"])
        assert pod_of(workload)["spec"]["terminationGracePeriodSeconds"] >= seconds + 10
    assert of_kind(manifests, "StatefulSet") == []


def test_the_job_needs_nothing_that_helm_has_not_made_yet(manifests: Sequence[Manifest]) -> None:
    for job in of_kind(manifests, "Job"):
        is_hook = "helm.sh/hook" in job["metadata"].get("annotations", {})
        spec = pod_of(job)["spec"]
        others = {(each["kind"], each["metadata"]["name"]) for each in manifests if each is not job}
        assert ("ServiceAccount", spec["serviceAccountName"]) not in others or not is_hook
        text = json.dumps(spec)
        assert not any(f'"{name}"' in text for kind, name in others if kind in {"Secret", "ConfigMap"})
        assert "configMap" not in text
        assert is_hook or job["metadata"]["name"].rpartition("-")[2].isalnum()


def test_a_job_beside_the_rest_has_another_name_for_other_content() -> None:
    one, again, other = (
        of_kind(render({"init": {"mode": "job"}, "image": {"tag": tag}}), "Job")[0]["metadata"]["name"]
        for tag in ("1.0.0", "1.0.0", "1.0.1")
    )

    assert one == again
    assert one != other


def test_without_operators_there_is_no_object_of_theirs() -> None:
    groups = {manifest["apiVersion"].rpartition("/")[0] for manifest in render()}

    assert groups.isdisjoint(OPERATOR_GROUPS)


def test_an_autoscaler_decides_on_the_number_of_workers() -> None:
    assert "replicas" not in named(render(VALUES["an autoscaler"]), "Deployment", "milepost-worker")["spec"]
    assert named(render(), "Deployment", "milepost-worker")["spec"]["replicas"] == 2


def test_a_login_before_the_board_leaves_no_way_around_it() -> None:
    manifests = render(VALUES["a login before the board"])
    board = named(manifests, "Deployment", "milepost-board")

    assert environment_of(board)["MILEPOST_WEB"] == "127.0.0.1:8090"
    assert [port["name"] for port in container_of(board)["ports"]] == ["metrics"]
    assert [port["targetPort"] for port in named(manifests, "Service", "milepost-board")["spec"]["ports"]] == [4180]


def test_no_worker_serves_its_board_to_others(manifests: Sequence[Manifest]) -> None:
    workers = [found for found in of_kind(manifests, "Deployment") if container_of(found)["name"] == "worker"]

    assert [environment_of(worker)["MILEPOST_WEB"] for worker in workers] == ["127.0.0.1:8090"]


def test_network_policies_let_each_program_reach_what_it_needs_and_nothing_else() -> None:
    policies = {
        found["metadata"]["name"]: found["spec"] for found in of_kind(render(VALUES["everything"]), "NetworkPolicy")
    }
    destinations = {name: [_ports(rule) for rule in spec["egress"]] for name, spec in policies.items()}
    dns, kafka, database, token = [53, 53], [9093], [5432], [8443]

    assert destinations == {
        "milepost-init": [dns, kafka, database, token],
        "milepost-worker": [dns, kafka, database, token],
        "milepost-board": [dns, database, ["metrics"], token],
        "milepost-gateway": [dns, kafka, token],
        "milepost-notify": [dns, kafka, database, [443, 587, 465], token],
    }
    assert policies["milepost-init"]["ingress"] == []
    assert {_ports(rule)[0] for rule in policies["milepost-worker"]["ingress"]} == {"metrics"}
    assert {_ports(rule)[0] for rule in policies["milepost-gateway"]["ingress"]} == {"metrics", "http"}
    for name in ("worker", "gateway"):
        peers = [peer for rule in policies[f"milepost-{name}"]["ingress"] for peer in rule["from"]]
        assert all(peers)


def _ports(rule: Mapping[str, Any]) -> list[Any]:
    return [port["port"] for port in rule["ports"]]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_operator_takes_each_object_of_the_examples(path: Any) -> None:  # noqa: ANN401 - a path
    if path.name.endswith("values.yaml"):
        assert render(next(documents(path.read_text(encoding="utf-8"))))
        return
    found = list(documents(path.read_text(encoding="utf-8")))
    assert found
    assert [fault for manifest in found for fault in find_faults(manifest)] == []
