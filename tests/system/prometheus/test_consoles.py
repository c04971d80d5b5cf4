"""The consoles as a browser shows them, drawn by a real Prometheus that scraped a real worker."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from deploy.demo.story import PROGRAMME, SEZ_OPENS, SEZ_PARK, SEZ_SLIPS_TO, TENANTS
from deploy.prometheus.process import CONSOLES
from tests.scraped import HOSTILE, HOSTILE_NAMES, Scraped, program, watching
from tests.workers import free_port

#: For whoever wants to see what was tested; not in git.
SCREENSHOTS = Path(__file__).parents[3] / ".milepost" / "screenshots"
GATE = {"programme": PROGRAMME, "project": SEZ_PARK, "milestone": "park-commissioned"}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program("chromium"), args=arguments)


class Visitor:
    """Someone who opens consoles, and notes what a browser complains of and whom it asks."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self._address = page, address
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asks)

    def _said(self, message: ConsoleMessage) -> None:
        self.complaints.append(message.text)

    def _asks(self, request: Request) -> None:
        self.asked.add(urlsplit(request.url).netloc)

    def open(self, console: str, **parameters: str) -> None:
        query = f"?{urlencode(parameters)}" if parameters else ""
        answer = self.page.goto(f"http://{self._address}/consoles/{console}{query}")
        assert answer is not None
        assert answer.status == 200, self.page.inner_text("body")

    def table(self, heading: str) -> list[list[str]]:
        """Return the cells of the table below a heading, each with its first line."""
        rows = self.page.locator(f"h2:text-is('{heading}') ~ div.wide >> nth=0 >> tbody tr")
        return [[cell.split("\n")[0] for cell in row.locator("td").all_inner_texts()] for row in rows.all()]


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    """Run the test once in light, and once in dark."""
    found: str = request.param
    return found


@pytest.fixture
def visitor(scraped: Scraped, browser: Browser) -> Iterator[Visitor]:
    """Give a visitor of the consoles."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield Visitor(context.new_page(), scraped.prometheus.address)


def test_the_programme_shows_which_gate_slipped_and_whom_it_holds_up(scraped: Scraped, visitor: Visitor) -> None:
    visitor.open("programme.html", programme=PROGRAMME)
    [lead] = visitor.page.locator("p.lead").all_inner_texts()
    gates = visitor.table("Gates: who waits for whom")
    slipped = scraped.story.day + timedelta(days=SEZ_SLIPS_TO)
    tenants = [tenant for tenant in TENANTS if tenant.park == SEZ_PARK]
    days = SEZ_SLIPS_TO - SEZ_OPENS

    assert lead == f"{SEZ_PARK}/park-commissioned has slipped by {days} days and holds up {len(tenants)} others."
    first = [SEZ_PARK + "/park-commissioned", "", "slipping", str(slipped), f"+{days} d"]
    assert gates[0] == [*first, str(len(tenants)), str(len(tenants))]
    assert len(visitor.table("Late")) >= len(tenants) + 1
    moved = {row[0]: row[2] for row in visitor.table("Moved within a week")}
    assert moved[f"{SEZ_PARK}/park-commissioned"] == f"+{days} d"
    assert moved.keys() == {f"{SEZ_PARK}/park-commissioned", *(f"{one.project}/production-launched" for one in tenants)}


def test_the_tiles_count_what_the_worker_shows(scraped: Scraped, visitor: Visitor) -> None:
    visitor.open("programme.html", programme=PROGRAMME)
    tiles = {
        state: int(count)
        for count, state in (text.split("\n") for text in visitor.page.locator(".tiles li").all_inner_texts())
    }
    page = scraped.worker.page("/metrics/milestones")

    assert tiles == {state: page.value("milepost_milestone_state", programme=PROGRAMME, state=state) for state in tiles}
    assert len(tiles) == 7


def test_the_gate_lists_everyone_whose_date_comes_from_it(scraped: Scraped, visitor: Visitor) -> None:
    visitor.open("gate.html", **GATE)
    slipped = scraped.story.day + timedelta(days=SEZ_SLIPS_TO)
    this, *waiting = visitor.table("Whom it holds up")

    assert this[4] == str(slipped)
    assert {row[0]: row[4] for row in waiting} == {
        f"{tenant.project}/production-launched": str(slipped + timedelta(days=tenant.lag))
        for tenant in TENANTS
        if tenant.park == SEZ_PARK
    }
    assert visitor.page.locator("h2:text-is('Sited here') + ul li").count() == len(waiting)


def test_the_gate_says_how_its_date_moved(scraped: Scraped, visitor: Visitor) -> None:
    visitor.open("gate.html", **GATE)
    planned = scraped.story.day + timedelta(days=SEZ_OPENS)

    assert visitor.table("How its date moved") == [["7 days ago", str(planned), f"+{SEZ_SLIPS_TO - SEZ_OPENS} d"]]

    visitor.open("gate.html", programme=HOSTILE, project="project-0", milestone="park-commissioned")

    assert visitor.table("How its date moved") == []
    assert "Prometheus does not know it for a week yet" in visitor.page.inner_text("main")


def test_one_comes_from_the_programmes_to_a_gate_by_keyboard_alone(visitor: Visitor) -> None:
    visitor.open("index.html")
    visitor.page.get_by_role("link", name=PROGRAMME).focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/programme.html?*")
    visitor.page.locator("p.lead a").focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/gate.html?*")

    assert visitor.page.locator("h1").inner_text() == f"{SEZ_PARK}/park-commissioned slipping"


@pytest.mark.parametrize(
    ("console", "parameters"),
    [
        ("index.html", {}),
        ("programme.html", {"programme": PROGRAMME}),
        ("programme.html", {"programme": HOSTILE}),
        ("gate.html", GATE),
        ("gate.html", {"programme": HOSTILE, "project": "project-1", "milestone": "park-commissioned"}),
        ("gate.html", {}),
    ],
    ids=["index", "programme", "hostile", "gate", "hostile-gate", "unknown"],
)
def test_a_console_is_whole_in_light_and_dark(
    visitor: Visitor, scheme: str, console: str, parameters: dict[str, str], request: pytest.FixtureRequest
) -> None:
    visitor.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    visitor.open(console, **parameters)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    visitor.page.screenshot(path=SCREENSHOTS / f"console-{request.node.callspec.id}.png", full_page=True)
    found = Axe().run(visitor.page)

    assert visitor.page.title().endswith("Milepost")
    assert visitor.complaints == []
    assert visitor.asked == {urlsplit(visitor.page.url).netloc}, "a console asks nobody but its Prometheus"
    assert found.violations_count == 0, found.generate_report()
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_moved_is_shown_of_a_programme_that_was_not_known_a_week_ago(visitor: Visitor) -> None:
    visitor.open("programme.html", programme=HOSTILE)

    assert [row[:3] for row in visitor.table("Moved within a week")] == [
        ["project-0/park-commissioned", "slipping", "+21 d"]
    ]


def test_hostile_names_are_only_text(visitor: Visitor) -> None:
    visitor.open("programme.html", programme=HOSTILE)
    shown = visitor.page.locator("h2:text-is('Late') ~ div.wide >> nth=0 >> td small").all_inner_texts()

    assert visitor.page.locator("h1").inner_text() == HOSTILE_NAMES[0]
    assert sorted(shown) == sorted(HOSTILE_NAMES)
    assert visitor.page.title() == f"{HOSTILE} · Milepost"
    assert visitor.page.locator("script, img, body[onload], [onmouseover]").count() == 0


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, '"} or vector(1) or up{job="', "\\", "\x00", "a\nb"], ids=ascii)
def test_hostile_parameters_are_only_names(visitor: Visitor, name: str) -> None:
    for console in ("programme.html", "gate.html"):
        visitor.open(console, programme=name, project=name, milestone=name)

        assert visitor.page.locator("h1").inner_text().startswith("There is no ")
        assert visitor.page.locator("script, img, body[onload], [onmouseover], table").count() == 0
        assert visitor.complaints == []


def test_without_a_worker_the_consoles_say_that_nothing_is_up_to_date(tmp_path: Path, browser: Browser) -> None:
    with watching(f"127.0.0.1:{free_port()}", tmp_path) as prometheus, browser.new_context() as context:
        visitor = Visitor(context.new_page(), prometheus.address)
        visitor.open("index.html")

        assert "No worker is scraped" in visitor.page.get_by_role("alert").inner_text()


@pytest.mark.parametrize("console", sorted(CONSOLES.iterdir()), ids=lambda path: path.name)
def test_a_console_has_no_script_and_no_address_of_anybody(console: Path) -> None:
    text = console.read_text(encoding="utf-8")

    assert re.findall(r"<script|javascript:|https?:|//[a-z]|safeHtml|\bon\w+=", text, re.IGNORECASE) == []
