"""How fresh the board is: what the database says, and what pages, API and stream make of it."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import text

from models.database.freshness import Freshness, OutdatedForecasts, read_freshness
from models.database.migrate import migrate
from models.database.projector import Projector
from models.database.recorder import Recorder
from tests.helpers.board import BoardServer, running_board
from tests.helpers.recorder import TopicLog, event_batch, plan_event, record_batch, retraction_event
from tests.helpers.workers import wait_until

DAY: Final = date(2026, 11, 23)


def freshness_of(recorder: Recorder) -> Freshness:
    with recorder.engine.connect() as connection:
        return read_freshness(connection)


def test_the_newest_event_is_the_one_that_was_appended_last_whatever_its_partition(recorder: Recorder) -> None:
    assert freshness_of(recorder) == Freshness(None, {})
    log = TopicLog()
    record_batch(
        recorder,
        log.append(plan_event("1"), appended_ms=3000),
        log.append(plan_event("2"), appended_ms=5000, partition=2),
        log.append(plan_event("3"), appended_ms=4000),
    )
    assert freshness_of(recorder).newest_event_ms == 5000
    record_batch(recorder, log.append(plan_event("4"), appended_ms=4500, partition=1))
    assert freshness_of(recorder).newest_event_ms == 5000


def test_what_is_rejected_or_known_already_is_no_newer_event(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1"), appended_ms=3000))
    record_batch(recorder, log.append(plan_event("1"), appended_ms=9000))
    batch = event_batch([log.append_raw([], b"no event", appended_ms=9500)])
    recorder.record(batch, lambda _rejected: None)
    assert freshness_of(recorder).newest_event_ms == 3000


def test_a_programme_is_outdated_until_its_forecasts_have_every_recorded_event(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1")))
    assert freshness_of(recorder).outdated == {"north": OutdatedForecasts(1, 0)}
    Projector(recorder.engine).recalculate(["north"], DAY, 1)
    assert freshness_of(recorder).outdated == {}
    record_batch(recorder, log.append(plan_event("2")))
    assert freshness_of(recorder).outdated == {"north": OutdatedForecasts(2, 1)}


def test_a_programme_of_which_everything_was_retracted_is_not_outdated_for_ever(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(recorder, log.append(plan_event("1")))
    record_batch(recorder, log.append(retraction_event("1")))
    Projector(recorder.engine).recalculate(["north"], DAY, 1)
    assert freshness_of(recorder).outdated == {}


def test_the_newest_event_of_a_database_from_before_is_found_in_its_ledger(recorder: Recorder) -> None:
    log = TopicLog()
    record_batch(
        recorder,
        log.append(plan_event("1"), appended_ms=3000),
        log.append(plan_event("2"), appended_ms=5000, partition=2),
    )
    with recorder.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("ALTER TABLE positions DROP COLUMN newest_event_ms"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    migrate(recorder.engine)
    with recorder.engine.connect() as connection:
        found = connection.execute(text('SELECT "partition", newest_event_ms FROM positions ORDER BY 1')).all()
    assert [tuple(row) for row in found] == [(0, 3000), (1, 0), (2, 5000), (3, 0)]


@pytest.fixture
def board(sqlite_url: str) -> Iterator[BoardServer]:
    with running_board(sqlite_url, DAY) as server:
        yield server


def head_of(page: str) -> str:
    return page[page.index("<header") : page.index("</header>")]


def record_now(board: BoardServer, age: timedelta) -> None:
    appended_ms = int((datetime.now(UTC) - age).timestamp() * 1000)
    board.record_decoded([TopicLog().append(plan_event("1"), appended_ms=appended_ms)])


def test_every_page_says_how_old_the_newest_event_is_without_a_script(board: BoardServer) -> None:
    assert "No event yet" in head_of(board.get("/").text)
    record_now(board, timedelta(hours=3, minutes=5))
    for path in ("/", "/programmes/north", "/programmes/north/trend", "/pipeline", "/runbook", "/nowhere"):
        wait_until(lambda path=path: ">3 h ago</time>" in head_of(board.get(path).text), path)  # type: ignore[misc]
        assert "all is well" in head_of(board.get(path).text)


def test_a_page_says_what_is_wrong_and_since_when_also_to_whom_it_is_the_same_otherwise(board: BoardServer) -> None:
    record_now(board, timedelta(0))
    wait_until(lambda: "all is well" in head_of(board.get("/programmes/north").text), "all is well")
    tag = board.get("/programmes/north").headers["Etag"]
    assert board.get("/programmes/north", If_None_Match=tag).status == 304

    board.not_ready_reasons["kafka"] = "does not answer: Connection refused"

    wait_until(lambda: board.get("/programmes/north", If_None_Match=tag).status == 200, "it is another page")
    head = head_of(board.get("/programmes/north").text)
    assert "Kafka does not answer since " in head
    assert "all is well" not in head
    [problem] = board.get("/api/freshness").json["problems"]
    assert (problem["name"], problem["reason"]) == ("kafka", "does not answer: Connection refused")
    since = datetime.fromisoformat(problem["since"])
    assert abs(datetime.now(UTC) - since) < timedelta(seconds=30)
    assert f"since {since:%H:%M} UTC" in head

    board.not_ready_reasons.clear()

    wait_until(lambda: "all is well" in head_of(board.get("/programmes/north").text), "all is well again")


@pytest.mark.parametrize("query", ["", "?programme=north"])
def test_the_stream_says_first_and_after_each_change_how_fresh_the_board_is(board: BoardServer, query: str) -> None:
    record_now(board, timedelta(minutes=2))
    with urllib.request.urlopen(f"{board.address}/api/stream{query}", timeout=30) as stream:  # noqa: S310 - its own address

        def next_freshness() -> dict[str, Any]:
            while stream.readline() != b"event: freshness\n":
                pass
            found: dict[str, Any] = json.loads(stream.readline().removeprefix(b"data: "))
            return found

        while (found := next_freshness())["newest_event"] is None:
            pass
        assert 120 <= found["age_seconds"] < 150
        assert (found["summary"], found["problems"]) == ("", [])
        board.not_ready_reasons["kafka"] = "does not answer"
        found = next_freshness()
        assert found["summary"].startswith("Kafka does not answer since ")
        assert [problem["name"] for problem in found["problems"]] == ["kafka"]


def test_events_that_wait_for_long_are_a_problem_since_the_oldest_came(board: BoardServer) -> None:
    for partition, seconds in (("0", 0.0), ("1", 600.0)):
        board.metrics.position.labels("milepost.events", partition).set(5)
        board.metrics.log_end.labels("milepost.events", partition).set(9)
        board.metrics.lag_seconds.labels("milepost.events", partition).set(seconds)
    wait_until(lambda: "Events wait to be read since " in head_of(board.get("/").text), "the lag is told")
    [problem] = board.get("/api/freshness").json["problems"]
    assert problem["reason"] == "8 records are not read yet"
    age = datetime.now(UTC) - datetime.fromisoformat(problem["since"])
    assert timedelta(seconds=590) < age < timedelta(seconds=630)
