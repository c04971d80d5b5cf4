"""Logs the first warnings of a minute one by one, and then how many more there were, so as not to fill a disk."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 60.0
MAX_LOGGED: Final = 20


class LimitedLog:
    """Warnings that can be as many as the events."""

    def __init__(
        self, logger: logging.Logger, call_later: Callable[[float, Callable[[], None]], object], summary: str
    ) -> None:
        """Take what calls a function after so many seconds, and a format of how many more, the span, and of what."""
        self._logger, self._call_later, self._summary = logger, call_later, summary
        self._logged = 0
        self._suppressed: Counter[str] = Counter()

    def warn(self, kind: str, message: str, *arguments: object) -> None:
        """Log a warning, or count it for the summary under its kind."""
        if not self._logged:
            self._call_later(WINDOW_SECONDS, self._log_summary)
        if self._logged < MAX_LOGGED:
            self._logged += 1
            self._logger.warning(message, *arguments)
        else:
            self._suppressed[kind] += 1

    def _log_summary(self) -> None:
        if self._suppressed:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self._suppressed.most_common())
            self._logger.warning(self._summary, self._suppressed.total(), WINDOW_SECONDS, kinds)
        self._logged = 0
        self._suppressed.clear()
