"""`milepost board` as a process: the board from the database alone, with the right to read and nothing else."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser
from sqlalchemy import create_engine, make_url, text

from deploy.demo.story import PROGRAMME, SEZ_PARK, build_story
from models.domain.events import Classifier, Event, MilestoneReported
from models.domain.timestamps import Instant
from models.settings import Settings
from tests.helpers.board import BoardServer, running_board
from tests.helpers.browser import accessibility_violations, open_page, running_chromium, wait_until_rendered
from tests.helpers.databases import grant
from tests.helpers.workers import WorkerProcess, board_process, free_port, publish, wait_until, worker_process
from tests.integration.test_streams import numbered_report

HERE: Final = f"/programmes/{PROGRAMME}"
GATE: Final = f"{SEZ_PARK}/park-commissioned"
LAUNCH: Final = "tomographic-scanners/production-launched"
PAGES: Final = (
    *("/", HERE, f"{HERE}/trend", f"{HERE}/milestones/{LAUNCH}", f"{HERE}/gates/{GATE}", "/pipeline"),
    *("/api/programmes", f"/api{HERE}", f"/api{HERE}/milestones", f"/api{HERE}/milestones/{LAUNCH}"),
    *(f"/api{HERE}/gates/{GATE}", f"/api{HERE}/moves", "/api/pipeline", "/api/openapi.json", "/static/board.css"),
    *("/live", "/ready", "/metrics"),
)


def today() -> date:
    return datetime.now(UTC).date()


def report(classifier: Classifier, days: int, called: str) -> Event:
    """Report a date of a milestone of the harbour, now."""
    now = Instant(datetime.now(UTC).isoformat()[:19])
    data = MilestoneReported(milestone="quay-opened", classifier=classifier, date=today() + timedelta(days=days))
    return Event(source="//harbour.example", id=called, programme="harbour", project="pier", time=now, data=data)


@pytest.fixture
def filled(sqlite_url: str) -> Iterator[BoardServer]:
    """Give a database of the sample programme, into which more can be recorded."""
    with running_board(sqlite_url, today()) as server:
        server.record_events(build_story(today()).opening)
        yield server


def main_part(page: str) -> str:
    """Return a page without its head, which says what this process knows of the workers."""
    return page[page.index("<main") :]


def ends(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command until it ends by itself; return its status and what it says."""
    ran = subprocess.run(
        [sys.executable, "-c", "from deploy.cli.app import main; main()", "board", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_a_role_that_may_only_read_serves_every_page(postgresql_url: str, role_url: str, tmp_path: Path) -> None:
    grant(postgresql_url, role_url, "SELECT")
    with running_board(postgresql_url, today()) as server:
        server.record_events(build_story(today()).opening)
        with board_process(role_url, tmp_path) as board:
            board.wait_until_ready()
            assert {path: board.get(path)[0] for path in PAGES} == dict.fromkeys(PAGES, 200)
            assert board.get("/metrics/milestones")[0] == 404
            assert board.scrape().value("milepost_http_errors_total", kind="not-found") == 1
            for path in PAGES[:5]:
                assert main_part(board.get(path)[1]) == main_part(server.get(path).text)
            board.stop()
        assert board.process.returncode == 0
        assert "WARNING" not in board.log_text


def test_what_keeps_a_board_from_starting_is_one_line(postgresql_url: str, role_url: str, tmp_path: Path) -> None:
    web = ("--web", "127.0.0.1:0")
    role = make_url(role_url).username
    with create_engine(make_url(postgresql_url).set(drivername="postgresql+psycopg")).begin() as connection:
        connection.execute(text(f"GRANT SELECT ON alembic_version TO {role}"))
    status, said = ends(tmp_path, "--database", role_url, *web)
    assert (status, said.count("\n")) == (1, 1)
    assert f"role {role} lacks SELECT on checkpoints, dependencies, forecasts" in said

    status, said = ends(tmp_path, "--database", f"sqlite:///{tmp_path}/none.db", *web)
    assert (status, said) == (1, f"milepost: there is no database at {tmp_path}/none.db: run `milepost init`\n")

    (tmp_path / "empty.db").touch()
    status, said = ends(tmp_path, "--database", f"sqlite:///{tmp_path}/empty.db", *web)
    assert (status, said.count("\n")) == (1, 1)
    assert said.endswith("has no tables yet: run `milepost init`\n")

    status, said = ends(tmp_path, "--database", "postgresql://127.0.0.1:1/none", *web)
    assert (status, said.count("\n")) == (1, 1)
    assert "does not answer" in said


@pytest.mark.timing
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_also_while_clients_listen(
    filled: BoardServer, tmp_path: Path, number: signal.Signals
) -> None:
    with board_process(str(filled.recorder.engine.url), tmp_path) as board:
        board.wait_until_ready()
        with socket.create_connection(("127.0.0.1", board.port)) as listening:
            listening.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert listening.recv(1000).startswith(b"HTTP/1.1 200")

            assert board.stop(number) < 4

        assert board.process.returncode == 0
        assert [line.split(": ")[0].split()[-1] for line in board.log_text.splitlines()] == ["milepost.board"]


def test_pages_say_that_the_database_is_away_and_come_back_alone(
    postgresql_url: str, role_url: str, tmp_path: Path
) -> None:
    grant(postgresql_url, role_url, "SELECT")
    url = make_url(postgresql_url).set(drivername="postgresql+psycopg")
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")

    def allow_connections(allowed: str) -> None:
        with server.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS {allowed}"))
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                {"name": url.database},
            )

    with board_process(role_url, tmp_path) as board:
        board.wait_until_ready()
        assert board.get("/")[0] == 200

        allow_connections("false")

        wait_until(lambda: board.get("/ready")[0] == 503, "the board knows that the database is away")
        [(name, reason)] = json.loads(board.get("/ready")[1])["reasons"].items()
        assert (name, reason.partition(": ")[0]) == ("database", "does not answer")
        assert "not currently accepting connections" in reason
        assert board.get("/live")[0] == 200
        for path in ("/", HERE, "/api/programmes"):
            status, said = board.get(path)
            assert status == 503, path
            assert "The database does not answer; the page comes back with it." in said

        allow_connections("true")

        wait_until(lambda: board.get("/ready")[0] == 200, "the board is ready again")
        wait_until(lambda: board.get("/")[0] == 200, "the page is back")
        assert "Traceback" not in board.log_text
        assert "the database answers again" in board.log_text


def test_a_database_that_hangs_makes_it_unready_and_keeps_it_from_no_clean_end(
    postgresql_url: str, role_url: str, tmp_path: Path
) -> None:
    grant(postgresql_url, role_url, "SELECT")
    engine = create_engine(make_url(postgresql_url).set(drivername="postgresql+psycopg"))
    with board_process(role_url, tmp_path) as board:
        board.wait_until_ready()
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE"))
            wait_until(lambda: board.get("/ready")[0] == 503, "the board knows that the database hangs")
            assert board.get("/live")[0] == 200

            assert board.stop() < 4

        assert board.process.returncode == 0
        assert "no answer within 5 s" in board.log_text
        assert "CRITICAL" not in board.log_text


def test_probes_have_a_listener_of_their_own_when_one_is_set(filled: BoardServer, tmp_path: Path) -> None:
    port = free_port()
    with board_process(str(filled.recorder.engine.url), tmp_path, MILEPOST_METRICS=f"127.0.0.1:{port}") as board:
        probes = WorkerProcess(board.process, port, tmp_path / "unused")
        probes.wait_until_ready()
        for path in ("/metrics", "/live", "/ready"):
            assert (probes.get(path)[0], board.get(path)[0]) == (200, 404), path
        assert (probes.get("/")[0], board.get("/")[0]) == (404, 200)


def test_the_pipeline_is_said_to_be_unknown_where_no_worker_is_named(filled: BoardServer, tmp_path: Path) -> None:
    with board_process(str(filled.recorder.engine.url), tmp_path) as board:
        board.wait_until_ready()

        assert "The state of the pipeline is not known here" in board.get("/pipeline")[1]
        found = json.loads(board.get("/api/pipeline")[1])
        assert found["pipeline"] is None
        assert "MILEPOST_WORKERS" in found["pipeline_unknown"]


def test_the_pipeline_of_two_workers_is_shown_and_the_one_that_is_away_is_named(
    filled: BoardServer, tmp_path: Path
) -> None:
    with running_board(f"sqlite:///{tmp_path}/other.db", today()) as other:
        for server, count in ((filled, 2), (other, 3)):
            server.metrics.rejected.labels("malformed").inc(count)
        other.not_ready_reasons["kafka"] = "does not answer"
        addresses = [server.address.removeprefix("http://") for server in (filled, other)]
        url, workers = str(filled.recorder.engine.url), ",".join([*addresses, "127.0.0.1:1"])
        with board_process(url, tmp_path, MILEPOST_WORKERS=workers) as board:
            board.wait_until_ready()

            page = board.get("/pipeline")[1]
            found = json.loads(board.get("/api/pipeline")[1])

    assert "Not every worker is ready" in page
    assert "<b>5</b> malformed" in page
    assert found["pipeline"]["reasons"] == {
        f"{addresses[1]} kafka": "does not answer",
        "127.0.0.1:1": "does not answer",
    }
    assert found["workers"] == [*addresses, "127.0.0.1:1"]


def test_a_board_shows_the_pipeline_of_a_real_worker(sqlite_settings: Settings, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        worker_process(sqlite_settings.model_copy(update={"metrics": address}), tmp_path) as worker,
        board_process(sqlite_settings.database, tmp_path, MILEPOST_WORKERS=address) as board,
    ):
        board.wait_until_ready()

        def pipeline() -> dict[str, object]:
            found: dict[str, object] = json.loads(board.get("/api/pipeline")[1])["pipeline"]
            return found

        def is_shown() -> bool:
            found = pipeline()
            return found["reasons"] == {} and len(found["partitions"]) == 4  # type: ignore[arg-type]  # any JSON

        wait_until(is_shown, "the worker's partitions are shown, at most ten seconds later")
        assert "Everything is read" in board.get("/pipeline")[1]
        worker.stop()
        wait_until(lambda: pipeline()["reasons"] == {address: "does not answer"}, "the worker is said to be away")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as found:
        yield found


def test_a_change_in_the_database_appears_without_a_reload(
    browser: Browser, filled: BoardServer, tmp_path: Path
) -> None:
    filled.record_events([report(Classifier.PLANNED, 30, "plan")])
    with (
        board_process(str(filled.recorder.engine.url), tmp_path) as board,
        open_page(browser) as page,
        open_page(browser) as first,
    ):
        board.wait_until_ready()
        for one, path in ((page, "/programmes/harbour"), (first, "/")):
            one.goto(f"http://127.0.0.1:{board.port}{path}")
            wait_until_rendered(one)
            one.locator("#live[data-connection=live]").wait_for()
            one.get_by_text("Whether events are read is not known here").wait_for()
            one.evaluate("window.here = true")

        filled.record_events([report(Classifier.ESTIMATED, 47, "slip")])

        page.get_by_text("+17 d").wait_for()
        first.locator("#p-harbour").locator("xpath=../..").get_by_text("1 slipping").wait_for()
        assert page.evaluate("window.here")
        assert first.evaluate("window.here")


def test_the_head_of_a_page_goes_on_when_the_page_was_there_before_the_first_event(
    browser: Browser, filled: BoardServer, tmp_path: Path
) -> None:
    filled.record_events([report(Classifier.PLANNED, 30, "plan")])
    with board_process(str(filled.recorder.engine.url), tmp_path) as board, open_page(browser) as page:
        board.wait_until_ready()
        page.goto(f"http://127.0.0.1:{board.port}/programmes/harbour")
        wait_until_rendered(page)
        page.get_by_text("No event yet").wait_for()

        filled.record_events([report(Classifier.ESTIMATED, 47, "slip")])

        page.get_by_text("+17 d").wait_for()
        # The board of the tests records without positions.
        with filled.recorder.engine.begin() as connection:
            newest = {"ms": round(datetime.now(UTC).timestamp() * 1000)}
            connection.execute(text("UPDATE positions SET newest_event_ms = :ms"), newest)
        page.locator("#newest-event time").wait_for()
        assert page.locator("#live[data-connection=live]").is_visible()


@pytest.mark.parametrize("workers", ["", "127.0.0.1:1"])
def test_the_pipeline_page_can_be_read_by_everyone(
    browser: Browser, filled: BoardServer, tmp_path: Path, workers: str
) -> None:
    with (
        board_process(str(filled.recorder.engine.url), tmp_path, MILEPOST_WORKERS=workers) as board,
        open_page(browser) as page,
    ):
        board.wait_until_ready()
        page.goto(f"http://127.0.0.1:{board.port}/pipeline")

        assert page.locator("h1").count() == 1
        assert accessibility_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def log_lines(process: WorkerProcess) -> list[dict[str, str]]:
    return [json.loads(line) for line in process.log_text.splitlines()]


def test_every_line_of_a_board_and_of_a_worker_is_json_when_that_is_set(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    with (
        worker_process(sqlite_settings, tmp_path, MILEPOST_LOG="json") as worker,
        board_process(sqlite_settings.database, tmp_path, MILEPOST_LOG="json") as board,
    ):
        for process, logger in ((worker, "milepost.worker"), (board, "milepost.board")):
            process.wait_until_ready()
            process.stop()
            assert process.process.returncode == 0
            serving = [line for line in log_lines(process) if line["message"].startswith("serving on http://")]
            assert [(line["level"], line["logger"]) for line in serving] == [("INFO", logger)]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in log_lines(worker) + log_lines(board))


def test_the_end_of_a_worker_that_cannot_start_or_stop_is_json_too(sqlite_settings: Settings, tmp_path: Path) -> None:
    with worker_process(sqlite_settings, tmp_path, MILEPOST_LOG="json", MILEPOST_DATABASE="sqlite:///none.db") as lost:
        lost.process.wait(60)
    assert [line["message"] for line in log_lines(lost)] == ["there is no database at none.db: run `milepost init`"]

    settings = sqlite_settings.model_copy(update={"stop_seconds": 0.2, "failpoint": "before-commit=hang"})
    with worker_process(settings, tmp_path, MILEPOST_LOG="json") as worker:
        worker.wait_until_ready()
        publish(sqlite_settings, [numbered_report(1)])
        wait_until(lambda: (worker.scrape().value("milepost_lag_seconds") or 0) > 0.5, "the event waits")
        worker.stop()

    assert worker.process.returncode == 75
    [last] = [line for line in log_lines(worker) if line["level"] == "CRITICAL"]
    assert last["message"].startswith("not stopped within 0.2 s, ending; nothing is lost\nThread 0x")
    assert "recorder.py" in last["message"]
