"""Composes the web servers of a process: one for everything, or one for the board and one for metrics and probes."""

import socket
from collections.abc import Collection, Sequence

from streams.metrics.store import MetricsStore
from streams.web.connections import connection_limit
from streams.web.guard import CountHttpError, GuardedApplication
from streams.web.probes import AddRoutes, Probes, add_health, add_milestone_metrics
from streams.web.server import WebServer


def create_web_servers(  # noqa: PLR0913 - everything it composes comes in as an argument
    hosts: Collection[str] | None,
    sockets: Sequence[socket.socket],
    probes: Probes,
    count_error: CountHttpError,
    add_routes: AddRoutes | None = None,
    metrics_store: MetricsStore | None = None,
) -> list[WebServer]:
    """Return a server for each socket, ready to be started.

    The first is for what `add_routes` adds; metrics and probes are on the second if there is one, else on the first
    too. The metrics of milestones are served where there is a store of them.
    """
    board = GuardedApplication(hosts, count_error)
    monitoring = board if len(sockets) == 1 else GuardedApplication(hosts, count_error)
    add_health(monitoring, probes)
    if metrics_store is not None:
        add_milestone_metrics(monitoring, metrics_store)
    if add_routes is not None:
        add_routes(board, probes)
    return [
        WebServer(listener, guarded, connection_limit(len(sockets)), count_error)
        for listener, guarded in zip(sockets, (board, monitoring), strict=False)
    ]
