"""A real browser for tests: the system's Chromium, headless, and what it is asked about every page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

#: What pages look like, for whoever wants to see: kept after the tests, ignored by git.
SCREENSHOTS: Final = Path(__file__).parents[2] / ".milepost" / "screenshots"
_EXECUTABLES: Final = ("chromium", "chromium-browser", "google-chrome")

ColorScheme = Literal["light", "dark"]


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Give a browser; without one the test is skipped, but in CI it fails."""
    found = next(filter(None, map(shutil.which, _EXECUTABLES)), None)
    if found is None:
        told = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        told("chromium is not on this machine: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, color_scheme: ColorScheme = "light", **options: Any) -> Iterator[Page]:  # noqa: ANN401 - Playwright's own
    """Give a page in a browser of its own; afterwards its console must have been silent."""
    options.setdefault("viewport", {"width": 1280, "height": 900})
    complaints: list[str] = []

    def on_console_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    with browser.new_context(color_scheme=color_scheme, reduced_motion="reduce", **options) as context:
        page = context.new_page()
        page.on("console", on_console_message)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        yield page
    assert complaints == []


def wait_until_rendered(page: Page) -> None:
    """Wait until a page is drawn, and knows that it is told of what is new."""
    page.wait_for_function(
        "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot canvas').length"
    )
    if page.locator("main[data-programme]").count():
        page.locator("#live[data-connection=live]").wait_for()


def accessibility_violations(page: Page) -> list[tuple[str, str, str]]:
    """Return what axe finds that is serious or critical: which rule, what it says, and where."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        (one["id"], one["help"], node["html"])
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


def take_screenshot(page: Page, name: str, *, full_page: bool = True) -> Path:
    """Keep how a page looks."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=full_page)
    return path
