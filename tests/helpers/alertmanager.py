"""Alertmanager as a process, and a receiver of its notifications."""

import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

#: An alert: its name, and the project and milestone it is about.
AlertKey = tuple[str, str, str]


def alert_key(labels: dict[str, str]) -> AlertKey:
    """Return which alert has these labels."""
    return labels["alertname"], labels.get("project", ""), labels.get("milestone", "")


class Notification(NamedTuple):
    """A notification that a receiver got."""

    audience: str
    status: str
    alerts: set[AlertKey]
    labels: dict[str, str]


class WebhookReceiver(HTTPServer):
    """Collects the notifications of Alertmanager."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookHandler)
        self.notifications: list[Notification] = []

    def notifications_for(self, audience: str, alert: str) -> list[Notification]:
        return [
            notification
            for notification in self.notifications
            if notification.audience == audience and any(name == alert for name, _, _ in notification.alerts)
        ]


class _WebhookHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, WebhookReceiver)
        self.server.notifications.append(
            Notification(
                self.path.removeprefix("/"),
                message["status"],
                {alert_key(alert["labels"]) for alert in message["alerts"]},
                message["groupLabels"],
            )
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running_receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


@contextmanager
def running_alertmanager(folder: Path, port: int) -> Iterator[None]:
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(
            [  # noqa: S607 - wherever Debian put it
                "prometheus-alertmanager",
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def http_get(url: str) -> bytes:
    """Return a page of a program on this machine."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an address of ours
        body: bytes = answer.read()
        return body


def http_get_json(url: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return a page of a program on this machine, decoded from JSON."""
    return json.loads(http_get(url))
