"""The board of a real worker in a real browser: drawn, read, walked by keyboard, and live."""

import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, Route

from deploy.demo.story import PROGRAMME, SEZ_PARK, build_story
from models.domain.cloudevents import encode_structured
from models.domain.events import Classifier, Event, MilestoneReported, ProgrammeRegistered, ProjectRegistered
from models.domain.timestamps import Instant
from models.settings import Settings
from tests.benchmarks.programmes import initial_events, realistic_plan
from tests.conftest import prepare_settings
from tests.helpers.board import running_board
from tests.helpers.browser import (
    ColorScheme,
    accessibility_violations,
    open_page,
    running_chromium,
    take_screenshot,
    wait_until_rendered,
)
from tests.helpers.recorder import TopicLog
from tests.helpers.workers import WorkerProcess, publish_records, wait_until, worker_process
from tests.integration.test_board import HOSTILE_TEXTS

README_PICTURE: Final = Path(__file__).parents[2] / "docs" / "board.png"
#: What the picture of the README shows of the window, and may weigh.
PICTURE: Final = {"width": 1280, "height": 900}
HEAVIEST: Final = 200_000

GATE: Final = f"{SEZ_PARK}/park-commissioned"
LAUNCH: Final = "tomographic-scanners/production-launched"
HERE: Final = f"/programmes/{PROGRAMME}"
VIEWS: Final = {
    "overview": "/",
    "timeline": HERE,
    "project": f"{HERE}?project=tomographic-scanners",
    "report": f"{HERE}/report",
    "trend": f"{HERE}/trend",
    "why": f"{HERE}/milestones/{LAUNCH}",
    "gate": f"{HERE}/gates/{GATE}",
    "pipeline": "/pipeline",
}
#: On a machine that is busy with other tests; `make bench` measures.
PAINTED_WITHIN_MS: Final = 4000


def today() -> date:
    return datetime.now(UTC).date()


def publish_events(settings: Settings, *events: Event) -> None:
    publish_records(settings, ((event.programme.encode(), *_record(event)) for event in events))


def _record(event: Event) -> tuple[list[tuple[str, bytes]], bytes]:
    headers, value = encode_structured(event)
    return [(name, text or b"") for name, text in headers], value


def report(project: str, classifier: Classifier, days: int, called: str) -> Event:
    """Report a date of a milestone of the harbour, now."""
    now = Instant(datetime.now(UTC).isoformat()[:19])
    data = MilestoneReported(milestone="quay-opened", classifier=classifier, date=today() + timedelta(days=days))
    return Event(source="//harbour.example", id=called, programme="harbour", project=project, time=now, data=data)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as found:
        yield found


@pytest.fixture(scope="module")
def settings(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return prepare_settings(kafka, f"sqlite:///{tmp_path_factory.mktemp('board')}/milepost.db")


@pytest.fixture(scope="module")
def worker(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """Run a worker that was told the demo's story."""
    with worker_process(settings, tmp_path_factory.mktemp("worker")) as running:
        running.wait_until_ready()
        told = build_story(today())
        publish_events(settings, *told.opening)
        wait_until(
            lambda: GATE in running.get(f"/api{HERE}/moves?limit=1000")[1].replace('","milestone":"', "/"),
            "the opening is drawn",
        )
        publish_events(settings, told.slip_event, told.mistaken_event, told.retraction_event)
        publish_records(settings, [(None, [], told.malformed_value)])
        wait_until(lambda: "42 days late" in running.get("/")[1], "the gate slips")
        yield running


def go(page: Page, worker: WorkerProcess, path: str) -> None:
    page.goto(f"http://127.0.0.1:{worker.port}{path}")
    wait_until_rendered(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_rendered_and_can_be_read_by_everyone(
    browser: Browser, worker: WorkerProcess, view: str, scheme: ColorScheme
) -> None:
    with open_page(browser, scheme) as page:
        go(page, worker, VIEWS[view])
        take_screenshot(page, f"{view}-{scheme}")

        assert page.locator("h1").count() == 1
        assert accessibility_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_pipeline_shows_the_event_that_was_cut_short(worker: WorkerProcess) -> None:
    def told() -> str:
        return worker.get("/pipeline")[1]

    wait_until(lambda: "Everything is read" in told(), "all is read")
    wait_until(lambda: ">malformed<" in re.sub("</?bdi>", "", told()), "the letter is shown, at most ten seconds later")
    assert "<b>1</b> malformed" in told()


@pytest.mark.parametrize("width", [390, 768])
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_fits_a_phone_and_a_tablet(browser: Browser, worker: WorkerProcess, view: str, width: int) -> None:
    with open_page(browser, viewport={"width": width, "height": 844}) as page:
        go(page, worker, VIEWS[view])
        take_screenshot(page, f"{view}-{width}")

        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("view", ["timeline", "gate"])
def test_state_forecast_and_slip_are_in_sight_at_every_width(
    browser: Browser, worker: WorkerProcess, view: str, width: int
) -> None:
    with open_page(browser, viewport={"width": width, "height": 844}) as page:
        go(page, worker, VIEWS[view])
        heads = page.locator(".lane-head > span" if view == "timeline" else "table thead th")
        right_ends = {
            heads.nth(number).inner_text(): box["x"] + box["width"]
            for number in range(heads.count())
            if (box := heads.nth(number).bounding_box()) and heads.nth(number).is_visible()
        }

    assert all(right_ends[name] <= width for name in ("Milestone", "State", "Forecast", "Slip")), right_ends


def test_on_a_phone_the_columns_of_all_projects_stand_below_their_heads(
    browser: Browser, worker: WorkerProcess
) -> None:
    with open_page(browser, viewport={"width": 390, "height": 844}) as page:
        go(page, worker, HERE)
        ends = page.evaluate(
            "Object.fromEntries(['col-state', 'num:not(.slip):not(.float)', 'slip'].map((name) => [name,"
            " [...new Set([...document.querySelectorAll(`.lane-head > .${name}, .lanes tbody .${name}`)]"
            ".map((cell) => Math.round(cell.getBoundingClientRect().right)))]]))"
        )

    assert {name: max(found) - min(found) <= 2 for name, found in ends.items()} == dict.fromkeys(ends, True), ends


def test_on_a_phone_the_slip_stands_below_the_forecast_beside_another_day(
    browser: Browser, worker: WorkerProcess
) -> None:
    with open_page(browser, viewport={"width": 390, "height": 844}) as page:
        go(page, worker, HERE)
        address = page.locator(".presets a[href*='compare=']").first.get_attribute("href")
        assert address is not None
        page.goto(f"http://127.0.0.1:{worker.port}{address}")
        slips = page.locator(".lanes .slip-below")
        slips.filter(has_text="+42 d").first.wait_for()
        take_screenshot(page, "timeline-compared-390")

        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert {slips.nth(number).is_visible() for number in range(slips.count())} == {True}


@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_name_beside_a_bar_is_cut_between_characters(
    browser: Browser, worker: WorkerProcess, width: int
) -> None:
    with open_page(browser, viewport={"width": width, "height": 844}) as page:
        go(page, worker, VIEWS["gate"])
        label = page.evaluate(
            "(name) => echarts.getInstanceByDom(document.querySelector('.plot[data-bars]'))"
            ".getOption().yAxis[0].axisLabel.formatter(name)",
            "\N{GRINNING FACE}" * 70 + " and words",
        )

    assert label.endswith("…")
    assert label.count("\n") == (3 if width == 390 else 0)
    assert {*label} == {"\N{GRINNING FACE}", "…", *"\n"[: width == 390]}


def test_the_page_of_a_project_is_about_the_project(browser: Browser, worker: WorkerProcess) -> None:
    with open_page(browser, viewport={"width": 390, "height": 844}) as page:
        go(page, worker, VIEWS["project"])
        heading = page.locator("h1").inner_text()
        milestones = page.locator(".delayed-list li:not(.more) .slug, .due .slug, .lanes .col-milestone a:first-child")
        links = [milestone.evaluate("e => e.closest('a').getAttribute('href')") for milestone in milestones.all()]
        form_is_open = page.locator("#filters[open]").count()
        page.get_by_role("link", name="Trend").click()
        trend_heading = page.locator("h1").inner_text()

    assert heading == trend_heading == "Tomographic scanners (figures illustrative)"
    assert links
    assert all("/tomographic-scanners/" in link for link in links)
    assert not form_is_open


@pytest.mark.parametrize("width", [768, 1280])
def test_labels_of_months_do_not_lie_on_each_other(browser: Browser, worker: WorkerProcess, width: int) -> None:
    with open_page(browser, viewport={"width": width, "height": 844}) as page:
        go(page, worker, HERE)
        boxes = page.evaluate(
            "[...document.querySelectorAll('.lane-head .tick')].map((tick) => tick.getBoundingClientRect())"
            ".filter((box) => box.width).map((box) => [box.left, box.right])"
        )

    assert len(boxes) >= 2
    assert all(before[1] < after[0] for before, after in pairwise(boxes))
    assert boxes[-1][1] <= width


def test_a_term_explains_itself_on_hover_and_on_tap(browser: Browser, worker: WorkerProcess) -> None:
    with open_page(browser, viewport={"width": 390, "height": 844}, has_touch=True) as page:
        go(page, worker, HERE)
        term = page.get_by_role("button", name="Slip")
        assert "later than its baseline" in str(term.get_attribute("title"))
        term.tap()

        assert page.locator("#term-slip").is_visible()


def test_the_readme_shows_the_board_as_the_tests_see_it(browser: Browser, worker: WorkerProcess) -> None:
    """The picture is `.milepost/screenshots/board.png`, copied to docs/ when it should look otherwise."""
    with open_page(browser, viewport=PICTURE) as page:
        go(page, worker, HERE)
        made = take_screenshot(page, "board", full_page=False)

    kept = README_PICTURE.read_bytes()
    assert kept[:24] == made.read_bytes()[:24], "a PNG of the same size"
    assert len(kept) < HEAVIEST


def test_the_first_page_reads_the_same_without_a_script(browser: Browser, worker: WorkerProcess) -> None:
    with open_page(browser, java_script_enabled=False) as page:
        page.goto(f"http://127.0.0.1:{worker.port}/")

        [name, slugs, *_] = page.locator(".delay-root").first.inner_text().split("\n")
        assert (name, slugs) == ("SEZ industrial park: Park commissioned", GATE)
        said = "42 days late: moves 7 launches, USD 310 million and 1,240 jobs"
        assert said in page.locator(".delay-root").first.inner_text()


@pytest.mark.parametrize("view", ["trend", "why", "gate"])
def test_a_chart_is_rendered_and_says_more_under_the_pointer(
    browser: Browser, worker: WorkerProcess, view: str
) -> None:
    with open_page(browser) as page:
        go(page, worker, VIEWS[view])
        plot = page.locator(".plot").first
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box is not None
        assert page.evaluate(
            "[...document.querySelector('.plot canvas').getContext('2d').getImageData(0, 0, 2000, 2000).data]"
            ".some((value) => value > 0)"
        )
        places = [(across / 20, down / 12) for down in range(1, 12) for across in range(1, 20)]
        for across, down in places:
            page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
            if page.locator(".tooltip:not([hidden])").count():
                break

        told = page.locator(".tooltip").inner_text()
        assert "Production launched" in told or "Park commissioned" in told


def test_an_arrow_leads_from_the_gate_to_what_it_drives(browser: Browser, worker: WorkerProcess) -> None:
    with open_page(browser) as page:
        go(page, worker, HERE)
        row, gate = (page.locator(f'tr[data-name="{name}"]') for name in (LAUNCH, GATE))

        row.locator("td.num").first.hover()
        assert page.locator(".arrows path").count() == 2
        assert "is-driver" in (gate.get_attribute("class") or "")

        page.mouse.move(0, 0)
        row.locator("a").first.focus()
        assert page.locator(".arrows path").count() == 2


def test_the_board_can_be_walked_by_keyboard(browser: Browser, worker: WorkerProcess) -> None:
    with open_page(browser) as page:
        go(page, worker, "/")
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the content"
        page.keyboard.press("Enter")
        for _ in range(3):  # another day, the programme, then the gate at the head of what is late
            page.keyboard.press("Tab")
        assert page.locator(":focus").get_attribute("href") == f"{HERE}/gates/{GATE}"
        assert page.locator(":focus").evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{HERE}/gates/{GATE}")
        wait_until_rendered(page)

        reached = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.getAttribute('href')"))
        assert f"{HERE}/milestones/{LAUNCH}" in reached


def test_what_is_said_appears_without_a_reload(browser: Browser, worker: WorkerProcess, settings: Settings) -> None:
    publish_events(settings, report("pier", Classifier.PLANNED, 30, "plan"))
    wait_until(lambda: "quay-opened" in worker.get("/programmes/harbour")[1], "the harbour is drawn")
    with open_page(browser) as page, open_page(browser) as first:
        go(page, worker, "/programmes/harbour")
        go(first, worker, "/")
        for one in (page, first):
            one.evaluate("window.here = true")
        page.locator("tr:not(.project) a").first.focus()

        publish_events(settings, report("pier", Classifier.ESTIMATED, 47, "slip"))

        page.get_by_text("+17 d").wait_for()
        first.locator("#p-harbour").locator("xpath=../..").get_by_text("1 slipping").wait_for()
        assert page.evaluate("window.here")
        assert first.evaluate("window.here")
        assert page.locator(":focus").inner_text() == "quay-opened"


def test_an_answer_that_is_lost_is_asked_for_again(browser: Browser, worker: WorkerProcess, settings: Settings) -> None:
    publish_events(settings, report("lighthouse", Classifier.PLANNED, 30, "lighthouse-plan"))
    wait_until(lambda: "lighthouse" in worker.get("/programmes/harbour")[1], "the harbour is drawn")
    lost = []

    def lose(route: Route) -> None:
        lost.append(route.request.url)
        route.abort()

    # Its console tells of the lost answer: here that is no fault of the page's.
    with browser.new_context() as context:
        page = context.new_page()
        go(page, worker, "/programmes/harbour")
        page.route(page.url, lose, times=1)

        publish_events(settings, report("lighthouse", Classifier.ESTIMATED, 41, "lighthouse-slip"))

        page.get_by_text("+11 d").wait_for()
        assert lost == [page.url]


def test_a_page_says_when_the_board_is_away(browser: Browser, tmp_path: Path) -> None:
    # Its console tells of the broken stream: here that is no fault of the page's.
    with browser.new_context() as context:
        page = context.new_page()
        with running_board(f"sqlite:///{tmp_path}/away.db", today()) as here:
            page.goto(here.address)
            page.locator("#live[data-connection=live]").wait_for()

        page.get_by_text("the board is away").wait_for()
        assert page.locator("h1").inner_text() == "No programme yet"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_that_mean_harm_do_none(browser: Browser, tmp_path: Path, scheme: ColorScheme) -> None:
    with running_board(f"sqlite:///{tmp_path}/hostile.db", today()) as here:
        now = Instant(f"{today()}T00:00:00")
        named = [
            Event(
                source=f"//{number}.example/<b>\"'",
                id=f"<i>{number}",
                programme="north",
                project=f"p{number}",
                time=now,
                data=ProjectRegistered(name=name),
            )
            for number, name in enumerate(HOSTILE_TEXTS)
        ]
        dated = [
            replace(
                event,
                id=f"{event.id}-date",
                data=MilestoneReported(
                    milestone="m",
                    classifier=Classifier.PLANNED,
                    date=today(),
                    remark=HOSTILE_TEXTS[number],
                    party=HOSTILE_TEXTS[number],
                ),
            )
            for number, event in enumerate(named)
        ]
        whole = Event(
            source="//x",
            id="x",
            programme="north",
            project="",
            time=now,
            data=ProgrammeRegistered(name=HOSTILE_TEXTS[0]),
        )
        here.record_events([whole, *named, *dated])
        for view, path in (
            ("overview", "/"),
            ("timeline", "/programmes/north"),
            ("trend", "/programmes/north/trend"),
            ("why", "/programmes/north/milestones/p0/m"),
            ("why-long", "/programmes/north/milestones/p5/m"),
        ):
            with open_page(browser, scheme) as page:
                page.goto(f"{here.address}{path}")
                wait_until_rendered(page)
                take_screenshot(page, f"hostile-{view}-{scheme}")

                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
                assert page.locator("main img, main script").count() == 0
                assert accessibility_violations(page) == []
        assert HOSTILE_TEXTS[0] in here.get("/api/programmes/north").json["name"]


@pytest.mark.timing
def test_a_thousand_milestones_are_painted_at_once(browser: Browser, tmp_path: Path) -> None:
    day = today()
    with running_board(f"sqlite:///{tmp_path}/large.db", day) as here:
        log = TopicLog()
        here.record_decoded([log.append(event) for event in initial_events(realistic_plan("large", 1000, day))])
        with open_page(browser) as page:
            page.goto(f"{here.address}/programmes/large")
            wait_until_rendered(page)
            [paint] = page.evaluate(
                "performance.getEntriesByName('first-contentful-paint').map((one) => one.startTime)"
            )
            take_screenshot(page, "large", full_page=False)

            assert page.locator("tr[data-name]").count() == 1000
    assert paint < PAINTED_WITHIN_MS


@pytest.mark.timing
def test_a_worker_that_is_stopped_does_not_wait_for_subscribers(kafka: str, tmp_path: Path) -> None:
    settings = prepare_settings(kafka, f"sqlite:///{tmp_path}/milepost.db")
    with worker_process(settings, tmp_path) as running:
        running.wait_until_ready()
        address = f"http://127.0.0.1:{running.port}/api/stream"
        with urllib.request.urlopen(address, timeout=30) as stream:
            assert stream.readline() == b"retry: 2000\n"

            took = running.stop()

    assert running.process.returncode == 0, running.log_text
    assert took < settings.stop_seconds
