"""A real Prometheus that scrapes a real worker which recorded the sample programme's story and a hostile programme.

What happened a week ago cannot be waited for: before Prometheus starts, the page of the morning is put into its data
as if it had been scraped then (`promtool tsdb create-blocks-from openmetrics`).
"""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.demo.story import (
    PROGRAMME,
    SEZ_OPENING,
    SEZ_PARK,
    SEZ_SLIPPED_OPENING,
    SOURCES,
    TENANTS,
    Story,
    Tenant,
    build_story,
)
from deploy.gateway import create_token
from deploy.prometheus.process import run_prometheus
from deploy.prometheus.render import Addresses
from models.domain.cloudevents import encode_structured
from models.domain.events import Event
from models.settings import Settings
from tests.helpers.gateway import gateway_process
from tests.helpers.notify import notify_process, system_block, write_targets
from tests.helpers.oracle import MILESTONE_REPORTED, PROGRAMME_REGISTERED, PROJECT_REGISTERED, JsonEvent
from tests.helpers.webhooks import Reply, Request, receiver
from tests.helpers.workers import WorkerProcess, publish, publish_records, wait_until, worker_process

#: The longest wait in the files is of minutes; no wait becomes shorter than a second.
SPEEDUP: Final = 600

HOSTILE_PROGRAMME: Final = "hostile"
#: Names as nobody should give them: what ends an element, a script or an attribute, and what turns the text around.
HOSTILE_NAMES: Final = (
    "<script>document.title='owned'</script>",
    "</style></head><body onload=\"document.title='owned'\">",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' onmouseover='document.title=`owned`' x='",
    '{{ query "up" }} ${programme} %s \\',
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "W" * 200,
)

FORECAST_METRIC: Final = "milepost_milestone_forecast_timestamp_seconds"
WEEK_SECONDS: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class PrometheusClient:
    """A Prometheus that runs as a process."""

    #: Host and port.
    address: str

    def get(self, path: str, **parameters: str) -> tuple[int, str]:
        """Return the status and the body of a page; status 0 when nothing answers."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}{query}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query. Fails with Prometheus' message for a wrong query."""
        return self._query_data("/api/v1/query", query=expression)

    def has_result(self, expression: str) -> bool:
        """Return whether an instant query returns anything."""
        return bool(self.query(expression))

    def query_range(self, expression: str, seconds: int = 3000, step: int = 5) -> list[dict[str, Any]]:
        """Return the series of a query over the last seconds."""
        now = time.time()
        return self._query_data(
            "/api/v1/query_range", query=expression, start=str(now - seconds), end=str(now), step=str(step)
        )

    def _query_data(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        status, body = self.get(path, **parameters)
        assert status == 200, f"{parameters['query']}\n{body}"
        series: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return series


@dataclass(frozen=True, slots=True)
class MonitoringStack:
    """The worker, the story it recorded, and the Prometheus that scrapes it, and gateway and notify beside it."""

    worker: WorkerProcess
    story: Story
    prometheus: PrometheusClient


def require_program(name: str) -> str:
    """Return where a program of Debian's is; skips without it, and fails instead where everything must be there."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextmanager
def prometheus_for_worker(
    worker_address: str, folder: Path, gateways: Sequence[str] = (), notifiers: Sequence[str] = ()
) -> Iterator[PrometheusClient]:
    """Run Prometheus as it is shipped, sped up, for a worker on host and port, until the block ends."""
    places = Addresses(workers=[worker_address], alertmanagers=(), gateways=gateways, notifiers=notifiers)
    with run_prometheus(require_program("prometheus"), folder, places, speedup=SPEEDUP) as address:
        yield PrometheusClient(address)


def _answer_by_path(request: Request) -> Reply:
    return Reply({"refusing": 404, "gone": 410}.get(request.path.rpartition("/")[2], 204))


@contextmanager
def _running_notify(settings: Settings, folder: Path) -> Iterator[WorkerProcess]:
    """Run `milepost notify` with a target for each way in which one can be: well, down, refusing, off, unusable."""
    with receiver() as system:
        system.reply = _answer_by_path
        urls = {name: f"{system.url}/{name}" for name in ("well", "refusing", "gone")}
        urls["down"] = "http://127.0.0.1:1/hook"
        blocks = [system_block(name, url) for name, url in urls.items()]
        targets = write_targets(folder, *blocks, 'name = "unusable"\nurl = "pager://desk"\n')
        with notify_process(settings, folder, targets) as notify:
            wait_until(
                lambda: all(
                    notify.scrape().value("milepost_notify_assigned_partitions", target=name) == settings.partitions
                    for name in urls
                ),
                "every target is read for",
            )
            yield notify


@contextmanager
def monitored_story(settings: Settings, folder: Path) -> Iterator[MonitoringStack]:
    """Publish the story to a worker while Prometheus scrapes it: the morning, and once that was scraped, the day."""
    story = build_story(datetime.now(UTC).date())
    morning = [*_to_json(story.opening), *hostile_events(story)]
    later = [*_to_json([story.slip_event, story.mistaken_event, story.retraction_event]), late_hostile_event(story)]
    tokens = folder / "tokens.toml"
    token, block = create_token("office", SOURCES, [], None)
    tokens.write_text("\n".join(block))
    gateway_settings = settings.model_copy(update={"gateway_tokens": tokens})
    with (
        worker_process(settings, folder, MILEPOST_KEEP_DAYS="1000") as worker,
        gateway_process(gateway_settings, folder) as gateway,
    ):
        worker.wait_until_ready()
        publish(settings, morning)
        wait_until(lambda: _accepted_count(worker) == len(morning), "the morning is recorded")
        wait_until(lambda: _is_forecast_shown(worker, SEZ_OPENING), "the morning is shown")
        _backfill_last_week(worker, folder)
        with (
            _running_notify(settings, folder) as notify,
            prometheus_for_worker(
                f"127.0.0.1:{worker.port}", folder, [f"127.0.0.1:{gateway.port}"], [f"127.0.0.1:{notify.port}"]
            ) as prometheus,
        ):
            gate = f'{FORECAST_METRIC}{{project="{SEZ_PARK}",milestone="park-commissioned"}}'
            counted = f'sum(milepost_events_total{{outcome="accepted"}}) == {len(morning)}'
            recorded = f'milestone:{FORECAST_METRIC}:max{{project="{SEZ_PARK}",milestone="park-commissioned"}}'
            for expression in (gate, counted, recorded, "milepost_gateway_build_info", "milepost_notify_waiting"):
                wait_until(
                    partial(prometheus.has_result, expression), f"Prometheus has scraped the morning: {expression}"
                )
            through_gateway, *directly = later
            assert gateway.client.post_structured(through_gateway, token=token).status == 202
            assert gateway.client.post_structured(through_gateway | {"time": ""}, token=token).status == 400
            publish(settings, directly)
            publish_records(settings, [(None, [], story.malformed_value)])
            publish_records(settings, [(None, [], b"no change")], settings.changes_topic)
            wait_until(lambda: _accepted_count(worker) == len(morning) + len(later), "the day is recorded")
            wait_until(lambda: _is_forecast_shown(worker, SEZ_SLIPPED_OPENING), "the slip is shown")
            slipped = (
                f"{gate} - {gate.replace('forecast', 'baseline')} == {(SEZ_SLIPPED_OPENING - SEZ_OPENING) * 86_400}"
            )
            wait_until(partial(prometheus.has_result, slipped), "Prometheus has scraped the slip")
            held_up = f'milestone:milepost_milestone_held_up:count{{project="{SEZ_PARK}"}} == {len(_sez_tenants())}'
            wait_until(partial(prometheus.has_result, held_up), "the rules have seen the slip")
            rejected = 'milepost_rejected_total{reason="malformed"} == 1'
            wait_until(partial(prometheus.has_result, rejected), "Prometheus has scraped the rejection")
            for name in ("delivered_total", "failed_total", "passed_over_total", "off", "unreadable_total"):
                told = f"milepost_notify_{name} > 0"
                wait_until(partial(prometheus.has_result, told), f"Prometheus has scraped what notify did: {told}")
            yield MonitoringStack(worker, story, prometheus)


def hostile_events(story: Story) -> list[JsonEvent]:
    """Return a programme whose names are hostile: every project late, and waiting for nothing."""
    return [
        _event("programme", PROGRAMME_REGISTERED, HOSTILE_PROGRAMME, {"name": HOSTILE_NAMES[0]}),
        *(
            event
            for number, name in enumerate(HOSTILE_NAMES)
            for event in (
                _event(
                    f"{number}",
                    PROJECT_REGISTERED,
                    f"{HOSTILE_PROGRAMME}/project-{number}",
                    {"name": name, "kind": "park"},
                ),
                _event(
                    f"{number}/planned",
                    MILESTONE_REPORTED,
                    f"{HOSTILE_PROGRAMME}/project-{number}",
                    {
                        "milestone": "park-commissioned",
                        "classifier": "PLN",
                        "date": str(story.day - timedelta(days=9)),
                        "a field\n\u202ethat nobody reads": True,
                    },
                ),
            )
        ),
    ]


def late_hostile_event(story: Story) -> JsonEvent:
    """Return a later report of a hostile project: a date a month after the first."""
    date = str(story.day + timedelta(days=21))
    data = {"milestone": "park-commissioned", "classifier": "EST", "date": date}
    return _event("0/estimated", MILESTONE_REPORTED, f"{HOSTILE_PROGRAMME}/project-0", data) | {
        "time": "2026-01-02T12:00:00Z"
    }


def _event(event_id: str, event_type: str, subject: str, data: Mapping[str, object]) -> JsonEvent:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": f"//{HOSTILE_PROGRAMME}.example/\"><script>document.title='owned'</script>",
        "type": event_type,
        "subject": subject,
        "time": "2026-01-01T12:00:00Z",
        "data": dict(data),
    }


def _to_json(events: Sequence[Event]) -> list[JsonEvent]:
    return [json.loads(encode_structured(event)[1]) for event in events]


def _accepted_count(worker: WorkerProcess) -> float:
    return worker.scrape().value("milepost_events_total", outcome="accepted") or 0


def _is_forecast_shown(worker: WorkerProcess, opens_in_days: int) -> bool:
    """Return whether all is calculated: the SEZ park opens so many days from today, and its tenants wait for it."""
    page = worker.scrape("/metrics/milestones")
    gate = {"programme": PROGRAMME, "project": SEZ_PARK, "milestone": "park-commissioned"}
    day = datetime.now(UTC).date() + timedelta(days=opens_in_days)
    return (
        page.value(FORECAST_METRIC, **gate) == datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        and page.value("milepost_milestone_dependents", **gate) == len(_sez_tenants())
        and page.value("milepost_programme_info", programme=HOSTILE_PROGRAMME) == 1
    )


def _sez_tenants() -> list[Tenant]:
    return [tenant for tenant in TENANTS if tenant.park == SEZ_PARK]


def _backfill_last_week(worker: WorkerProcess, folder: Path) -> None:
    """Put the programme's page into Prometheus' data as of around a week ago; the hostile one was not known then."""
    around = int(time.time()) - WEEK_SECONDS
    stamps = range(around - 2400, around + 3600, 240)
    lines = [
        dated
        for line in worker.get("/metrics/milestones")[1].splitlines()
        if f'programme="{HOSTILE_PROGRAMME}"' not in line
        for dated in ([line] if line.startswith("#") else [f"{line} {stamp}" for stamp in stamps])
    ]
    page = folder / "morning.txt"
    page.write_text("\n".join([*lines, "# EOF\n"]), encoding="utf-8")
    create = [require_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(page), str(folder / "data")]
    subprocess.run(create, check=True, capture_output=True)
