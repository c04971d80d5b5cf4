"""A topic that is not the one that was read: refused by name and id, accepted by command."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from kafka import KafkaAdminClient

from consumers.audit import audit
from deploy.topics import ensure_topics, read_topic_id
from models.database.engine import make_engine
from models.database.recorder import Recorder
from models.settings import Settings
from tests.helpers.recorder import count_events
from tests.helpers.workers import publish, wait_until, worker_process
from tests.integration.test_streams import numbered_report


def make_anew(settings: Settings) -> None:
    """Delete the events topic and make it again."""
    was = read_topic_id(settings)
    with closing(KafkaAdminClient(bootstrap_servers=settings.kafka)) as admin:
        admin.delete_topics([settings.events_topic])
        wait_until(
            lambda: admin.describe_topics([settings.events_topic])[0]["error_code"] != 0, "the broker shows it gone"
        )
        ensure_topics(settings)
        wait_until(
            lambda: admin.describe_topics([settings.events_topic])[0]["error_code"] == 0, "the broker shows it again"
        )
    assert read_topic_id(settings) != was


def accept(settings: Settings) -> list[str]:
    """Run the command that a worker names; return what it said of positions."""
    told = {
        "MILEPOST_KAFKA": settings.kafka,
        "MILEPOST_DATABASE": settings.database,
        "MILEPOST_PREFIX": settings.prefix,
        "MILEPOST_PARTITIONS": str(settings.partitions),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from deploy.cli.app import main; main()", "init", "--accept-new-topic"],
        env=told,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [line for line in done.stdout.splitlines() if line.startswith("position")]


def test_a_recreated_topic_with_more_records_is_refused_until_it_is_accepted(
    fresh_settings: Settings, tmp_path: Path
) -> None:
    settings, store = fresh_settings, Recorder(make_engine(fresh_settings.database))
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        publish(settings, [numbered_report(number) for number in range(3)])
        wait_until(lambda: count_events(store) == 3, "all is recorded")
        worker.stop()
    make_anew(settings)
    publish(settings, [numbered_report(number) for number in range(2, 12)])
    with worker_process(settings, tmp_path) as worker:
        worker.process.wait(60)

        assert worker.process.returncode == 1
        [line] = [line for line in worker.log_text.splitlines() if line.startswith("milepost:")]
        assert f"{settings.events_topic} has the id" in line
        assert "milepost init --accept-new-topic" in line
        assert "Traceback" not in worker.log_text

    [said] = accept(settings)
    assert said.endswith("set back from 3 to 0")
    assert accept(settings) == [f"positions of {settings.events_topic}: nothing to set back"]
    with worker_process(settings, tmp_path) as worker:
        worker.wait_until_ready()
        wait_until(lambda: count_events(store) == 12, "what is new is recorded, what is known is not doubled")
    wrong, summary = audit(settings, store.engine)
    assert wrong == []
    # Two of the three that the topic before had are not in the new one.
    assert (summary.records_read, summary.accepted, summary.duplicates, summary.expired) == (10, 9, 1, 3)
    store.engine.dispose()
