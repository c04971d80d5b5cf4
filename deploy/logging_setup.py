"""How processes that run for long log: as lines of text, or as JSON objects and nothing else.

As JSON, everything that a process says on standard error is a line of one object: warnings, exceptions that nothing
catches, errors that end it, and what libraries log.
"""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from deploy.library_messages import AttemptFilter
from models.database.engine import DatabaseError
from models.errors import MilepostError
from models.settings import LogFormat

logger = logging.getLogger("milepost")

_TEXT_FORMAT: Final = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
#: What joins several errors in one: the command line prints each as a line of its own.
_ERROR_SEPARATOR: Final = "\nmilepost: "


class RepeatedMessageFilter(logging.Filter):
    """Limits repeated messages of libraries: in an outage aiokafka logs the same one ten times a second."""

    def __init__(self, interval_seconds: float = 30.0) -> None:
        super().__init__()
        self._interval_seconds = interval_seconds
        self._last_logged: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log it: always Milepost's own records, those of libraries once per interval."""
        if record.exc_info and isinstance(record.exc_info[1], DatabaseError):
            return False  # reported in one line when the worker ends
        if record.name.startswith("milepost") or record.exc_info:
            return True
        message = record.name, str(record.msg)
        if record.created - self._last_logged.get(message, -self._interval_seconds) < self._interval_seconds:
            return False
        self._last_logged[message] = record.created
        return True


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line, in ASCII: no encoding of a stream can break it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object: time, level, logger, message, and the traceback if there is one."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        if parts:
            entry["exception"] = "\n".join(parts)
        # A lone surrogate is no text, which strict readers refuse.
        return json.dumps(
            {name: text.encode("utf-8", "backslashreplace").decode() for name, text in entry.items()}, ensure_ascii=True
        )


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - A wrong call of a library is logged too; `logging` would print a traceback.
        return f"{record.msg} {record.args}"


def set_up_logging(log_format: LogFormat) -> None:
    """Log to standard error unless logging is configured: Milepost from INFO, libraries from WARNING."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=_TEXT_FORMAT)
    logging.getLogger("milepost").setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        if log_format == "json":
            handler.setFormatter(JsonFormatter())
        if not any(isinstance(existing, RepeatedMessageFilter) for existing in handler.filters):
            handler.addFilter(AttemptFilter())
            handler.addFilter(RepeatedMessageFilter())


@contextmanager
def logged_errors(log_format: LogFormat) -> Iterator[None]:
    """Set up logging for a process that is one command; as JSON, log also the errors that end it, and exit with 1."""
    set_up_logging(log_format)
    if log_format == "text":
        yield
        return
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread_exception
    sys.unraisablehook = _log_unraisable
    try:
        yield
    except MilepostError as error:
        for message in str(error).split(_ERROR_SEPARATOR):
            logger.critical("%s", message)
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None:
            raise
        logger.critical("%s: %s", error.filename, error.strerror)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        logger.warning("interrupted before it was ready")
        raise SystemExit(1) from None


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logger.critical("the process ends because of a bug", exc_info=(kind, error, traceback))


def _log_thread_exception(uncaught: threading.ExceptHookArgs) -> None:
    if uncaught.exc_value is not None:
        name = uncaught.thread.name if uncaught.thread is not None else "unknown"
        exc_info = uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback
        logger.error("thread %s ends because of a bug", name, exc_info=exc_info)


def _log_unraisable(unraisable: Any) -> None:  # noqa: ANN401 - its type is not public
    error = unraisable.exc_value
    exc_info = None if error is None else (unraisable.exc_type, error, unraisable.exc_traceback)
    logger.error("%s: %r", unraisable.err_msg or "an exception is ignored in", unraisable.object, exc_info=exc_info)
