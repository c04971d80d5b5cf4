"""Renders the chart with Helm's own engine, and gives what is in it."""

import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.helm.generated import CHART

REASON: Final = "make test-chart installs what this takes"
#: Helm as a library. Where everything has to be there, a test fails rather than skips.
helm: Any = (
    importlib.import_module("helm_python")
    if os.environ.get("CI") == "true"
    else pytest.importorskip("helm_python", reason=REASON)
)

#: An object as YAML has it.
Manifest = dict[str, Any]
RELEASE: Final = "milepost"
NAMESPACE: Final = "tracking"
EXAMPLES: Final = Path(CHART).parent / "examples"
#: The kinds that have a template of Pods.
WORKLOADS: Final = ("Deployment", "Job")


@cache
def _chart() -> Any:  # noqa: ANN401 - the library's own type
    return helm.Chart.load(CHART)


def render(
    values: Mapping[str, Any] | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
) -> Sequence[Manifest]:
    """Return the objects of the chart with these values. Raises `helm.HelmError` where `helm install` fails."""
    _chart().validate_schema(dict(values or {}))
    texts = _chart().render(values=dict(values or {}), name=release, namespace=namespace)
    return [found for name, text in sorted(texts.items()) if not name.endswith(".txt") for found in documents(text)]


def documents(text: str) -> Iterator[Manifest]:
    """Give the objects in a text of YAML."""
    return (found for found in yaml.safe_load_all(text) if found)


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Return the objects of some kinds."""
    return [found for found in manifests if found["kind"] in kinds]


def named(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """Return the one object of a kind and a name."""
    [found] = [each for each in of_kind(manifests, kind) if each["metadata"]["name"] == name]
    return found


def pod_of(workload: Manifest) -> Manifest:
    """Return the template of the Pods of a Deployment or a Job."""
    template: Manifest = workload["spec"]["template"]
    return template


def container_of(workload: Manifest) -> Manifest:
    """Return the container of Milepost in a Deployment or a Job."""
    found: Manifest = pod_of(workload)["spec"]["containers"][0]
    return found


def environment_of(workload: Manifest) -> dict[str, str]:
    """Return the settings of a Deployment or a Job that have a value."""
    return {entry["name"]: entry["value"] for entry in container_of(workload)["env"] if "value" in entry}


def example(name: str) -> list[Manifest]:
    """Return the objects of a file of the examples."""
    return list(documents((EXAMPLES / name).read_text(encoding="utf-8")))


def as_key(manifest: Manifest) -> str:
    """Return an object as text that is equal for equal objects."""
    return json.dumps(manifest, sort_keys=True)


def used_secrets(manifests: Sequence[Manifest]) -> Mapping[str, set[str]]:
    """Return the secrets that Pods name, with the keys."""
    found: dict[str, set[str]] = {}
    for workload in of_kind(manifests, *WORKLOADS):
        spec = pod_of(workload)["spec"]
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                keys = {item["key"] for item in volume["secret"].get("items", [])}
                found.setdefault(volume["secret"]["secretName"], set()).update(keys)
        for container in spec["containers"]:
            for entry in container.get("env", []):
                if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                    found.setdefault(reference["name"], set()).add(reference["key"])
    return found
