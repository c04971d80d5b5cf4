"""Nothing that is secret stands in a log, an error, a page or the list of processes of gateway and notify.

`test_logins` looks for a worker's, `test_database_roles` for the passwords of PostgreSQL.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli import app
from deploy.topics import ensure_topics
from models.settings import Settings
from tests.helpers.gateway import OFFICE, TOKENS, gateway_process, report
from tests.helpers.notify import notify_process, row, system_block, write_changes, write_targets
from tests.helpers.recorder import migrated_engine
from tests.helpers.secure_kafka import CLIENT_SECRET, PASSWORD, SecureKafka, set_environment
from tests.helpers.webhooks import OTHER_SECRET, SECRET, Reply, Request, receiver
from tests.helpers.workers import WorkerProcess, free_port, wait_until

WRONG: Final = "wr0ng-of-whoever"
WRONG_TOKEN: Final = "t0ken-of-nobody"  # noqa: S105 - of the test
MAIL_PASSWORD: Final = "m4il-password"  # noqa: S105 - as above
CHAT_TOKEN: Final = "A1BRTD4JD"  # noqa: S105 - as above
PATH_TOKEN: Final = "t0ken-in-a-path"  # noqa: S105 - as above
SECRETS: Final = (
    *(PASSWORD, CLIENT_SECRET, WRONG, WRONG_TOKEN, OFFICE, SECRET, OTHER_SECRET, MAIL_PASSWORD, CHAT_TOKEN, PATH_TOKEN),
    SECRET.removeprefix("whsec_"),
)
PAGES: Final = ("/metrics", "/ready", "/live", "/", "/nowhere")
TARGETS: Final = ("well", "refusing", "gone", "away", "mail")


def find_secrets(texts: Iterable[str], *more: str) -> list[str]:
    """Return the secrets that stand in any of these texts, or in the list of processes."""
    commands = [Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit()]  # noqa: PTH208 - no files
    processes = [path.read_bytes().decode(errors="replace") for path in commands if path.exists()]
    return [secret for text in (*texts, *processes) for secret in (*SECRETS, *more) if secret in text]


def pages_of(process: WorkerProcess) -> list[str]:
    return [process.get(path)[1] for path in PAGES]


@pytest.fixture(scope="module")
def topics(secure_kafka: SecureKafka) -> dict[str, Any]:
    """Give the settings that name topics of this module, and where they are without a login."""
    named: dict[str, Any] = {"prefix": "secrets", "group": "secrets", "partitions": 1}
    ensure_topics(Settings(kafka=secure_kafka.address("admin"), **named))
    return named


def error_of(*arguments: str) -> str:
    """Return what a command that fails says."""
    result = CliRunner().invoke(app.app, arguments, prog_name="milepost")
    assert result.exit_code == 1, result.output
    assert result.stderr
    return result.output


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER"])
def test_a_gateway_shows_no_secret_whatever_it_is_asked_and_whatever_fails(
    mechanism: str,
    secure_kafka: SecureKafka,
    topics: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(TOKENS)
    login = secure_kafka.token_settings if mechanism == "OAUTHBEARER" else secure_kafka.settings
    settings = login(kafka_sasl_mechanism=mechanism, gateway_tokens=tokens, **topics)
    with gateway_process(settings, tmp_path) as gateway:
        client = gateway.client
        answers = [
            client.post_structured(report("a")),
            client.post_structured(report("b"), token=WRONG_TOKEN),
            client.post_structured(report("c"), path=f"/events?access_token={WRONG_TOKEN}", token=None),
            client.post_structured(report("d", source="//elsewhere.example")),
            client.post(b"{", {"Content-Type": "application/cloudevents+json", "X-Key": WRONG_TOKEN}),
            client.get(f"/events?token={OFFICE}"),
        ]
        assert [answer.status for answer in answers] == [202, 401, 401, 403, 400, 405]
        # A file of tokens that holds a token, and not its digest, is what a hurried operator writes.
        tokens.write_text(TOKENS.replace('sha256 = "', f'sha256 = "{OFFICE}', 1))
        wait_until(lambda: "warnings" in gateway.get("/ready")[1], "the fault of the file is told")
        shown = [*pages_of(gateway), *(answer.text for answer in answers), gateway.log_text]
        assert find_secrets(shown, *secure_kafka.tokens.issued) == []
        assert "the tokens before it stay in force" in gateway.log_text
    set_environment(monkeypatch, settings)
    monkeypatch.setenv("MILEPOST_GATEWAY_TOKENS", str(tokens))
    errors = [error_of("gateway")]
    tokens.write_text(TOKENS)
    name = "kafka_oauth_client_secret" if mechanism == "OAUTHBEARER" else "kafka_sasl_password"
    set_environment(monkeypatch, settings.model_copy(update={name: SecretStr(WRONG), "kafka_oauth_client_id": "who"}))
    errors.append(error_of("gateway"))
    assert "refuses" in errors[1]
    assert find_secrets(errors, *secure_kafka.tokens.issued) == []


def answer_by_path(request: Request) -> Reply:
    return Reply({"refusing": 500, "gone": 410}.get(request.path.rpartition("/")[2], 204))


def test_notify_shows_no_secret_whomever_it_tells_and_whatever_fails(
    secure_kafka: SecureKafka, topics: dict[str, Any], sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = secure_kafka.settings(database=sqlite_url, **topics)
    mail = f"mailto://desk:{MAIL_PASSWORD}@127.0.0.1:{free_port()}/?from=a@desk.example&to=b@desk.example"
    with migrated_engine(sqlite_url), receiver() as system:
        system.reply = answer_by_path
        base = f"{system.url}/{PATH_TOKEN}"
        blocks = [
            system_block("well", f"{base}/well?key={PATH_TOKEN}"),
            system_block("refusing", f"{base}/refusing"),
            system_block("gone", f"{base}/gone"),
            system_block("away", f"http://127.0.0.1:{free_port()}/{PATH_TOKEN}"),
            f'name = "mail"\nurl = "{mail}&mode=insecure"\n',
            f'name = "chat"\nurl = "msteams://T1JJ3T3L2/{CHAT_TOKEN}/x"\n',
            f'name = "unknown"\nurl = "pager://{CHAT_TOKEN}"\n',
            f'name = "user"\nurl = "https://desk:{PATH_TOKEN}@hooks.example/"\nsecret_file = "hook.secret"\n',
        ]
        targets = write_targets(tmp_path, *blocks)
        with notify_process(settings, tmp_path, targets) as notify:
            for name in TARGETS:
                wait_until(
                    lambda name=name: (  # type: ignore[misc]
                        notify.scrape().value("milepost_notify_assigned_partitions", target=name) == 1
                    ),
                    f"{name} is read for",
                )
            write_changes(Settings(kafka=secure_kafka.address("admin"), **topics), [row()])

            def count(name: str, target: str) -> float:
                return notify.scrape().value(f"milepost_notify_{name}", target=target) or 0

            wait_until(lambda: count("delivered_total", "well") == 1, "one takes it")
            wait_until(lambda: count("off", "gone") == 1, "one is switched off")
            for name in ("refusing", "away", "mail"):
                wait_until(lambda name=name: count("failed_total", name) > 0, f"{name} fails")  # type: ignore[misc]
            (tmp_path / "hook.secret").write_text(f"{OTHER_SECRET[:20]}\n{SECRET}\n{OTHER_SECRET}\n")
            wait_until(lambda: "secret_file has 3 lines" in notify.log_text, "the fault of the secret is told")
            log, pages = notify.log_text, pages_of(notify)
            for words in (
                "target chat cannot be used",
                "target user cannot be used",
                "answered 410",
                "the service did not take it",
            ):
                assert words in log
            assert "target unknown" in json.loads(pages[1])["warnings"]
            assert find_secrets([log, *pages]) == []
        write_targets(tmp_path, *blocks)
        set_environment(monkeypatch, settings)
        monkeypatch.setenv("MILEPOST_NOTIFY", str(targets))
        errors = [
            error_of("notify", "--test", name) for name in ("refusing", "gone", "away", "mail", "chat", "unknown")
        ]
        set_environment(monkeypatch, settings.model_copy(update={"kafka_sasl_password": SecretStr(WRONG)}))
        errors.append(error_of("notify"))
        assert "refuses the login" in errors[-1]
        assert find_secrets(errors) == []
