"""What the documents list is what there is."""

import re
import tomllib
from pathlib import Path

import pytest

from models.settings import Settings

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = [
    re.split(r"[^\w-]", requirement)[0]
    for requirement in (*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"])
]


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_every_dependency_has_its_reason(name: str) -> None:
    assert re.search(rf"\b{name}\b", (CHECKOUT / "docs" / "dependencies.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    operations = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert f"MILEPOST_{name.upper()}`" in operations or f"…_{name.rsplit('_', maxsplit=1)[-1].upper()}`" in operations


DOCUMENTS = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")]
ARCHITECTURE = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", sorted(DOCUMENTS), ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", re.findall(r"`((?:models|streams|consumers|deploy)/[\w/]+\.py)`", ARCHITECTURE))
def test_every_file_that_the_architecture_names_is_there(name: str) -> None:
    assert (CHECKOUT / name).exists()
