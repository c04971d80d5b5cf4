"""The metrics of a process that serves the board alone."""

from prometheus_client import CollectorRegistry, Counter

from streams.metrics.pipeline import HTTP_ERRORS, HTTP_ERRORS_HELP, HTTP_ERRORS_NAME


class BoardMetrics:
    """What web clients did wrong, in a registry of its own: nothing here can be taken for a worker's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._http_errors = Counter(HTTP_ERRORS_NAME, HTTP_ERRORS_HELP, ["kind"], registry=self.registry)
        for kind in HTTP_ERRORS:
            self._http_errors.labels(kind)

    def count_http_error(self, kind: str) -> None:
        """Count what a web client did wrong."""
        self._http_errors.labels(kind).inc()
