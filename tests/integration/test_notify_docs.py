"""docs/notify.md: every target in it can be used, and the receiver in it receives what is sent."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from streams.notify.people import AppriseSender
from streams.notify.targets import parse_targets
from tests.helpers.mail import mail_server
from tests.helpers.notify import system_block, write_targets
from tests.helpers.webhooks import SECRET, Reply, receiver
from tests.helpers.workers import free_port, wait_until

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/notify.md").read_text(encoding="utf-8")
RECEIVER = CHECKOUT / "docs/examples/webhook_receiver.py"
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
MAIL_URL = re.search(r"^mailtos://\S+$", PAGE, re.MULTILINE)


def send_sample(targets: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setenv("MILEPOST_NOTIFY", str(targets))
    monkeypatch.chdir(targets.parent)
    result = CliRunner().invoke(app.app, ["notify", "--test", name], prog_name="milepost")
    return result.exit_code, result.output


def test_every_target_of_the_page_can_be_used(tmp_path: Path) -> None:
    assert MAIL_URL is not None
    (tmp_path / "hook.secret").write_text(SECRET)
    (tmp_path / "office.url").write_text(MAIL_URL[0])
    table = parse_targets("\n".join(BLOCKS), tmp_path)
    assert not table.unusable
    assert [target.name for target in table.targets] == [
        *("operations", "programme-office", "monday-report", "slack", "telegram", "planning")
    ]
    for target in table.targets:
        if not target.is_system:
            AppriseSender(target)


def test_the_receiver_of_the_page_is_the_example_and_has_ten_lines_or_few_more() -> None:
    code = RECEIVER.read_text(encoding="utf-8").split('"""', 2)[2].strip()
    assert f"```python\n{code}\n```" in PAGE
    assert sum(bool(line) for line in code.splitlines()) <= 12


def test_the_receiver_takes_a_sample_and_refuses_another_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, log = free_port(), tmp_path / "received"
    targets = write_targets(tmp_path, system_block("planning", f"http://127.0.0.1:{port}/"))
    with (
        log.open("wb") as output,
        subprocess.Popen([sys.executable, str(RECEIVER), str(port), SECRET], stdout=output, stderr=output) as process,
    ):
        try:
            wait_until(lambda: send_sample(targets, "planning", monkeypatch)[0] == 0, "the receiver takes the sample")
            assert "milepost.forecast.changed.v1 milepost-sample/sample" in log.read_text()
            (tmp_path / "hook.secret").write_text("whsec_" + "c2VjcmV0" * 5)
            status, output_text = send_sample(targets, "planning", monkeypatch)
            assert status == 1
            assert output_text.count("\n") == 1
        finally:
            process.terminate()


def test_a_sample_reaches_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as mailbox:
        targets = write_targets(tmp_path, f'name = "team"\nurl = "{mailbox.url}"\n')
        assert send_sample(targets, "team", monkeypatch) == (0, "team took the sample\n")
        assert [message["subject"] for message in mailbox.messages] == ["Milepost: a sample"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", "there is no target 'nobody', only"),
        ("broken", "cannot be used: say one of url"),
        ("gone", "answer is 410"),
    ],
)
def test_a_sample_that_cannot_be_sent_is_one_line(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as system:
        system.reply = lambda _request: Reply(410)
        targets = write_targets(tmp_path, 'name = "broken"\n', system_block("gone", system.url))
        status, output = send_sample(targets, name, monkeypatch)
    assert status == 1
    assert words in output
    assert output.count("\n") == 1


def test_without_a_file_of_targets_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app.app, ["notify"], prog_name="milepost")
    assert result.exit_code == 1
    assert "MILEPOST_NOTIFY names a file of targets" in result.output
