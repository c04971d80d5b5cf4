"""Tell the story to a running Milepost, the way any publisher would, and say each thing once it can be seen.

What is seen is read from the worker's own pages and nothing else, so that every line is true for whoever looks.
Telling it again changes nothing: the events are known by then, and what was told is not said to have happened anew.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from http.client import HTTPConnection, HTTPException
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, select

from consumers.dead_letters import read_dead_letters
from consumers.event_files import Written
from consumers.publish import Mode, publish, publish_checked
from deploy.demo.story import PARTICIPANT, PROGRAMME, Story
from deploy.worker import WorkerError
from models.database.engine import reading
from models.database.tables import ledger
from models.domain.cloudevents import encode_structured
from models.domain.dead_letters import DeadLetter
from models.domain.events import DependencyDeclared, Event, MilestoneReported
from models.domain.timestamps import epoch_seconds
from models.settings import Settings

MILESTONES: Final = "/metrics/milestones"
_PIPELINE: Final = "/metrics"
_READY: Final = "/ready"
#: The series that tells when a milestone was last heard of.
_LAST: Final = "last_event"
_LOOK_SECONDS: Final = 0.1
#: Between two scenes, for those who watch; nothing depends on it.
_PAUSE_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 5.0
_OK: Final = 200


class UntoldError(WorkerError):
    """The story cannot be told; the message is one line."""


class _Place(NamedTuple):
    project: str
    milestone: str


class _View(NamedTuple):
    """What the milestones' page shows of the programme."""

    #: Seconds, by series (the part of its name that tells it) and milestone.
    seconds: dict[tuple[str, _Place], float]
    states: dict[_Place, str]
    kinds: Counter[str]

    def day(self, series: str, place: _Place) -> date | None:
        """Return a date of a milestone, if it has one."""
        seconds = self.seconds.get((series, place))
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date()


class Teller:
    """Publishes the story scene by scene and says what became visible."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        story: Story,
        *,
        say: Callable[[str], None],
        stay: Callable[[float], None],
    ) -> None:
        """Take where to publish and look; `stay` waits so many seconds, and raises when that is in vain."""
        self._settings, self._engine, self._story = settings, engine, story
        self._say, self._stay = say, stay

    def open(self) -> list[str]:
        """Publish what is known in the morning; return what to say of it once it is visible."""
        opening = self._story.opening
        new = len(opening) - len(self._known(opening))
        self._publish(opening)
        # All of them are counted, new or not, before the page is looked at.
        self._wait(lambda: self._counted() >= len(opening) and self._shows(opening))
        self._wait(lambda: self._get(_READY) is not None)
        view = self._view()
        sources = len({event.source for event in opening})
        states = ", ".join(f"{count} {state}" for state, count in Counter(view.states.values()).most_common())
        became = "all new" if new == len(opening) else f"{new or 'none'} new, the known are counted as duplicates"
        standing = f"{view.kinds[PARTICIPANT]} participants and {view.kinds['park']} parks stand in {PROGRAMME}"
        return [
            f"{self._story.day}: {len(opening)} events from {sources} sources are published; {became}",
            f"{standing}; milestones: {states}",
        ]

    def go_on(self) -> None:
        """Tell what happens today, as far as it was not told before."""
        told = self._known([self._story.slip, self._story.mistake, self._story.correction])
        for scene, event in (
            (self._slip, self._story.slip),
            (self._mistake, self._story.mistake),
            (self._correction, self._story.correction),
        ):
            if (event.source, event.id) not in told:
                self._stay(_PAUSE_SECONDS)
                scene(event)
        if self._letter() is None:
            self._stay(_PAUSE_SECONDS)
            publish(self._settings, [Written("the sample", self._story.malformed)], Mode.STRUCTURED)
            self._wait(lambda: self._letter() is not None)
            if letter := self._letter():
                self._say(f"an event cut short on its way is a dead letter now: {letter.key}, {letter.reason}")
        elif len(told) == len((self._slip, self._mistake, self._correction)):
            self._say("the rest of the story was told before, and is kept")

    def _slip(self, event: Event) -> None:
        gate, before = _place(event), self._view()
        self._publish([event])
        self._wait(lambda: self._shows([event]))
        after = self._view()
        waiting = {
            _Place(other.project, other.data.milestone)
            for other in self._story.opening
            if isinstance(other.data, DependencyDeclared) and _Place(*_after(other.data)) == gate
        }
        moved = [place for place in sorted(waiting) if before.day("forecast", place) != after.day("forecast", place)]
        line = f"{_named(gate)} slips: forecast {after.day('forecast', gate)}, was {before.day('forecast', gate)}"
        self._say(f"{line}; {len(waiting)} milestones wait for it, {len(moved)} of them move with it:")
        for place in moved:
            was, becomes = before.day("forecast", place), after.day("forecast", place)
            later = f", {(becomes - was).days:+d} days" if was and becomes else ""
            self._say(f"- {_named(place)}: {was} becomes {becomes}{later}")

    def _mistake(self, event: Event) -> None:
        place = _place(event)
        self._publish([event])
        self._wait(lambda: self._shows([event]))
        self._say(f"{_named(place)} is reported as done on {self._view().day('actual', place)}, by mistake")

    def _correction(self, event: Event) -> None:
        mistake = self._story.mistake
        place, mistaken = _place(mistake), epoch_seconds(mistake.instant)
        self._publish([event])
        self._wait(lambda: self._view().seconds.get((_LAST, place), mistaken) != mistaken)
        view = self._view()
        state, forecast = view.states.get(place), view.day("forecast", place)
        self._say(f"{mistake.source} takes that back: {_named(place)} is {state} again, forecast {forecast}")

    def _publish(self, events: Sequence[Event]) -> None:
        now_ms = int(time.time() * 1000)  # noqa: TID251 - an edge: a publisher's clock
        publish_checked(self._settings, lambda: _written(events), Mode.STRUCTURED, now_ms, self._say)

    def _known(self, events: Iterable[Event]) -> set[tuple[str, str]]:
        """Return the names of those that the ledger holds."""
        names = {(event.source, event.id) for event in events}
        query = select(ledger.c.source, ledger.c.id).where(
            ledger.c.digest.is_not(None), ledger.c.id.in_([name for _, name in names])
        )
        with reading(self._engine) as connection:
            return names.intersection(connection.execute(query).tuples())

    def _letter(self) -> DeadLetter | None:
        letters = read_dead_letters(self._settings)
        return next((letter for letter in letters if letter.value == self._story.malformed), None)

    def _counted(self) -> int:
        """Return how many events the worker has counted as accepted or duplicate since it started."""
        families = text_string_to_metric_families(self._get(_PIPELINE) or "")
        return sum(
            int(sample.value)
            for family in families
            for sample in family.samples
            if sample.name == "milepost_events_total" and sample.labels["outcome"] != "rejected"
        )

    def _shows(self, events: Iterable[Event]) -> bool:
        """Return whether the page knows of each report, or of a newer one about the same milestone."""
        seconds = self._view().seconds
        return all(
            seconds.get((_LAST, _place(event)), 0) >= epoch_seconds(event.instant)
            for event in events
            if isinstance(event.data, MilestoneReported)
        )

    def _view(self) -> _View:
        view = _View({}, {}, Counter())
        for family in text_string_to_metric_families(self._get(MILESTONES) or ""):
            for sample in family.samples:
                labels = sample.labels
                if labels.get("programme") != PROGRAMME:
                    continue
                if sample.name == "milepost_project_info":
                    view.kinds[labels["kind"]] += 1
                elif sample.name == "milepost_milestone_state" and sample.value:
                    view.states[_Place(labels["project"], labels["milestone"])] = labels["state"]
                elif sample.name.startswith("milepost_milestone_") and sample.name.endswith("_timestamp_seconds"):
                    series = sample.name.removeprefix("milepost_milestone_").removesuffix("_timestamp_seconds")
                    view.seconds[series, _Place(labels["project"], labels["milestone"])] = sample.value
        return view

    def _get(self, path: str) -> str | None:
        """Return a page of the worker, or None while there is none."""
        host, port = self._settings.web_address
        connection = HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()
        return text if answer.status == _OK else None

    def _wait(self, visible: Callable[[], bool]) -> None:
        patience = time.monotonic() + _PATIENCE_SECONDS
        while not visible():
            self._stay(_LOOK_SECONDS)
            if time.monotonic() > patience:
                raise UntoldError(
                    f"what was published is not visible on http://{self._settings.web}{MILESTONES}"
                    f" after {_PATIENCE_SECONDS:.0f} s: the worker's log may tell why"
                )


def _written(events: Sequence[Event]) -> Iterator[Written]:
    for number, event in enumerate(events, 1):
        yield Written(f"sample:{number}", encode_structured(event)[1])


def _place(event: Event) -> _Place:
    assert isinstance(event.data, MilestoneReported)  # noqa: S101 - asked of reports alone; narrows for mypy
    return _Place(event.project, event.data.milestone)


def _after(data: DependencyDeclared) -> tuple[str, str]:
    return data.after.project, data.after.milestone


def _named(place: _Place) -> str:
    return "/".join(place)
