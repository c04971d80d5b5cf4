"""Webhooks against a real server: what each answer means, and signatures that the official verifier accepts."""

import asyncio
import threading
from email.utils import formatdate
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from streams.clock import Clock
from streams.notify.deliveries import Answer, Outcome
from streams.notify.sample import sample_event
from streams.notify.targets import Target, parse_targets
from streams.notify.webhook import SignedEvent, WebhookSender, find_refusal
from tests.helpers.notify import parse_one, system_block, write_targets
from tests.helpers.webhooks import OTHER_SECRET, SECRET, Reply, receiver

NOW = Clock().now()


def send(target: Target, *events: SignedEvent, answer_seconds: float = 5.0) -> list[Answer]:
    async def send_all() -> list[Answer]:
        sender = WebhookSender(target, Clock(), answer_seconds)
        try:
            return [await sender.send(event) for event in events or (sample_event(NOW),)]
        finally:
            await sender.close()

    return asyncio.run(send_all())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, Outcome.DELIVERED) for status in (200, 201, 202, 204, 299)),
        *((status, Outcome.PASSED_OVER) for status in (300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 413, 422)),
        *((status, Outcome.FAILED) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        (410, Outcome.SWITCHED_OFF),
    ],
)
def test_what_an_answer_means(status: int, outcome: Outcome, tmp_path: Path) -> None:
    with receiver() as system:
        elsewhere = f"http://127.0.0.1:{system.port}/elsewhere"
        system.reply = lambda _request: Reply(status, {"Location": elsewhere})
        [answer] = send(parse_one(system_block("one", system.url), tmp_path))
        assert answer.outcome is outcome
        assert [request.path for request in system.requests] == ["/hook"], "no redirect is followed"


@pytest.mark.parametrize(
    ("header", "lowest", "highest"),
    [
        ("120", 120, 120),
        ("999999999999", 86_400, 86_400),
        ("soon", 0, 0),
        ("-5", 0, 0),
    ],
)
def test_retry_after_says_when_the_next_attempt_is_welcome(
    header: str, lowest: float, highest: float, tmp_path: Path
) -> None:
    assert lowest <= retry_after(header, tmp_path) <= highest


def test_retry_after_may_be_a_date(tmp_path: Path) -> None:
    before = Clock().now()
    seconds = retry_after(formatdate(before + 300, usegmt=True), tmp_path)
    passed = Clock().now() - before
    assert 299 - passed <= seconds <= 300
    assert retry_after(formatdate(before - 300, usegmt=True), tmp_path) == 0


def retry_after(header: str, folder: Path) -> float:
    with receiver() as system:
        system.reply = lambda _request: Reply(429, {"Retry-After": header})
        [answer] = send(parse_one(system_block("one", system.url), folder))
        return answer.retry_after


def test_the_official_verifier_accepts_either_secret_while_one_replaces_the_other(tmp_path: Path) -> None:
    with receiver() as system:
        path = write_targets(tmp_path, system_block("one", system.url))
        (tmp_path / "hook.secret").write_text(f"{OTHER_SECRET}\n{SECRET}\n")
        [target] = parse_targets(path.read_text(), tmp_path).targets
        event = sample_event(NOW)
        send(target, event)
        [request] = system.requests
        assert request.body == event.content
        assert request.headers["content-type"] == "application/cloudevents+json"
        assert request.headers["webhook-id"] == event.id
        for secret in (SECRET, OTHER_SECRET):
            assert Webhook(secret).verify(request.body, dict(request.headers))["id"] == event.id
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(request.body + b" ", dict(request.headers))
        with pytest.raises(WebhookVerificationError):
            Webhook("whsec_" + "c2VjcmV0" * 5).verify(request.body, dict(request.headers))


def test_what_does_not_answer_in_time_has_failed(tmp_path: Path) -> None:
    never = threading.Event()
    with receiver() as system:
        system.reply = lambda _request: Reply(204, {}, never)
        [answer] = send(parse_one(system_block("one", system.url), tmp_path), answer_seconds=0.3)
        never.set()
    assert answer == Answer(Outcome.FAILED, "no answer in time")


def test_why_a_system_cannot_be_reached_is_said_without_its_path(tmp_path: Path) -> None:
    [answer] = send(parse_one(system_block("one", "http://127.0.0.1:1/token-in-the-path"), tmp_path))
    assert answer.outcome is Outcome.FAILED
    assert "refused" in answer.detail.lower()
    assert "token-in-the-path" not in answer.detail


def test_nothing_is_sent_to_a_name_that_stands_for_a_private_address(tmp_path: Path) -> None:
    with receiver() as system:
        block = system_block("one", f"https://localhost:{system.port}/").replace("private = true\n", "")
        target = parse_one(block, tmp_path)
        [answer] = send(target)
        assert answer.outcome is Outcome.FAILED
        assert "no public address" in answer.detail
        assert not system.requests
        assert "private = true" in asyncio.run(find_refusal(target))


def test_an_answer_without_end_is_not_read(tmp_path: Path) -> None:
    with receiver() as system:
        system.reply = lambda _request: Reply(200, {"content-length": "1000000000"})
        [answer] = send(parse_one(system_block("one", system.url), tmp_path), answer_seconds=1)
    assert answer.outcome is Outcome.DELIVERED
