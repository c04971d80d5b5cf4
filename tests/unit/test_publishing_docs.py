"""What docs/publishing.md shows beside its commands: what Debezium, Jira and GitLab would send is understood.

Its commands are run by tests/system/test_readme.py.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.domain.cloudevents import decode
from models.domain.events import Event
from streams.gateway.content_modes import STRUCTURED_TYPE
from streams.gateway.tokens import parse_tokens
from tests.helpers.gateway import OFFICE, TOKENS, SentRecords, running_endpoint

CHECKOUT = Path(__file__).parents[2]
DOCUMENT = (CHECKOUT / "docs" / "publishing.md").read_text(encoding="utf-8")
#: The office may speak for every source that the page shows.
TABLE = parse_tokens(TOKENS.replace('"//office.example"', '"//my-desk.example", "//jira.example", "//gitlab.example"'))


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


def published(sent: SentRecords) -> list[Event]:
    decoded = [decode(record.record.headers, record.record.value) for record in sent]
    assert all(isinstance(event, Event) for event in decoded), decoded
    return [event for event in decoded if isinstance(event, Event)]


def test_what_debezium_makes_of_the_outbox_table_is_an_event() -> None:
    settings = dict(line.split("=", 1) for line in block("properties").splitlines())
    columns = re.findall(r"^  (\w+) ", block("sql"), re.MULTILINE)
    # A row as PostgreSQL has it, and what Debezium makes of its types: timestamptz becomes a ZonedTimestamp.
    row: dict[str, Any] = {
        "id": "4d47e190-0402-4048-bc2c-89dd54343cdc",
        "programme": "harbour",
        "aggregatetype": "milestone",
        "specversion": "1.0",
        "source": "//erp.example",
        "type": "milepost.milestone.reported.v1",
        "subject": "harbour/terminal-3",
        "said_at": "2026-02-10T09:00:00.123456Z",
        "data": {"milestone": "permit-approved", "classifier": "PLN", "date": "2027-03-01"},
    }
    assert list(row) == columns
    router = {name.removeprefix("transforms.outbox."): text for name, text in settings.items()}
    headers = [("id", row[router["table.field.event.id"]].encode())]
    for placement in router["table.fields.additional.placement"].split(","):
        column, place, name = placement.split(":")
        assert place == "header"
        headers.append((name, row[column].encode()))
    event = decode(headers, json.dumps(row[router["table.field.event.payload"]]).encode())
    assert isinstance(event, Event)
    assert (event.source, event.id, event.subject) == (row["source"], row["id"], row["subject"])
    assert event.time == "2026-02-10T09:00:00.123456"
    assert event.oddities == ()
    assert row[router["table.field.event.key"]] == event.programme


def test_what_jira_sends_is_an_event() -> None:
    values = {
        "issue.key": "HAR-7",
        "issue.resolutiondate.format(\"yyyyMMdd'T'HHmmss\")": "20260210T090000",
        "issue.resolutiondate.format(\"yyyy-MM-dd'T'HH:mm:ssXXX\")": "2026-02-10T09:00:00+02:00",
        'issue.resolutiondate.format("yyyy-MM-dd")': "2026-02-10",
    }
    body = re.sub(r"{{(.*?)}}", lambda smart_value: values[smart_value[1]], block("json"))
    sent = SentRecords()
    with running_endpoint(sent, tokens=TABLE) as gateway:
        assert gateway.post(body.encode(), {"Content-Type": STRUCTURED_TYPE}).status == 202
    assert [event.id for event in published(sent)] == ["HAR-7-20260210T090000"]


def test_what_a_job_of_gitlab_sends_is_an_event() -> None:
    [script] = yaml.safe_load(block("yaml"))["report-launch"]["script"]
    sent = SentRecords()
    with running_endpoint(sent, tokens=TABLE) as gateway:
        variables = {
            "MILEPOST_TOKEN": OFFICE,
            "MILEPOST_URL": f"{gateway.address}/events",
            "CI_PIPELINE_ID": "4711",
            "CI_PIPELINE_CREATED_AT": "2026-02-10T09:00:00Z",
        }
        done = subprocess.run(
            ["bash", "-c", script],  # noqa: S607 - whichever bash there is
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, '{"accepted": 1}', "")
    [event] = published(sent)
    assert (event.id, event.source, str(event.data.date)) == ("4711", "//gitlab.example", "2026-02-10")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["report.json", "batch.json", "retraction.json", "desk.jsonl"])
def test_every_example_may_be_published_by_the_token_of_the_demo(name: str) -> None:
    text = (CHECKOUT / "docs" / "examples" / name).read_bytes()
    mode = "application/cloudevents-batch+json" if name == "batch.json" else STRUCTURED_TYPE
    with running_endpoint(SentRecords(), tokens=TABLE) as gateway:
        assert gateway.post(text, {"Content-Type": mode}, path="/events?check=true").status == 200


@pytest.mark.parametrize("status", [400, 401, 403, 408, 413, 415, 429, 503])
def test_every_refusal_is_explained(status: int) -> None:
    assert f"| {status} | " in DOCUMENT
