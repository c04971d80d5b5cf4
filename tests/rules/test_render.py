"""The alerting files for other addresses, and in a hurry: what is exchanged, and that nothing else is."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.prometheus.__main__ import main
from deploy.prometheus.render import CONFIG_FILES, AddressError, Addresses, render_config
from tests.helpers.promtool import PROMETHEUS_DIR, skip_without

ELSEWHERE = Addresses(
    workers=["worker-1:8090", "worker-2:8090"],
    alertmanagers=["alerts-1:9093"],
    board="https://board.example",
    grafana="https://grafana.example/g",
    runbook="https://wiki.example/runbook",
    receiver="https://receiver.example/x",
    gateways=["gateway-1:8091"],
    notifiers=["notify-1:8092"],
)
WAITS = {"for", "keep_firing_for", "interval", "scrape_timeout", "group_wait"}


def committed(name: str) -> str:
    return (PROMETHEUS_DIR / name).read_text(encoding="utf-8")


def leaves(node: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:  # noqa: ANN401 - whatever YAML holds
    """Return every value of a document by its path."""
    if isinstance(node, dict):
        return {key: leaf for name, value in node.items() for key, leaf in leaves(value, (*path, name)).items()}
    if isinstance(node, list):
        return {key: leaf for at, value in enumerate(node) for key, leaf in leaves(value, (*path, str(at))).items()}
    return {path: node}


def test_where_the_files_are_for_nothing_is_exchanged() -> None:
    assert render_config(Addresses()) == {name: committed(name) for name in CONFIG_FILES}
    assert sorted(CONFIG_FILES) == sorted(
        str(path.relative_to(PROMETHEUS_DIR)) for path in PROMETHEUS_DIR.rglob("*.yml")
    )


def test_every_address_is_exchanged() -> None:
    everything = "".join(render_config(ELSEWHERE).values())

    assert "127.0.0.1" not in "".join(line for line in everything.splitlines() if not line.lstrip().startswith("#"))
    assert everything.count('targets: ["worker-1:8090", "worker-2:8090"]') == 2
    assert everything.count('targets: ["alerts-1:9093"]') == 1
    assert everything.count('targets: ["gateway-1:8091"]') == 1
    assert everything.count('targets: ["notify-1:8092"]') == 1
    assert "runbook_url: https://wiki.example/runbook#milepoststale" in everything
    assert "https://grafana.example/g/d/milepost-pipeline" in everything
    for audience in ("operators", "projects", "watchdog"):
        assert f"url: https://receiver.example/x/{audience}\n" in everything


def test_the_runbook_is_the_boards_own_page_unless_it_is_elsewhere() -> None:
    board = "https://board.example/m"
    everything = "".join(render_config(Addresses(board=board)).values())

    assert everything.count(f"runbook_url: {board}/runbook#") == everything.count("runbook_url: ")
    elsewhere = "".join(render_config(Addresses(runbook="https://wiki.example/runbook")).values())
    assert "runbook_url: https://wiki.example/runbook#milepostdown" in elsewhere
    assert "board_url: http://127.0.0.1:8090/pipeline" in elsewhere


@pytest.mark.parametrize("name", CONFIG_FILES)
def test_in_a_hurry_waits_are_shorter_and_nothing_else_is_different(name: str) -> None:
    before, after = (leaves(yaml.safe_load(text)) for text in (committed(name), render_config(Addresses(), 60)[name]))
    changed = {path for path in before if before[path] != after[path]}

    assert before.keys() == after.keys()
    assert changed == {
        path
        for path, value in before.items()
        if (path[-1] in WAITS or path[-1].endswith("_interval")) and value != "0s"
    }


def test_a_wait_is_never_less_than_a_second_unless_there_is_none() -> None:
    hurried = leaves(yaml.safe_load(render_config(Addresses(), 100)["alertmanager.yml"]))

    assert hurried["route", "group_wait"] == "1s"
    assert hurried["route", "repeat_interval"] == "432s"
    assert hurried["route", "routes", "0", "group_wait"] == "0s"


@skip_without("promtool", "amtool")
@pytest.mark.parametrize("places", [ELSEWHERE, Addresses(alertmanagers=())], ids=["elsewhere", "without Alertmanager"])
def test_what_is_written_is_taken_by_prometheus_and_alertmanager(places: Addresses, tmp_path: Path) -> None:
    for name, text in render_config(places, 30).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (
        ["promtool", "check", "config", "prometheus.yml"],
        ["amtool", "check-config", "alertmanager.yml"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("address", ["", "a b", 'a"', "a\nb: c", "a,b", "a #b"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match="is no address"):
        render_config(Addresses(board=address))
    with pytest.raises(AddressError, match="is no address"):
        render_config(Addresses(workers=["a:1", address]))


def test_the_command_writes_them_and_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "etc"), "--worker", "a:1", "--worker", "b:2", "--board", "https://board.example/"]) == 0

    assert capsys.readouterr().out.split() == [f"{tmp_path}/etc/{name}" for name in CONFIG_FILES]
    assert 'targets: ["a:1", "b:2"]' in (tmp_path / "etc" / "prometheus.yml").read_text()
    assert "https://board.example/pipeline" in (tmp_path / "etc" / "rules" / "pipeline.yml").read_text()


def test_the_address_of_the_board_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILEPOST_BOARD_URL", "https://board.example/")
    assert main(["etc"]) == 0

    text = (tmp_path / "etc" / "rules" / "pipeline.yml").read_text()
    assert "board_url: https://board.example/pipeline" in text
    assert "runbook_url: https://board.example/runbook#milepostdown" in text


def test_a_setting_that_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILEPOST_BOARD_URL", "board.example")
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "board_url" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--worker", "a b"], ["--colour", "red"]])
def test_the_command_says_in_the_end_what_is_wrong(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), *wrong])

    assert ended.value.code == 2
    assert wrong[1] in capsys.readouterr().err.splitlines()[-1]
