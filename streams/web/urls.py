"""Paths of the pages and of the API. A milestone always has a project, so its path always has two parts."""

from urllib.parse import quote

from models.domain.claims import MilestoneKey
from models.domain.schedule import MilestoneRef

API_PATH = "/api"
STREAM_PATH = "/api/stream"
STATIC_PATH = "/static/{name}"
OPENAPI_PATH = "/api/openapi.json"
PIPELINE_PATH = "/pipeline"
RUNBOOK_PATH = "/runbook"


def programme_url(programme: str) -> str:
    """Return the path of a programme's timeline."""
    return f"/programmes/{quote(programme, '')}"


def project_url(programme: str, project: str) -> str:
    """Return the path of one project's timeline."""
    return f"{programme_url(programme)}?project={quote(project, '')}"


def trend_url(programme: str) -> str:
    """Return the path of a programme's trend."""
    return f"{programme_url(programme)}/trend"


def milestone_url(programme: str, milestone: MilestoneRef | MilestoneKey, view: str = "milestones") -> str:
    """Return the path of the explanation of a milestone's forecast."""
    return "/".join([programme_url(programme), view, quote(milestone.project, ""), quote(milestone.milestone, "")])


def gate_url(programme: str, milestone: MilestoneRef) -> str:
    """Return the path of the milestones that wait for a milestone."""
    return milestone_url(programme, milestone, "gates")
