"""The key of the feeds, which stands in a file that may be replaced while the board runs."""

import asyncio
import hmac
import logging
from typing import Final

from models.secrets import read_secret
from models.settings import Settings, SettingsError, setting_error
from models.text import one_line

logger = logging.getLogger("milepost.board")

_MIN_LENGTH: Final = 16
_INTERVAL_SECONDS: Final = 2.0


class FeedKey:
    """The key in force: the last one that could be read."""

    def __init__(self, settings: Settings) -> None:
        """Raise `SettingsError` for a file that cannot be read, or whose key is too short."""
        self._settings = settings
        #: None: the feeds are as open as the board.
        self.value = _read(settings)
        #: How often it has changed: pages that hold another one are others.
        self.version = 0
        self._problem = ""

    def is_given_by(self, text: str) -> bool:
        """Return whether a text opens the feeds."""
        return self.value is None or hmac.compare_digest(text.encode(), self.value.encode())

    async def watch(self) -> None:
        """Take a new key from its file as soon as it is there; without a file, wait for ever."""
        while self._settings.feed_key_file is not None:
            await asyncio.sleep(_INTERVAL_SECONDS)
            # In a thread: the file may be on a network.
            await asyncio.to_thread(self.reload)
        await asyncio.Event().wait()

    def reload(self) -> None:
        """Read the file again; one that cannot be used leaves the key in force, and is logged once."""
        try:
            value = _read(self._settings)
        except SettingsError as error:
            problem = one_line(error)
            if problem != self._problem:
                logger.error("%s; the key before it stays in force", problem)  # noqa: TRY400 - an operator's mistake
            self._problem = problem
            return
        self._problem = ""
        if value != self.value:
            self.value, self.version = value, self.version + 1
            logger.info("the key of the feeds has changed: calendars have to subscribe anew")


def _read(settings: Settings) -> str | None:
    key = read_secret(settings, "feed_key")
    if key is not None and len(key) < _MIN_LENGTH:
        raise setting_error(
            "feed_key_file", f"{settings.feed_key_file} has a key of less than {_MIN_LENGTH} characters"
        )
    return key
