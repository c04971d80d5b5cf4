"""An installation as docs/container.md has it: each part a container, with a user and a database role of its own."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.helpers.containers import Setup
from tests.helpers.gateway import TOKENS
from tests.helpers.notify import system_block, write_targets
from tests.helpers.postgresql_servers import OWNER, READER, WORKER, PostgresqlServer
from tests.helpers.secure_kafka import PASSWORD, Right, SecureKafka
from tests.helpers.workers import free_port

#: Where secrets and certificates are in a container.
FOLDER: Final = "/etc/milepost"
#: The user of the image, who has to be able to read them.
_USER: Final = 65532
_TOPICS: Final = ("events", "programmes", "changes", "dead-letters")


def _on(topic: str, *operations: str) -> list[Right]:
    return [Right("TOPIC", f"milepost.{topic}", operation) for operation in operations]


#: Section 12 of the contract.
RIGHTS: Final[Mapping[str, list[Right]]] = {
    "init": [Right("TOPIC", "milepost.*", operation) for operation in ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")],
    "worker": [
        *_on("events", "READ"),
        *_on("programmes", "READ", "WRITE"),
        *_on("changes", "WRITE"),
        *_on("dead-letters", "WRITE", "READ"),
        *(right for topic in _TOPICS for right in _on(topic, "DESCRIBE_CONFIGS")),
        Right("GROUP", "milepost", "READ"),
    ],
    "publisher": _on("events", "WRITE"),
    "gateway": _on("events", "WRITE"),
    "notify": [*_on("changes", "READ"), Right("GROUP", "milepost-notify-*", "READ")],
    "board": [],
}
_DATABASE_ROLES: Final = {"init": OWNER, "worker": WORKER, "board": READER, "notify": READER}


class Ports(NamedTuple):
    """Where a container serves on this machine."""

    web: int
    gateway: int
    metrics: int


class Installation:
    """Users, roles and files; nothing of it runs."""

    def __init__(self, kafka: SecureKafka, database: PostgresqlServer, folder: Path) -> None:
        self.kafka, self.database, self.folder = kafka, database, folder
        kafka.add_users(RIGHTS)
        database.make_roles()
        self._write("kafka-password", PASSWORD)
        self._write("tokens.toml", TOKENS)
        for name, source in (
            ("kafka-ca.pem", kafka.authority.certificate),
            ("bare-kafka-ca.pem", kafka.bare_authority.certificate),
            ("database-ca.pem", database.authority.certificate),
        ):
            shutil.copy(source, folder / name)
            self._hand_over(folder / name)
        for part, role in _DATABASE_ROLES.items():
            self._write(f"database-{part}", database.url(role, sslrootcert=f"{FOLDER}/database-ca.pem"))

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        self._hand_over(self.folder / name)

    def _hand_over(self, path: Path) -> None:
        path.chmod(0o400)
        os.chown(path, _USER, _USER)

    def tell(self, url: str) -> None:
        """Let the notifier tell a system on this machine."""
        targets = write_targets(self.folder, system_block("operations", url))
        self._hand_over(targets)
        self._hand_over(self.folder / "hook.secret")

    def setup(self, part: str, ports: Ports | None = None, *, listener: str = "login", **more: str) -> Setup:
        """Return what a container of a part gets."""
        authority = "bare-kafka-ca.pem" if listener == "bare" else "kafka-ca.pem"
        variables = {
            "MILEPOST_KAFKA": self.kafka.address(listener),
            "MILEPOST_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "MILEPOST_KAFKA_SASL_USERNAME": part,
            "MILEPOST_KAFKA_SASL_PASSWORD_FILE": f"{FOLDER}/kafka-password",
            "MILEPOST_KAFKA_SSL_CAFILE": f"{FOLDER}/{authority}",
        }
        if part == "board":
            variables = {}
        if part in _DATABASE_ROLES:
            variables["MILEPOST_DATABASE_FILE"] = f"{FOLDER}/database-{part}"
        if part == "init":
            variables["MILEPOST_PARTITIONS"] = "2"
        if part == "gateway":
            variables["MILEPOST_GATEWAY_TOKENS"] = f"{FOLDER}/tokens.toml"
        if part == "notify":
            variables["MILEPOST_NOTIFY"] = f"{FOLDER}/targets.toml"
        if ports is not None:
            variables |= {
                "MILEPOST_WEB": f"127.0.0.1:{ports.web}",
                "MILEPOST_GATEWAY": f"127.0.0.1:{ports.gateway}",
                "MILEPOST_METRICS": f"127.0.0.1:{ports.metrics}",
            }
        return Setup(variables | more, {self.folder: FOLDER})


def free_ports() -> Ports:
    """Return ports that nothing listens on at this moment."""
    return Ports(free_port(), free_port(), free_port())


def event(identifier: str, project: str, date: str, *, source: str = "//office.example") -> dict[str, object]:
    """Return a report that a milestone of a project is planned for a day."""
    return {
        "specversion": "1.0",
        "id": identifier,
        "source": source,
        "type": "milepost.milestone.reported.v1",
        "subject": f"north/{project}",
        "time": "2026-11-01T09:00:00Z",
        "data": {"milestone": "permit-approved", "classifier": "PLN", "date": date},
    }


def write_events(path: Path, *events: Mapping[str, object]) -> None:
    """Write events as JSON Lines that everybody may read."""
    path.write_text("".join(f"{json.dumps(each)}\n" for each in events))
    path.chmod(0o444)
