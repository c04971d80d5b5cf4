"""The container image for tests: built as `make image` builds it, on a base made of Debian's packages.

buildah, podman, runc and mmdebstrap come from Debian, and take root; without them a test is skipped, but in CI it
fails. Base and image stay in `.milepost/containers`, so that only what changed is built again; nothing goes into the
machine's own store of images.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

CHECKOUT: Final = Path(__file__).parents[2]
_PROGRAMS: Final = ("buildah", "podman", "runc", "mmdebstrap")
_SUITE: Final = "trixie"
#: What python:3.13-slim-trixie holds for a program: Debian's C library and Python 3.13, a shell, certificates.
_PACKAGES: Final = ("ca-certificates", "tzdata", "python3-minimal", "python3-venv", "libpython3-stdlib")
_LEFT_OUT: Final = ("man", "doc", "locale")
#: What the image is made of, as .dockerignore has it.
_SOURCES: Final = (
    *("requirements-build.lock", "requirements-image.lock", "pyproject.toml", "README.md", "LICENSE"),
    *("models", "streams", "consumers", "deploy", ".dockerignore"),
)
#: What a base without a shell has not got, but for Python itself.
_PROGRAMS_AND_PACKAGES: Final = re.compile(
    r"\./(usr/s?bin/(?!python3)|usr/lib/(apt|dpkg|[^/]+/perl)|usr/share/perl|var/lib/(dpkg|apt))."
)
#: Stages of earlier builds, 250 MB each.
_MAX_LEFT: Final = 6
_STORAGE: Final = """\
[storage]
driver = "overlay"
graphroot = "{folder}/store"
runroot = "{folder}/run"
"""
#: Limits of files and processes that need no right to raise them.
_CONTAINERS: Final = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
tmp_dir = "{folder}/tmp"
"""


class ImageStore(NamedTuple):
    """Images that podman and buildah find with these variables of the environment."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, **variables: str) -> str:
        """Run a command on these images and return its output; its errors are in the failure of a test."""
        environment = self.environment | variables
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=CHECKOUT)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
        return result.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether there is an image of this name."""
        command = ("podman", "image", "exists", image)
        return subprocess.run(command, env=self.environment, check=False, capture_output=True).returncode == 0

    def digest(self, image: str) -> str:
        """Return the digest of an image's manifest."""
        return self.run("podman", "image", "inspect", "--format", "{{.Digest}}", image)


def require_container_tools() -> None:
    """Skip the test, or in CI fail it, where images can be neither built nor run."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if not missing and os.geteuid() == 0:
        return
    end_test = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    problem = f"not on this machine: apt-get install {' '.join(missing)}" if missing else "containers take root here"
    end_test(problem)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def open_image_store(folder: Path) -> ImageStore:
    """Return the images in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    storage, containers = folder / "storage.conf", folder / "containers.conf"
    storage.write_text(_STORAGE.format(folder=folder))
    containers.write_text(_CONTAINERS.format(folder=folder))
    variables = {
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_CONF": str(containers),
        "BUILDAH_ISOLATION": "chroot",
        "BUILDER": "buildah",
    }
    return ImageStore(folder, {**os.environ, **variables})


def _key(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:16]


def _debian_mirror() -> str:
    """Return where this machine has its Debian packages from."""
    command = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian")
    found = subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()
    return found[0] if found else "http://deb.debian.org/debian"


def base_image(store: ImageStore) -> str:
    """Return the name of a base like python:3.13-slim-trixie; it is made if a list of packages is new."""
    archive = _base_archive(store)
    name = f"localhost/milepost-base:{archive.stem}"
    with _locked(store.folder):
        if not store.has(name):
            _import_base(store, name, archive)
    return name


def shell_less_base_image(store: ImageStore) -> str:
    """Return the name of the same base with no program but Python."""
    archive = _base_archive(store)
    name = f"localhost/milepost-shell-less:{_key(archive.stem, _PROGRAMS_AND_PACKAGES.pattern)}"
    with _locked(store.folder):
        if not store.has(name):
            with tempfile.NamedTemporaryFile(suffix=".tar") as reduced:
                with tarfile.open(archive) as every, tarfile.open(fileobj=reduced, mode="w") as fewer:
                    for member in every:
                        if not _PROGRAMS_AND_PACKAGES.match(member.name):
                            fewer.addfile(member, every.extractfile(member) if member.isreg() else None)
                reduced.flush()
                _import_base(store, name, Path(reduced.name))
    return name


def _base_archive(store: ImageStore) -> Path:
    """Return the archive of the base, which is made of Debian's packages if it is not there."""
    options = [
        *("--variant=minbase", f"--include={','.join(_PACKAGES)}", '--aptopt=Apt::Install-Recommends "false"'),
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
    ]
    archive = store.folder / f"{_key(_SUITE, *options)}.tar"
    with _locked(store.folder):
        if not archive.exists():
            partial = store.folder / "partial.tar"
            store.run("mmdebstrap", *options, _SUITE, str(partial), _debian_mirror())
            partial.rename(archive)
    return archive


def _import_base(store: ImageStore, name: str, archive: Path) -> None:
    container = store.run("buildah", "from", "scratch")
    store.run("buildah", "add", container, str(archive), "/")
    store.run("buildah", "config", "--env", "LANG=C.UTF-8", container)
    store.run("buildah", "commit", "--rm", "--timestamp", "0", container, name)


@cache
def _sources_key() -> str:
    paths = sorted(
        path
        for name in _SOURCES
        for path in ((CHECKOUT / name).rglob("*") if (CHECKOUT / name).is_dir() else [CHECKOUT / name])
        if path.is_file() and not {"__pycache__", "helm", "compose"} & {*path.parts}
    )
    return _key(*(part for path in paths for part in (str(path.relative_to(CHECKOUT)), path.read_bytes())))


def image_contents(store: ImageStore, name: str) -> Path:
    """Return the list of what is in an image, which was written when it was built."""
    return store.folder / f"{name.rpartition('/')[2].replace(':', '-')}.cdx.json"


def build_image(store: ImageStore, name: str, base: str, *, runtime: str = "", options: Sequence[str] = ()) -> Path:
    """Build the image as `make image` does; return the list of what is in it."""
    contents = image_contents(store, name)
    settings = {
        "IMAGE": name,
        "BASE": base,
        "RUNTIME": runtime,
        "SBOM": str(contents),
        "BUILD_OPTIONS": " ".join(options),
    }
    store.run("make", "--silent", "image", **settings)
    return contents


def current_image(store: ImageStore) -> str:
    """Return the name of the image of this checkout, on a base like python:3.13-slim; built if a file in it is new."""
    base = base_image(store)
    name = f"localhost/milepost:{_key(base, _sources_key())}"
    with _locked(store.folder):
        if not store.has(name):
            build_image(store, name, base, options=["--layers"])
            _remove_other_images(store, name)
    return name


def _remove_other_images(store: ImageStore, name: str) -> None:
    repository = name.rpartition(":")[0]
    names = store.run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}", repository).split()
    for other in set(names) - {name}:
        store.run("podman", "rmi", "--force", other)
    # What an earlier build left is of use, but the disk is not without end.
    left = store.run("podman", "images", "--filter", "dangling=true", "--quiet").split()
    if len(left) > _MAX_LEFT:
        store.run("podman", "image", "prune", "--force")
