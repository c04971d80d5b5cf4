"""Prometheus beside the demo: the demo does without it, and says so in a line."""

from pathlib import Path

import pytest

from deploy.demo.prometheus import run_demo_prometheus
from models.settings import Settings


def lines(folder: Path) -> list[str]:
    with run_demo_prometheus(folder, Settings()) as pages:
        return list(pages)


def test_where_there_is_no_prometheus_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert lines(tmp_path / "prometheus") == ["alerts    not shown: there is no `prometheus` on the PATH"]
    assert not (tmp_path / "prometheus").exists()


def test_a_prometheus_that_does_not_start_is_no_reason_not_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prometheus").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    (tmp_path / "prometheus").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    log = tmp_path / "data" / "prometheus.log"

    assert lines(tmp_path / "data") == [f"alerts    not shown: Prometheus ended while it started: {log} tells why"]
    assert "broken" in log.read_text()


def test_a_folder_that_cannot_be_written_is_no_reason_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prometheus").write_text("#!/bin/sh\n")
    (tmp_path / "prometheus").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    [line] = lines(tmp_path / "prometheus")
    assert line.startswith("alerts    not shown: ")
    assert str(tmp_path / "prometheus") in line
