"""Binds the ports of a process, so that a port in use is reported before anything starts."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from models.errors import MilepostError
from models.settings import Settings


@contextmanager
def bind_listeners(settings: Settings) -> Iterator[list[socket.socket]]:
    """Bind the port of the board, and that of metrics and probes if they have one of their own.

    Raises `MilepostError` for a port that cannot be bound.
    """
    with _bind_with_metrics(settings, settings.web_address, settings.web, "MILEPOST_WEB or --web") as sockets:
        yield sockets


@contextmanager
def bind_gateway_listeners(settings: Settings) -> Iterator[list[socket.socket]]:
    """Bind the port of the gateway, and that of metrics and probes if they have one of their own.

    Raises `MilepostError` for a port that cannot be bound.
    """
    with _bind_with_metrics(settings, settings.gateway_address, settings.gateway, "MILEPOST_GATEWAY") as sockets:
        yield sockets


@contextmanager
def bind_metrics_listener(settings: Settings) -> Iterator[list[socket.socket]]:
    """Bind the port of metrics and probes, if there is one.

    Raises `MilepostError` for a port that cannot be bound.
    """
    with ExitStack() as closing:
        yield [*_bind_metrics(settings, closing)]


@contextmanager
def _bind_with_metrics(
    settings: Settings, address: tuple[str, int], text: str, setting: str
) -> Iterator[list[socket.socket]]:
    with ExitStack() as closing:
        yield [closing.enter_context(_bind(address, text, setting)), *_bind_metrics(settings, closing)]


def _bind_metrics(settings: Settings, closing: ExitStack) -> Iterator[socket.socket]:
    if settings.metrics_address is not None and settings.metrics is not None:
        yield closing.enter_context(_bind(settings.metrics_address, settings.metrics, "MILEPOST_METRICS"))


def _bind(address: tuple[str, int], text: str, setting: str) -> socket.socket:
    host, port = address
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, resolved = found[0]
        listening = socket.create_server(resolved, family=family, backlog=128)
    except OSError as error:
        raise MilepostError(f"cannot serve on {text}: {error.strerror}; choose another with {setting}") from None
    listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listening
