"""How the image is built: the same files give the same image; on another base, and with whatever builds images."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.container_images import CHECKOUT, ImageStore, base_image, build_image, shell_less_base_image
from tests.helpers.containers import ContainerImage

BUILD: Final = CHECKOUT / "deploy" / "image" / "build.sh"


def lint(program: str, path: str) -> str:
    """Return what a linter, which the group of dependencies brings, has to say about a file."""
    command = [str(Path(sys.executable).with_name(program)), path]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) == (result.stdout == ""), result.stderr
    return result.stdout


def test_the_containerfile_follows_the_rules_of_its_linter() -> None:
    assert lint("hadolint", "deploy/image/Containerfile") == ""


@pytest.mark.parametrize("script", ["deploy/image/build.sh", ".ci/run"])
def test_scripts_follow_the_rules_of_their_linter(script: str) -> None:
    assert lint("shellcheck", script) == ""


def test_two_builds_of_the_same_files_are_one_image(image_store: ImageStore, milepost_image: ContainerImage) -> None:
    names = [f"{milepost_image.name}-{which}" for which in ("first", "second")]
    for name in names:
        build_image(image_store, name, base_image(image_store))
    digests = [image_store.digest(name) for name in names]
    image_store.run("podman", "rmi", "--force", *names)

    assert digests[0] == digests[1]


def test_an_image_without_a_shell_runs_the_same(image_store: ImageStore, milepost_image: ContainerImage) -> None:
    name = f"{milepost_image.name}-shell-less"
    base = base_image(image_store)
    build_image(image_store, name, base, runtime=shell_less_base_image(image_store), options=["--layers"])
    image = ContainerImage(image_store, name)

    assert image.run("--version").stdout == "milepost 0.1.0\n"
    programs = image.run_python("import json, os; print(json.dumps([*os.listdir('/usr/bin'), *os.listdir('/bin')]))")
    assert {"python3"} <= set(programs) <= {"python3", "python3.13"}


def build(*found: Path, builder: str = "") -> subprocess.CompletedProcess[str]:
    """Ask for an image where these programs alone are found."""
    environment = {**os.environ, "PATH": os.pathsep.join(map(str, found)), "BUILDER": builder}
    return subprocess.run([BUILD], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def few_programs(tmp_path: Path) -> Path:
    """Give a folder of programs that has nothing that builds an image."""
    for program in ("bash", "env", "sed", "dirname"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    return tmp_path


def test_without_anything_that_builds_one_line_says_so(few_programs: Path) -> None:
    result = build(few_programs)

    assert result.returncode == 1
    assert result.stderr == (
        "nothing here builds an image: start Docker, or install podman or buildah (apt-get install podman)\n"
    )


def test_a_docker_client_without_its_server_builds_nothing(few_programs: Path) -> None:
    client = few_programs / "docker"
    client.write_text("#!/bin/sh\nexit 1\n")
    client.chmod(0o755)

    assert build(few_programs).stderr.startswith("nothing here builds an image")


def test_a_builder_that_is_none_is_named(few_programs: Path) -> None:
    result = build(few_programs, builder="kaniko")

    assert (result.returncode, result.stderr) == (1, "BUILDER=kaniko builds no image: docker, podman or buildah do\n")
