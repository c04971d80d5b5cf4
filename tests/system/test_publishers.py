"""The publishers in docs/examples, built and run as their first lines say: an event of each is accepted.

They are given a folder of their own, so that what npm and Go write does not stand in the checkout.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from kafka import KafkaConsumer, TopicPartition

from deploy.gateway import create_token
from deploy.kafka.jars import class_path
from models.domain.cloudevents import decode
from models.domain.events import Event
from models.settings import Settings
from tests.helpers.gateway import gateway_process
from tests.helpers.promtool import skip_without

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
#: Compiling a library and fetching it once.
TIMEOUT_SECONDS: Final = 170


def python_command(_folder: Path) -> list[str]:
    return [sys.executable, "publish.py"]


def javascript_command(folder: Path) -> list[str]:
    run("npm", "ci", "--no-audit", "--no-fund", folder=folder)
    return ["node", "publish.js"]


def go_command(folder: Path) -> list[str]:
    run("go", "build", "-o", "publisher", ".", folder=folder)
    return ["./publisher"]


def java_command(_folder: Path) -> list[str]:
    jars = [str(path) for path in class_path(lambda _: None) if path.name.startswith(("kafka-clients", "slf4j-api"))]
    return ["java", "-cp", os.pathsep.join(jars), "Publish.java"]


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
@pytest.mark.parametrize(
    ("language", "prepare"),
    [
        pytest.param("go", go_command, marks=skip_without("go")),
        pytest.param("java", java_command, marks=skip_without("java", "javac")),
        pytest.param("javascript", javascript_command, marks=skip_without("node", "npm")),
        pytest.param("python", python_command),
    ],
)
def test_an_event_of_each_publisher_is_accepted(
    sqlite_settings: Settings, tmp_path: Path, language: str, prepare: Callable[[Path], list[str]]
) -> None:
    folder = tmp_path / language
    shutil.copytree(EXAMPLES / language, folder, ignore=shutil.ignore_patterns("node_modules"))

    command = prepare(folder)
    # Twice, as publishers do that are started again.
    for _ in range(2):
        said = run(*command, sqlite_settings.kafka, sqlite_settings.events_topic, folder=folder)
        assert said.startswith(f"published to {sqlite_settings.events_topic}, partition ")

    check_that_both_runs_say_the_same(read_events(sqlite_settings, 2))


@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize(
    ("language", "prepare"),
    [
        pytest.param("javascript", javascript_command, marks=skip_without("node", "npm")),
        pytest.param("python", python_command),
    ],
)
def test_an_event_of_each_cloudevents_sdk_is_accepted_through_the_gateway(
    sqlite_settings: Settings, tmp_path: Path, language: str, prepare: Callable[[Path], list[str]], mode: str
) -> None:
    folder = tmp_path / language
    shutil.copytree(EXAMPLES / "gateway" / language, folder, ignore=shutil.ignore_patterns("node_modules"))
    token, block = create_token("port-authority", ["//port-authority.example"], ["harbour"], None)
    (tmp_path / "tokens.toml").write_text("\n".join(block))
    (folder / "token").write_text(f"{token}\n")

    command = prepare(folder)
    settings = sqlite_settings.model_copy(update={"gateway_tokens": tmp_path / "tokens.toml"})
    with gateway_process(settings, tmp_path) as gateway:
        url = f"{gateway.client.address}/events"
        for _ in range(2):
            assert run(*command, url, "token", mode, folder=folder) == f'published through {url}: {{"accepted": 1}}\n'

    check_that_both_runs_say_the_same(read_events(sqlite_settings, 2))


def check_that_both_runs_say_the_same(events: list[Event]) -> None:
    first, second = events
    assert (first.source, first.subject, first.type) == (
        "//port-authority.example",
        "harbour/terminal-2",
        "milepost.milestone.reported.v1",
    )
    assert first.oddities == ()
    assert (first.id, first.digest()) == (second.id, second.digest())
    assert first.time == "2026-02-03T13:30:00"


def read_events(settings: Settings, count: int) -> list[Event]:
    """Return the first events of the topic; all have their programme as the key, so they stand in one partition."""
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        consumer.assign([TopicPartition(settings.events_topic, number) for number in range(settings.partitions)])
        records = [next(consumer) for _ in range(count)]
    finally:
        consumer.close()
    assert {record.key for record in records} == {b"harbour"}
    assert len({record.partition for record in records}) == 1
    outcomes = [decode(record.headers, record.value) for record in records]
    return [outcome for outcome in outcomes if isinstance(outcome, Event)]
