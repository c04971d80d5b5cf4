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
from consumers.event_files import EventLine
from consumers.publish import ContentMode, publish_events, publish_validated
from deploy.demo.story import PARTICIPANT_KIND, PROGRAMME, Story
from models.database.engine import read_transaction
from models.database.tables import ledger
from models.domain.cloudevents import encode_structured
from models.domain.dead_letters import DeadLetter
from models.domain.events import DependencyDeclared, Event, MilestoneReported
from models.domain.timestamps import epoch_seconds
from models.errors import MilepostError
from models.settings import Settings

MILESTONES_METRICS_PATH: Final = "/metrics/milestones"
PIPELINE_METRICS_PATH: Final = "/metrics"
_READY_PATH: Final = "/ready"
#: The series that tells when a milestone was last heard of.
_LAST_EVENT_SERIES: Final = "last_event"
_VISIBLE_POLL_S: Final = 0.1
#: Between two scenes, for those who watch; nothing depends on it.
_SCENE_PAUSE_S: Final = 2.0
_VISIBLE_TIMEOUT_S: Final = 60.0
_HTTP_TIMEOUT_S: Final = 5.0
_HTTP_OK: Final = 200


class _ShownMilestone(NamedTuple):
    project: str
    milestone: str


class _ScrapedMilestones(NamedTuple):
    """What the milestones' page shows of the programme."""

    #: Seconds, by series (the part of its name that tells it) and milestone.
    timestamps: dict[tuple[str, _ShownMilestone], float]
    states: dict[_ShownMilestone, str]
    projects_by_kind: Counter[str]

    def date_of(self, series: str, milestone: _ShownMilestone) -> date | None:
        """Return a date of a milestone, if it has one."""
        seconds = self.timestamps.get((series, milestone))
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date()


class StoryPlayer:
    """Publishes the story scene by scene and says what became visible."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        story: Story,
        *,
        print_line: Callable[[str], None],
        pause: Callable[[float], None],
    ) -> None:
        """Take where to publish and look; `stay` waits so many seconds, and raises when that is in vain."""
        self._settings, self._engine, self._story = settings, engine, story
        self._print_line, self._pause = print_line, pause

    def publish_opening(self) -> list[str]:
        """Publish what is known in the morning; return what to say of it once it is visible."""
        opening = self._story.opening
        new = len(opening) - len(self._already_recorded(opening))
        self._publish(opening)
        # All of them are counted, new or not, before the page is looked at.
        self._wait_until(lambda: self._count_recorded_events() >= len(opening) and self._are_visible(opening))
        self._wait_until(lambda: self._fetch_page(_READY_PATH) is not None)
        view = self._scrape_milestones()
        sources = len({event.source for event in opening})
        states = ", ".join(f"{count} {state}" for state, count in Counter(view.states.values()).most_common())
        became = "all new" if new == len(opening) else f"{new or 'none'} new, the known are counted as duplicates"
        standing = (
            f"{view.projects_by_kind[PARTICIPANT_KIND]} participants and {view.projects_by_kind['park']}"
            f" parks stand in {PROGRAMME}"
        )
        return [
            f"{self._story.day}: {len(opening)} events from {sources} sources are published; {became}",
            f"{standing}; milestones: {states}",
        ]

    def play_scenes(self) -> None:
        """Tell what happens today, as far as it was not told before."""
        told = self._already_recorded(
            [self._story.slip_event, self._story.mistaken_event, self._story.retraction_event]
        )
        for scene, event in (
            (self._play_slip, self._story.slip_event),
            (self._play_mistake, self._story.mistaken_event),
            (self._play_retraction, self._story.retraction_event),
        ):
            if (event.source, event.id) not in told:
                self._pause(_SCENE_PAUSE_S)
                scene(event)
        if self._find_malformed_dead_letter() is None:
            self._pause(_SCENE_PAUSE_S)
            publish_events(
                self._settings, [EventLine("the sample", self._story.malformed_value)], ContentMode.STRUCTURED
            )
            self._wait_until(lambda: self._find_malformed_dead_letter() is not None)
            if letter := self._find_malformed_dead_letter():
                self._print_line(f"an event cut short on its way is a dead letter now: {letter.key}, {letter.reason}")
        elif len(told) == len((self._play_slip, self._play_mistake, self._play_retraction)):
            self._print_line("the rest of the story was told before, and is kept")

    def _play_slip(self, event: Event) -> None:
        gate, before = _milestone_of(event), self._scrape_milestones()
        self._publish([event])
        self._wait_until(lambda: self._are_visible([event]))
        after = self._scrape_milestones()
        waiting = {
            _ShownMilestone(other.project, other.data.milestone)
            for other in self._story.opening
            if isinstance(other.data, DependencyDeclared) and _ShownMilestone(*_predecessor_of(other.data)) == gate
        }
        moved = [
            place for place in sorted(waiting) if before.date_of("forecast", place) != after.date_of("forecast", place)
        ]
        line = (
            f"{_display_name(gate)} slips: forecast {after.date_of('forecast', gate)}, was"
            f" {before.date_of('forecast', gate)}"
        )
        self._print_line(f"{line}; {len(waiting)} milestones wait for it, {len(moved)} of them move with it:")
        for place in moved:
            was, becomes = before.date_of("forecast", place), after.date_of("forecast", place)
            later = f", {(becomes - was).days:+d} days" if was and becomes else ""
            self._print_line(f"- {_display_name(place)}: {was} becomes {becomes}{later}")

    def _play_mistake(self, event: Event) -> None:
        place = _milestone_of(event)
        self._publish([event])
        self._wait_until(lambda: self._are_visible([event]))
        self._print_line(
            f"{_display_name(place)} is reported as done on"
            f" {self._scrape_milestones().date_of('actual', place)}, by mistake"
        )

    def _play_retraction(self, event: Event) -> None:
        mistake = self._story.mistaken_event
        place, mistaken = _milestone_of(mistake), epoch_seconds(mistake.instant)
        self._publish([event])
        self._wait_until(
            lambda: self._scrape_milestones().timestamps.get((_LAST_EVENT_SERIES, place), mistaken) != mistaken
        )
        view = self._scrape_milestones()
        state, forecast = view.states.get(place), view.date_of("forecast", place)
        self._print_line(
            f"{mistake.source} takes that back: {_display_name(place)} is {state} again, forecast {forecast}"
        )

    def _publish(self, events: Sequence[Event]) -> None:
        now_ms = int(time.time() * 1000)  # noqa: TID251 - an edge: a publisher's clock
        publish_validated(
            self._settings, lambda: _to_event_lines(events), ContentMode.STRUCTURED, now_ms, self._print_line
        )

    def _already_recorded(self, events: Iterable[Event]) -> set[tuple[str, str]]:
        """Return the names of those that the ledger holds."""
        names = {(event.source, event.id) for event in events}
        query = select(ledger.c.source, ledger.c.id).where(
            ledger.c.digest.is_not(None), ledger.c.id.in_([name for _, name in names])
        )
        with read_transaction(self._engine) as connection:
            return names.intersection(connection.execute(query).tuples())

    def _find_malformed_dead_letter(self) -> DeadLetter | None:
        letters = read_dead_letters(self._settings)
        return next((letter for letter in letters if letter.value == self._story.malformed_value), None)

    def _count_recorded_events(self) -> int:
        """Return how many events the worker has counted as accepted or duplicate since it started."""
        families = text_string_to_metric_families(self._fetch_page(PIPELINE_METRICS_PATH) or "")
        return sum(
            int(sample.value)
            for family in families
            for sample in family.samples
            if sample.name == "milepost_events_total" and sample.labels["outcome"] != "rejected"
        )

    def _are_visible(self, events: Iterable[Event]) -> bool:
        """Return whether the page knows of each report, or of a newer one about the same milestone."""
        seconds = self._scrape_milestones().timestamps
        return all(
            seconds.get((_LAST_EVENT_SERIES, _milestone_of(event)), 0) >= epoch_seconds(event.instant)
            for event in events
            if isinstance(event.data, MilestoneReported)
        )

    def _scrape_milestones(self) -> _ScrapedMilestones:
        view = _ScrapedMilestones({}, {}, Counter())
        for family in text_string_to_metric_families(self._fetch_page(MILESTONES_METRICS_PATH) or ""):
            for sample in family.samples:
                labels = sample.labels
                if labels.get("programme") != PROGRAMME:
                    continue
                if sample.name == "milepost_project_info":
                    view.projects_by_kind[labels["kind"]] += 1
                elif sample.name == "milepost_milestone_state" and sample.value:
                    view.states[_ShownMilestone(labels["project"], labels["milestone"])] = labels["state"]
                elif sample.name.startswith("milepost_milestone_") and sample.name.endswith("_timestamp_seconds"):
                    series = sample.name.removeprefix("milepost_milestone_").removesuffix("_timestamp_seconds")
                    view.timestamps[series, _ShownMilestone(labels["project"], labels["milestone"])] = sample.value
        return view

    def _fetch_page(self, path: str) -> str | None:
        """Return a page of the worker, or None while there is none."""
        host, port = self._settings.web_address
        connection = HTTPConnection(host, port, timeout=_HTTP_TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()
        return text if answer.status == _HTTP_OK else None

    def _wait_until(self, is_visible: Callable[[], bool]) -> None:
        patience = time.monotonic() + _VISIBLE_TIMEOUT_S
        while not is_visible():
            self._pause(_VISIBLE_POLL_S)
            if time.monotonic() > patience:
                raise MilepostError(
                    f"what was published is not visible on http://{self._settings.web}{MILESTONES_METRICS_PATH}"
                    f" after {_VISIBLE_TIMEOUT_S:.0f} s: the worker's log may tell why"
                )


def _to_event_lines(events: Sequence[Event]) -> Iterator[EventLine]:
    for number, event in enumerate(events, 1):
        yield EventLine(f"sample:{number}", encode_structured(event)[1])


def _milestone_of(event: Event) -> _ShownMilestone:
    assert isinstance(event.data, MilestoneReported)  # noqa: S101 - asked of reports alone; narrows for mypy
    return _ShownMilestone(event.project, event.data.milestone)


def _predecessor_of(data: DependencyDeclared) -> tuple[str, str]:
    return data.after.project, data.after.milestone


def _display_name(milestone: _ShownMilestone) -> str:
    return "/".join(milestone)
