"""What people call things: names that somebody gave, else the words of the catalogue, else slugs.

Wherever a name stands first, its slug stands behind: commands and links take slugs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from models.domain.claims import Facts
from models.domain.events import MILESTONE_CATALOGUE
from models.domain.schedule import MilestoneRef
from models.text import printable

#: Longer names are cut in lists; the page of the milestone or project has all of them.
MAX_LISTED: Final = 60
_CATALOGUE_WORDS: Final = {slug: slug.replace("-", " ").capitalize() for slug in MILESTONE_CATALOGUE}


class Label(NamedTuple):
    """What a milestone and its project are called; a slug is its own name where nobody gave one."""

    project: str
    milestone: str
    ref: MilestoneRef

    @property
    def is_slugs(self) -> bool:
        """Whether the slugs say all of it."""
        return (self.project, self.milestone) == self.ref

    def __str__(self) -> str:
        """Return the names, and the slugs behind them; for a terminal, whoever prints escapes the names."""
        return str(self.ref) if self.is_slugs else f"{self.project}: {self.milestone} ({self.ref})"


class Names(NamedTuple):
    """The names of the projects and milestones of a programme, as far as they have one."""

    projects: Mapping[str, str]
    milestones: Mapping[MilestoneRef, str]

    def project(self, slug: str) -> str:
        """Return what a project is called."""
        return _visible(self.projects.get(slug)) or slug

    def milestone(self, ref: MilestoneRef) -> str:
        """Return what a milestone is called within its project."""
        return milestone_name(ref.milestone, self.milestones.get(ref))

    def label(self, ref: MilestoneRef) -> Label:
        """Return what a milestone and its project are called."""
        return Label(self.project(ref.project), self.milestone(ref), ref)


#: Where nobody gave any.
NO_NAMES: Final = Names({}, {})


def names_of(facts: Facts, programme: str) -> Names:
    """Return the names in a programme; see `names_by_programme` for those of many."""
    return names_by_programme(facts, [programme])[programme]


def names_by_programme(facts: Facts, programmes: Iterable[str]) -> dict[str, Names]:
    """Return the names in each of some programmes; goes through the facts once, however many programmes there are."""
    wanted = frozenset(programmes)
    projects, milestones = defaultdict[str, dict[str, str]](dict), defaultdict[str, dict[MilestoneRef, str]](dict)
    for project, of_project in facts.projects.items():
        if of_project.name is not None and project.programme in wanted:
            projects[project.programme][project.project] = of_project.name.value
    for milestone, of_milestone in facts.milestones.items():
        if of_milestone.name is not None and milestone.programme in wanted:
            milestones[milestone.programme][MilestoneRef(*milestone[1:])] = of_milestone.name.value
    return {name: Names(projects.get(name, {}), milestones.get(name, {})) for name in wanted}


def milestone_name(slug: str, name: str | None) -> str:
    """Return what a milestone is called: by the name that somebody gave, else by the catalogue."""
    return _visible(name) or _CATALOGUE_WORDS.get(slug, slug)


def project_name(slug: str, name: str | None) -> str:
    """Return what a project or programme is called."""
    return _visible(name) or slug


def with_slug(name: str, slug: str) -> str:
    """Return a name with its slug behind it; the slug alone where it is the name."""
    return slug if name == slug else f"{name} ({slug})"


def shortened(name: str) -> str:
    """Return a name as lists have it: on one line, and not too long."""
    text = printable(name)
    return text if len(text) <= MAX_LISTED else f"{text[: MAX_LISTED - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _visible(name: str | None) -> str | None:
    """Return a name; None for one that nobody sees."""
    return name if name is not None and name.strip() else None
