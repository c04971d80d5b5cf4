"""What an API server would refuse of an object: schemas of Kubernetes, and of the custom kinds in tests/data/crds."""

import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.chart.rendering import Manifest

# Their packages have no type information.
kubernetes_validate: Any = importlib.import_module("kubernetes_validate")
jsonschema: Any = importlib.import_module("jsonschema")

CRDS: Final = Path(__file__).parents[1] / "data" / "crds"
#: The oldest that the chart supports, and the newest that there is a schema of.
VERSIONS: Final = ("1.31", kubernetes_validate.latest_version())


def find_faults(manifest: Manifest) -> list[str]:
    """Return what is wrong with an object, by schema; an unknown kind is wrong."""
    return list(_find_faults(json.dumps(manifest, sort_keys=True)))


@cache
def _find_faults(text: str) -> tuple[str, ...]:
    manifest = json.loads(text)
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    group, _, version = manifest["apiVersion"].rpartition("/")
    path = CRDS / group / f"{manifest['kind'].lower()}_{version}.json"
    if path.is_file():
        return tuple(f"{name}: {fault.json_path}: {fault.message}" for fault in _validator(path).iter_errors(manifest))
    faults = []
    for kubernetes in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)
        except kubernetes_validate.ValidationError as fault:
            faults.append(f"{name}, Kubernetes {kubernetes}: {fault.json_path}: {fault.message}")
        except kubernetes_validate.SchemaNotFoundError as fault:
            faults.append(f"{name}: {fault.message}")
    return tuple(faults)


@cache
def _validator(path: Path) -> Any:  # noqa: ANN401 - without type information
    return jsonschema.Draft7Validator(json.loads(path.read_text(encoding="utf-8")))
