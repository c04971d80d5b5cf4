"""Paths of the pages and of the API. A milestone always has a project, so its path always has two parts."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, urlencode

from models.domain.claims import MilestoneKey
from models.domain.schedule import MilestoneRef

API_PATH = "/api"
STREAM_PATH = "/api/stream"
STATIC_PATH = "/static/{name}"
OPENAPI_PATH = "/api/openapi.json"
PIPELINE_PATH = "/pipeline"
RUNBOOK_PATH = "/runbook"


def with_query(path: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return a path with the parameters of a query."""
    query = urlencode([*parameters], safe="/:@", quote_via=quote)
    return f"{path}?{query}" if query else path


class PageUrls:
    """The URLs of pages. All repeat the parameters that ask for a picture, so that links stay in it."""

    API_PATH, STREAM_PATH, OPENAPI_PATH = API_PATH, STREAM_PATH, OPENAPI_PATH
    PIPELINE_PATH, RUNBOOK_PATH = PIPELINE_PATH, RUNBOOK_PATH

    def __init__(self, parameters: Iterable[tuple[str, str]] = ()) -> None:
        self._parameters = tuple(parameters)

    def page_url(self, path: str, **parameters: str | None) -> str:
        """Return the URL of a page with some parameters; those without a value are left out."""
        own = [(name, value) for name, value in parameters.items() if value]
        return with_query(path, [*own, *self._parameters])

    def overview_url(self) -> str:
        """Return the URL of all programmes."""
        return self.page_url("/")

    def programme_url(self, programme: str, **parameters: str | None) -> str:
        """Return the URL of a programme's timeline."""
        return self.page_url(_programme_path(programme), **parameters)

    def project_url(self, programme: str, project: str) -> str:
        """Return the URL of one project's timeline."""
        return self.programme_url(programme, project=project)

    def trend_url(self, programme: str, **parameters: str | None) -> str:
        """Return the URL of a programme's trend."""
        return self.page_url(f"{_programme_path(programme)}/trend", **parameters)

    def report_url(self, programme: str, **parameters: str) -> str:
        """Return the URL of a programme's report, which has a span and no picture."""
        return with_query(f"{_programme_path(programme)}/report", parameters.items())

    def milestone_url(self, programme: str, milestone: MilestoneRef | MilestoneKey, view: str = "milestones") -> str:
        """Return the URL of the explanation of a milestone's forecast."""
        names = [quote(milestone.project, ""), quote(milestone.milestone, "")]
        return self.page_url("/".join([_programme_path(programme), view, *names]))

    def gate_url(self, programme: str, milestone: MilestoneRef) -> str:
        """Return the URL of the milestones that wait for a milestone."""
        return self.milestone_url(programme, milestone, "gates")


def _programme_path(programme: str) -> str:
    return f"/programmes/{quote(programme, '')}"


class FeedLinks(NamedTuple):
    """Where calendars and spreadsheets find a programme: absolute where the board's address is known."""

    board_url: str | None = None
    #: What the feeds demand.
    key: str | None = None
    #: How often the key has changed.
    version: int = 0

    def calendar_url(self, programme: str) -> str:
        """Return the address to which a calendar subscribes."""
        return self._feed_url(programme, "calendar.ics", ())

    def status_csv_url(self, programme: str, parameters: Iterable[tuple[str, str]]) -> str:
        """Return the address of the status as CSV, in the picture that parameters ask for."""
        return self._feed_url(programme, "status.csv", parameters)

    def _feed_url(self, programme: str, name: str, parameters: Iterable[tuple[str, str]]) -> str:
        path = f"{(self.board_url or '').rstrip('/')}{_programme_path(programme)}/{name}"
        return with_query(path, [*parameters, *([] if self.key is None else [("key", self.key)])])
