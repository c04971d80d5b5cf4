"""Where everything is: the addresses of pages and of the API, names as quoted parts of a path.

A milestone always has a project (contract, section 1: only a registration's subject is a programme alone), so the two
parts behind `milestones/` and `gates/` are never one.
"""

from urllib.parse import quote

from models.domain.schedule import Driver

API = "/api"
STREAM = "/api/stream"
OPENAPI = "/api/openapi.json"
PIPELINE = "/pipeline"


def programme(name: str) -> str:
    """Return the address of a programme's timeline."""
    return f"/programmes/{quote(name, safe='')}"


def trend(name: str) -> str:
    """Return the address of a programme's trend."""
    return f"{programme(name)}/trend"


def milestone(name: str, which: Driver) -> str:
    """Return the address of why a milestone's forecast is what it is."""
    return f"{programme(name)}/milestones/{_parts(which)}"


def gate(name: str, which: Driver) -> str:
    """Return the address of who waits for a milestone."""
    return f"{programme(name)}/gates/{_parts(which)}"


def _parts(which: Driver) -> str:
    return "/".join(quote(part, safe="") for part in which)
