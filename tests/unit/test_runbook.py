"""The runbook: a heading for every alert and no other, each with what it means, what to run and how to mend it."""

import re
import shlex
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main

from deploy.cli.app import app
from deploy.runbook_html import PAGE_FILE, render_runbook
from tests.helpers.promtool import alert_rules

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
_PIECES = re.split(r"^## (.+)\n", RUNBOOK, flags=re.MULTILINE)[1:]
SECTIONS = dict(zip(_PIECES[::2], _PIECES[1::2], strict=True))
#: In blocks and in running text.
COMMANDS = sorted(
    {
        command
        for text in SECTIONS.values()
        for command in chain(
            *(block.splitlines() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)),
            re.findall(r"`(milepost [^`]+)`", text),
        )
    }
)
PAGES = {"/live", "/ready", "/metrics", "/metrics/milestones"}


#: What a line of a worker's log says, without an alert.
LOGGED = {"Partitions were added"}


def test_every_alert_has_its_heading_and_every_heading_its_alert_or_a_line_of_the_log() -> None:
    assert sorted(SECTIONS) == sorted([*alert_rules(), *LOGGED])


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_heading_says_what_it_means_what_it_does_what_to_run_and_how_to_mend_it(heading: str) -> None:
    parts = re.findall(r"\*\*(Meaning|Impact|Mend)\.\*\*|^(```sh)$", SECTIONS[heading], re.MULTILINE)

    assert [said or block for said, block in parts] == ["Meaning", "Impact", "```sh", "Mend"]


def test_the_page_of_the_board_is_as_the_runbook_says() -> None:
    assert PAGE_FILE.read_text(encoding="utf-8") == render_runbook(RUNBOOK), "run `make generated`"


@pytest.mark.parametrize("alert", alert_rules())
def test_the_link_of_every_alert_leads_to_its_heading_on_the_page(alert: str) -> None:
    fragment = urlsplit(alert_rules()[alert]["annotations"]["runbook_url"]).fragment

    assert f'<h2 id="{fragment}"><a href="#{fragment}">{alert}</a></h2>' in PAGE_FILE.read_text(encoding="utf-8")


def test_markup_in_the_runbook_is_shown_and_a_template_is_no_template() -> None:
    page = render_runbook("# Title\n\n## A <b>heading</b>\n\n<script>x</script> {{ secret }}\n")

    assert "<script>" not in page
    assert '<h2 id="a-b-heading-b">' in page
    assert page.startswith("{% raw %}")


def parse(command: str) -> None:
    """Parse a command line as it would be; what is wrong with it is raised."""
    name, *words = shlex.split(command)
    found: Any = typer.main.get_command(app)
    context = found.make_context(name, [], resilient_parsing=True)
    while hasattr(found, "resolve_command"):
        _, found, words = found.resolve_command(context, words)
        assert found is not None, f"no such command: {command}"
    found.make_context(command, words, parent=context)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("milepost")])
def test_every_command_of_ours_is_one_that_there_is(command: str) -> None:
    parse(command)


@pytest.mark.parametrize(
    "command", ["milepost strange", "milepost status --strange", "milepost dead-letters mend", "milepost explain"]
)
def test_one_that_there_is_not_would_be_found(command: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse(command)


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("milepost")])
def test_every_other_command_asks_a_page_that_there_is(command: str) -> None:
    curl, silent, url = command.split()

    assert (curl, silent) == ("curl", "--silent")
    place, path = re.fullmatch(r"http://([A-Z]+)(/.*)", url).groups()  # type: ignore[union-attr]  # the match is the test
    assert path in (PAGES if place in {"WORKER", "GATEWAY", "NOTIFY"} else {"/-/ready"})


def test_there_are_commands_of_both_kinds() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"milepost", "curl"}
