"""The example files for operators: what they name exists, and their programs take them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
UNIT = "milepost-worker.service"
_SETTING = re.compile(r"^(?:Environment=)?MILEPOST_(\w+)=(.*)$", re.MULTILINE)


def test_the_environment_of_the_service_has_settings_that_are_read() -> None:
    found = dict(_SETTING.findall((EXAMPLES / "worker.env").read_text(encoding="utf-8")))

    settings = Settings(**{name.lower(): value for name, value in found.items()})

    assert settings.kafka_security_protocol == "SASL_SSL"


def test_the_service_names_settings_that_there_are_and_stops_later_than_the_worker_itself() -> None:
    unit = (EXAMPLES / UNIT).read_text(encoding="utf-8")

    assert [name for name, _ in _SETTING.findall(unit)] == ["DATABASE_FILE", "KAFKA_SASL_PASSWORD_FILE"]
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(seconds) > Settings.model_fields["stop_seconds"].default


_ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(_ANALYZE is None, reason="takes systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = (EXAMPLES / UNIT).read_text(encoding="utf-8")
    [program] = re.findall(r"^ExecStart=(\S+)", unit, re.MULTILINE)
    (tmp_path / UNIT).write_text(unit.replace(program, sys.executable), encoding="utf-8")

    done = subprocess.run([str(_ANALYZE), "verify", str(tmp_path / UNIT)], check=False, capture_output=True, text=True)

    assert [line for line in (done.stdout + done.stderr).splitlines() if "milepost" in line] == []
