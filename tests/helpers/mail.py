"""A real mail server, which remembers what it was given."""

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from tests.helpers.workers import free_port


class Mailbox:
    """The server's messages, and what it answers to each."""

    def __init__(self) -> None:
        self.port = 0
        self.answer = "250 OK"
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: ANN401, N802 - aiosmtpd's
        """Take a message."""
        if self.answer.startswith("250"):
            content = cast("bytes", envelope.content)
            self.messages.append(message_from_bytes(content, policy=policy.default))
        return self.answer

    @property
    def url(self) -> str:
        """The address of a target."""
        return f"mailto://127.0.0.1:{self.port}/?from=milepost@desk.example&to=team@desk.example&mode=insecure"

    def texts(self) -> list[str]:
        """Return the plain text of each message."""
        return [self.text_of(message) for message in self.messages]

    @staticmethod
    def text_of(message: EmailMessage) -> str:
        """Return the plain text of a message."""
        body = message.get_body(("plain",))
        assert body is not None
        return str(body.get_content())


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """Run a mail server until the block ends."""
    mailbox = Mailbox()
    mailbox.port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
