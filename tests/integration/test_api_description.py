"""The API keeps its description: Schemathesis asks for what it allows and for what it does not."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any, Final

from deploy.demo.story import build_story
from tests.helpers.board import running_board

DAY: Final = date(2026, 11, 23)
#: The stream has no end; tests of its own read it.
WITHOUT_STREAM: Final = ("--exclude-path", "/api/stream")
SAME_CASES_EACH_TIME: Final = ("--generation-deterministic", "--phases", "coverage,fuzzing")


def without_assumptions(description: dict[str, Any]) -> dict[str, Any]:
    """Leave out a parameter whose valid values depend on the milestones that there are: test_board_assumptions.py."""
    for operations in description["paths"].values():
        parameters = operations["get"]["parameters"]
        operations["get"]["parameters"] = [each for each in parameters if each["name"] != "assume"]
    return description


def test_every_answer_is_described_and_what_is_not_allowed_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    with running_board(sqlite_url, DAY) as board:
        board.record_events(build_story(DAY).opening)
        description = tmp_path / "openapi.json"
        description.write_text(json.dumps(without_assumptions(board.get("/api/openapi.json").json)))
        bounds = ("--max-examples", "10", "--max-time", "20", "--request-timeout", "5", "--no-color")
        ran = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run", str(description)),
                *("--url", board.address, "--checks", "all"),
                *WITHOUT_STREAM,
                *SAME_CASES_EACH_TIME,
                *bounds,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr
    assert "No issues found" in ran.stdout
