"""A real browser for tests: the system's Chromium, headless, and checks of every page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

#: Screenshots of the pages: they stay after the tests and are ignored by git.
SCREENSHOTS: Final = Path(__file__).parents[2] / ".milepost" / "screenshots"
_EXECUTABLES: Final = ("chromium", "chromium-browser", "google-chrome")

ColorScheme = Literal["light", "dark"]


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Give a browser; without one the test is skipped, but in CI it fails."""
    executable = next(filter(None, map(shutil.which, _EXECUTABLES)), None)
    if executable is None:
        end_test = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end_test("chromium is not on this machine: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
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
    """Wait until a page is rendered and connected to the change feed."""
    page.wait_for_function(
        "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot canvas').length"
    )
    if page.locator("main[data-programme]").count():
        page.locator("#live[data-connection=live]").wait_for()


def accessibility_violations(page: Page) -> list[tuple[str, str, str]]:
    """Return the serious and critical violations that axe finds: rule, help text and element."""
    violations: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        (violation["id"], violation["help"], node["html"])
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def take_screenshot(page: Page, name: str, *, full_page: bool = True) -> Path:
    """Save a screenshot of a page; return its path."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=full_page)
    return path
