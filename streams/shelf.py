"""The rendered programmes of one worker, and which of them are out of date."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from streams.exposition import FAMILIES, Rendered


class _Shown(NamedTuple):
    revision: int
    day: date
    rendered: Rendered
    room: int


@dataclass(slots=True)
class Shelf:
    """The rendered programmes of one worker, ready to be scraped."""

    #: How many milestone series may stand here, at most.
    max_series: int
    _shown: dict[str, _Shown] = field(default_factory=dict)

    def room_for(self, name: str) -> int:
        """Return how many series a programme may have beside the others."""
        return self.max_series - sum(shown.rendered.series for other, shown in self._shown.items() if other != name)

    def put(self, name: str, revision: int, day: date, rendered: Rendered) -> None:
        """Show a programme as of a revision and a day; an older picture never replaces a newer one."""
        before = self._shown.get(name)
        if before is None or (before.revision, before.day) <= (revision, day):
            self._shown[name] = _Shown(revision, day, rendered, self.room_for(name))

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Take down every programme that is not wanted."""
        for name in [name for name in self._shown if not wanted(name)]:
            del self._shown[name]

    def behind(self, revisions: Mapping[str, int], day: date) -> list[str]:
        """Return the programmes that are not shown as of their revision and this day, or might show more."""
        return [name for name, revision in sorted(revisions.items()) if self._is_behind(name, revision, day)]

    def _is_behind(self, name: str, revision: int, day: date) -> bool:
        if (shown := self._shown.get(name)) is None or shown.revision < revision or shown.day != day:
            return True
        return shown.rendered.left_out > 0 and self.room_for(name) > shown.room

    @property
    def names(self) -> frozenset[str]:
        """The programmes that are shown."""
        return frozenset(self._shown)

    @property
    def left_out(self) -> int:
        """How many milestones there was no room for."""
        return sum(shown.rendered.left_out for shown in self._shown.values())

    def pages(self) -> Iterator[bytes]:
        """Return the whole exposition, a family at a time: a second copy of everything would double the memory."""
        for place, family in enumerate(FAMILIES):
            header = f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n".encode()
            yield b"".join((header, *(shown.rendered.lines[place] for shown in self._shown.values())))
