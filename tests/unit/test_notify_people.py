"""Messages to people: a real mail server, real requests of services, and what other parties wrote made harmless."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from models.domain.claims import MilestoneKey
from models.domain.forecast_changes import HistoryRow, encode_changes
from streams.notify.changes import parse_change
from streams.notify.deliveries import Outcome
from streams.notify.markup import make_harmless
from streams.notify.message_rate import MAX_MESSAGES, WINDOW_SECONDS, MessageRate
from streams.notify.people import AppriseSender, combine_changes
from streams.notify.targets import PEOPLE_SCHEMES, TargetsFileError
from tests.helpers.mail import mail_server
from tests.helpers.notify import parse_one, row
from tests.helpers.webhooks import Reply, receiver

HOSTILE = "@channel @here <!everyone> <@U123> <b>bold</b> **bold** [click](http://evil.example) # x ![p](x://y) `code`"
#: Of the above, without a backslash before it.
MARKUP = re.compile(r"(?<!\\)(?:\*\*bold|\[click|<b>|`code)")
LINK = "https://board.example/programmes/north/gates/plant/permit-approved"


def sender(url: str, folder: Path) -> AppriseSender:
    return AppriseSender(parse_one(f'name = "team"\nurl = "{url}"\n', folder))


def test_a_mail_is_plain_text_as_it_was_written(tmp_path: Path) -> None:
    with mail_server() as mailbox:
        answer = sender(mailbox.url, tmp_path).send("Gate moved", ["Permit: 3 days later.", HOSTILE], LINK)
        assert answer.outcome is Outcome.DELIVERED
        [message] = mailbox.messages
        assert message["subject"] == "Gate moved"
        assert message.get_content_type() == "text/plain"
        assert not [*message.iter_attachments()]
        assert mailbox.texts()[0].split("\r\n")[:3] == ["Permit: 3 days later.", HOSTILE, LINK]


@pytest.mark.parametrize("letter", ["Ж", "😀", "é", "x"])
def test_a_mail_whose_subject_is_long_in_any_script_is_taken(tmp_path: Path, letter: str) -> None:
    with mail_server() as mailbox:
        answer = sender(mailbox.url, tmp_path).send(letter * 190 + " moves", ["x"], "")

        assert answer.outcome is Outcome.DELIVERED, answer
        [message] = mailbox.messages
        assert message["subject"].startswith(letter * 50)
        assert message["subject"].endswith(" moves" if letter == "x" else f"{letter}…")


def test_a_mail_that_is_refused_has_failed_and_why_is_said(tmp_path: Path) -> None:
    with mail_server() as mailbox:
        mailbox.answer = "550 no such mailbox"
        answer = sender(mailbox.url, tmp_path).send("Gate moved", ["x"], "")
    assert answer.outcome is Outcome.FAILED
    assert "did not take it" in answer.detail
    assert "550" in answer.detail
    assert "no such mailbox" in answer.detail


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ntfy://127.0.0.1:{port}/topic", lambda body: body["message"]),
        ("gotify://127.0.0.1:{port}/abcdefghijkl123", lambda body: body["message"]),
        ("mmost://127.0.0.1:{port}/3ccdd113474722377935511fc85d3dd4", lambda body: body["text"]),
        ("rocket://webhooka/bbbbbbbb@127.0.0.1:{port}/#c", lambda body: body["text"]),
    ],
)
def test_services_get_a_text_without_mentions_markup_and_pictures(
    url: str, text: Callable[[Any], str], tmp_path: Path
) -> None:
    with receiver() as service:
        service.reply = lambda _request: Reply(200)
        answer = sender(url.format(port=service.port), tmp_path).send("Gate @all", ["Permit.", HOSTILE], LINK)
        assert answer.outcome is Outcome.DELIVERED, answer
        [request] = service.requests
        sent = text(json.loads(request.body))
        assert "Permit" in sent
        assert not {"icon_url", "avatar", "attachments"} & json.loads(request.body).keys()
        if url.startswith(("mmost", "rocket")):
            for mention in ("@channel", "@here", "@all", "@U123"):
                assert mention not in request.body.decode()
            assert not MARKUP.search(sent)


def test_no_redirect_is_followed(tmp_path: Path) -> None:
    with receiver() as service:
        service.reply = lambda _request: Reply(307, {"Location": f"http://127.0.0.1:{service.port}/elsewhere"})
        answer = sender(f"ntfy://127.0.0.1:{service.port}/topic", tmp_path).send("x", ["y"], "")
        assert answer.outcome is Outcome.FAILED
        assert len(service.requests) == 1


def test_a_text_that_is_too_long_for_a_service_is_cut_between_lines_and_keeps_its_link(tmp_path: Path) -> None:
    with receiver() as service:
        service.reply = lambda _request: Reply(200)
        lines = [f"Line {number} has some words, as many as fit." for number in range(100)]
        sender(f"rocket://webhooka/bbbbbbbb@127.0.0.1:{service.port}/#c", tmp_path).send("Title", lines, LINK)
        [request] = service.requests
        text = json.loads(request.body)["text"].replace("\\", "")
        assert len(text) <= 1000
        assert text.endswith(f"…\n{LINK}")


@pytest.mark.parametrize("scheme", PEOPLE_SCHEMES)
def test_what_other_parties_wrote_calls_nobody(scheme: str) -> None:
    harmless = make_harmless(HOSTILE, scheme)
    if scheme in {"mailto", "ntfy", "gotify"}:
        assert harmless == HOSTILE
    else:
        assert not any(f"@{name}" in harmless for name in ("channel", "here", "U123"))
        assert "http://" not in harmless
    if scheme in {"mmost", "discord"}:
        assert not MARKUP.search(harmless)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("msteams://team/a@b/c/d", "workflows://"),
        ("slack://nonsense", "none that Apprise can use for slack"),
        ("tgram://nonsense/", "none that Apprise can use for tgram"),
    ],
)
def test_an_address_that_apprise_cannot_use_is_refused_without_repeating_it(
    url: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(TargetsFileError, match=words) as raised:
        sender(url, tmp_path)
    assert url not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "workflows://host:443/aworkflow/signature",
        "tgram://123456789:abcdefg_hijklmnop/12315544",
        "matrix://user:password@matrix.example/#room",
        "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz",
        "mailtos://user:password@mail.example",
    ],
)
def test_addresses_as_apprise_documents_them_can_be_used(url: str, tmp_path: Path) -> None:
    sender(url, tmp_path)


def test_more_than_twenty_messages_in_ten_minutes_become_one() -> None:
    rate = MessageRate()
    assert [rate.take(1, now) for now in range(MAX_MESSAGES)] == [1] * MAX_MESSAGES
    assert rate.take(3, MAX_MESSAGES) == 0, "what is too much waits"
    assert rate.take(3, WINDOW_SECONDS) == 1, "the first is ten minutes old: what waited is one summary"
    assert rate.take(1, WINDOW_SECONDS) == 0


def test_a_flood_is_one_message_at_once_and_what_comes_after_it_another() -> None:
    rate = MessageRate()
    assert rate.take(1000, 0.0) == 1
    assert rate.take(1, 1.0) == 1
    assert rate.take(MAX_MESSAGES - 2, 2.0) == MAX_MESSAGES - 2
    assert rate.take(1, 3.0) == 0


def changes_of(*rows: HistoryRow) -> list[Any]:
    return [parse_change(event) for each in rows for event in encode_changes(each)]


def test_steps_of_one_milestone_are_told_as_a_whole() -> None:
    day = date(2027, 1, 1)
    steps = [
        row(previous=None, current=day),
        row(previous=day, current=day.replace(day=9)),
        row("other", previous=day, current=day.replace(day=2)),
        row("other", previous=day.replace(day=2), current=day),
        row("done", previous=day, current=day.replace(day=3), dependents=4),
    ]
    combined = {change.key.milestone: change for change in combine_changes(changes_of(*steps))}
    assert combined.keys() == {"permit-approved", "done"}
    assert combined["permit-approved"][1:] == (None, day.replace(day=9), False)
    assert combined["done"] == (MilestoneKey("north", "plant", "done"), day, day.replace(day=3), True)


def test_the_senders_never_share_a_reason(tmp_path: Path) -> None:
    async def send_both() -> list[str]:
        with receiver() as service:
            urls = [f"ntfy://127.0.0.1:{service.port}/topic-{number}" for number in range(2)]
            senders = [sender(url, tmp_path) for url in urls]
            answers = await asyncio.gather(*(asyncio.to_thread(each.send, "x", ["y"], "") for each in senders))
            return [answer.detail for answer in answers]

    first, second = asyncio.run(send_both())
    assert "topic-0" in first
    assert "topic-1" in second
