"""Where everything is: the addresses of pages and of the API, names as quoted parts of a path.

A milestone always has a project (contract, section 1: only a registration's subject is a programme alone), so the two
parts behind `milestones/` and `gates/` are never one.
"""

from urllib.parse import quote

from models.domain.schedule import MilestoneRef

API_PATH = "/api"
STREAM_PATH = "/api/stream"
OPENAPI_PATH = "/api/openapi.json"
PIPELINE_PATH = "/pipeline"


def programme_url(programme: str) -> str:
    """Return the address of a programme's timeline."""
    return f"/programmes/{quote(programme, safe='')}"


def trend_url(programme: str) -> str:
    """Return the address of a programme's trend."""
    return f"{programme_url(programme)}/trend"


def milestone_url(programme: str, milestone: MilestoneRef) -> str:
    """Return the address of why a milestone's forecast is what it is."""
    return f"{programme_url(programme)}/milestones/{_milestone_path(milestone)}"


def gate_url(programme: str, milestone: MilestoneRef) -> str:
    """Return the address of who waits for a milestone."""
    return f"{programme_url(programme)}/gates/{_milestone_path(milestone)}"


def _milestone_path(milestone: MilestoneRef) -> str:
    return "/".join(quote(part, safe="") for part in milestone)
