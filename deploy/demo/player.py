"""Plays the story to a running Milepost as any publisher would, and reports each scene once it is visible.

What is visible is read from the worker's own pages, so every line is true for the user too. Playing the story again
changes nothing: its events are duplicates then, and no scene is reported as new.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from http.client import HTTPException
from typing import Final, NamedTuple
from urllib.request import urlopen

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, select

from consumers.dead_letters import read_dead_letters
from consumers.event_files import EventLine
from consumers.gateway import GatewayClient
from consumers.publish import ContentMode, publish_events, publish_validated
from deploy.child_process import poll_until
from deploy.demo.story import PARTICIPANT_KIND, PROGRAMME, Story
from models.database.engine import read_transaction
from models.database.forecasts import read_unpublished
from models.database.tables import ledger
from models.domain.cloudevents import encode_structured
from models.domain.dead_letters import DeadLetter
from models.domain.events import DependencyDeclared, Event, MilestoneReported
from models.domain.schedule import MilestoneRef
from models.domain.timestamps import epoch_seconds
from models.errors import MilepostError
from models.settings import Settings

MILESTONES_METRICS_PATH: Final = "/metrics/milestones"
_VISIBLE_TIMEOUT_S: Final = 60.0
#: Between two scenes, for the user; nothing depends on it.
_SCENE_PAUSE_S: Final = 2.0
_MESSAGE_TIMEOUT_S: Final = 20.0


class DemoMessage(NamedTuple):
    """What people are told."""

    title: str
    lines: Sequence[str]


class _ScrapedMilestones(NamedTuple):
    """What the milestones' page says about the programme."""

    #: By series ("forecast", "last_event", …) and milestone
    timestamps: dict[tuple[str, MilestoneRef], float]
    states: dict[MilestoneRef, str]
    kinds: Counter[str]

    def date_of(self, series: str, key: MilestoneRef) -> date | None:
        seconds = self.timestamps.get((series, key))
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date()


@dataclass(frozen=True)
class StoryPlayer:
    """Publishes the story scene by scene and reports what became visible."""

    settings: Settings
    engine: Engine
    story: Story
    #: Takes the last event of the story, as from a publisher that has no rights on Kafka.
    gateway: GatewayClient
    print_line: Callable[[str], None]
    #: Waits so many seconds; raises when the demo ends meanwhile.
    pause: Callable[[float], None]

    def publish_opening(self) -> list[str]:
        """Publish what is known in the morning; return the lines that report it, once it is visible."""
        opening = self.story.opening
        new = len(opening) - len(self._recorded_ids(opening))
        scraped = self._publish(opening)
        # Duplicates are visible before they are counted.
        self._wait_until(lambda: self._count_recorded_events() >= len(opening))
        self._wait_until(lambda: self._fetch_page("/ready") is not None)
        sources = len({event.source for event in opening})
        states = ", ".join(f"{count} {state}" for state, count in Counter(scraped.states.values()).most_common())
        news = "all new" if new == len(opening) else f"{new or 'none'} new, the others are counted as duplicates"
        participants, parks = scraped.kinds[PARTICIPANT_KIND], scraped.kinds["park"]
        return [
            f"{self.story.day}: {len(opening)} events from {sources} sources are published; {news}",
            f"{participants} participants and {parks} parks stand in {PROGRAMME}; milestones: {states}",
        ]

    def wait_until_opening_is_told(self) -> None:
        """Wait until the worker has published what the opening moved: a past, which it tells as a whole."""

        def is_told() -> bool:
            with read_transaction(self.engine) as connection:
                return not read_unpublished(connection, [PROGRAMME], 1)

        self._wait_until(is_told)

    def play_scenes(self, wait_for_message: Callable[[str, float], DemoMessage | None]) -> None:
        """Publish what happens today, without the scenes that were played before; then print what people are told."""
        scenes = (
            (self._play_slip, self.story.slip_event),
            (self._play_mistake, self.story.mistaken_event),
            (self._play_retraction, self.story.retraction_event),
        )
        recorded = self._recorded_ids([event for _, event in scenes])
        for play, event in scenes:
            if (event.source, event.id) not in recorded:
                self.pause(_SCENE_PAUSE_S)
                play(event)
        if self._find_malformed_dead_letter() is None:
            self.pause(_SCENE_PAUSE_S)
            publish_events(self.settings, [EventLine("the sample", self.story.malformed_value)], ContentMode.STRUCTURED)
            self._wait_until(lambda: self._find_malformed_dead_letter() is not None)
            if letter := self._find_malformed_dead_letter():
                self.print_line(f"an event that lost its end became a dead letter: {letter.key}, {letter.reason}")
        elif len(recorded) == len(scenes):
            self.print_line("the rest of the story was played before, and is kept")
        slip = self.story.slip_event
        if (slip.source, slip.id) not in recorded and (message := wait_for_message("later", _MESSAGE_TIMEOUT_S)):
            self.print_line("people are told of the slip in one message, by mail or chat (`milepost notify`):")
            for line in ("", message.title, "", *message.lines, ""):
                self.print_line(f"| {line}".rstrip())

    def _play_slip(self, event: Event) -> None:
        gate, before = _milestone_of(event), self._scrape_milestones()
        after = self._publish([event])
        waiting = {
            MilestoneRef(other.project, other.data.milestone)
            for other in self.story.opening
            if isinstance(other.data, DependencyDeclared)
            and (other.data.after.project, other.data.after.milestone) == gate
        }
        dates = {key: (before.date_of("forecast", key), after.date_of("forecast", key)) for key in sorted(waiting)}
        moved = [(key, previous, current) for key, (previous, current) in dates.items() if previous != current]
        self.print_line(
            f"{gate} slips: forecast {after.date_of('forecast', gate)}, was {before.date_of('forecast', gate)};"
            f" {len(waiting)} milestones wait for it, {len(moved)} of them move with it:"
        )
        for key, previous, current in moved:
            days = f", {(current - previous).days:+d} days" if previous and current else ""
            self.print_line(f"- {key}: {previous} becomes {current}{days}")

    def _play_mistake(self, event: Event) -> None:
        key = _milestone_of(event)
        achieved = self._publish([event]).date_of("actual", key)
        self.print_line(f"{key} is reported as achieved on {achieved}, by mistake")

    def _play_retraction(self, event: Event) -> None:
        mistake = self.story.mistaken_event
        key, mistaken = _milestone_of(mistake), epoch_seconds(mistake.instant)
        try:
            self.gateway.send([EventLine("the retraction", encode_structured(event)[1])])
        finally:
            self.gateway.close()
        self._wait_until(lambda: self._scrape_milestones().timestamps.get(("last_event", key), mistaken) != mistaken)
        scraped = self._scrape_milestones()
        state, forecast = scraped.states.get(key), scraped.date_of("forecast", key)
        self.print_line(
            f"{mistake.source} retracts that through the gateway, by HTTP: {key} is {state} again, forecast {forecast}"
        )

    def _publish(self, events: Sequence[Event]) -> _ScrapedMilestones:
        """Publish events; return the milestones once every report, or a newer one of its milestone, is visible."""
        lines = [EventLine(f"sample:{number}", encode_structured(event)[1]) for number, event in enumerate(events, 1)]

        def are_visible() -> bool:
            seconds = self._scrape_milestones().timestamps
            return all(
                seconds.get(("last_event", _milestone_of(event)), 0) >= epoch_seconds(event.instant)
                for event in events
                if isinstance(event.data, MilestoneReported)
            )

        now_ms = int(time.time() * 1000)  # noqa: TID251 - a publisher's clock
        publish_validated(self.settings, lambda: iter(lines), ContentMode.STRUCTURED, now_ms, self.print_line)
        self._wait_until(are_visible)
        return self._scrape_milestones()

    def _recorded_ids(self, events: Iterable[Event]) -> set[tuple[str, str]]:
        """Return source and id of those events that the ledger holds."""
        ids = {(event.source, event.id) for event in events}
        conditions = ledger.c.digest.is_not(None), ledger.c.id.in_([name for _, name in ids])
        query = select(ledger.c.source, ledger.c.id).where(*conditions)
        with read_transaction(self.engine) as connection:
            return ids.intersection(connection.execute(query).tuples())

    def _find_malformed_dead_letter(self) -> DeadLetter | None:
        letters = read_dead_letters(self.settings)
        return next((letter for letter in letters if letter.value == self.story.malformed_value), None)

    def _count_recorded_events(self) -> int:
        """Return how many events the worker has accepted or counted as duplicates since it started."""
        return sum(
            int(sample.value)
            for family in self._scrape("/metrics")
            for sample in family.samples
            if sample.name == "milepost_events_total" and sample.labels["outcome"] != "rejected"
        )

    def _scrape_milestones(self) -> _ScrapedMilestones:
        scraped = _ScrapedMilestones({}, {}, Counter())
        for family in self._scrape(MILESTONES_METRICS_PATH):
            series = family.name.removeprefix("milepost_milestone_").removesuffix("_timestamp_seconds")
            for sample in family.samples:
                labels = sample.labels
                if labels.get("programme") != PROGRAMME:
                    continue
                key = MilestoneRef(labels.get("project", ""), labels.get("milestone", ""))
                if sample.name == "milepost_project_info":
                    scraped.kinds[labels["kind"]] += 1
                elif sample.name == "milepost_milestone_state" and sample.value:
                    scraped.states[key] = labels["state"]
                elif sample.name == f"milepost_milestone_{series}_timestamp_seconds":
                    scraped.timestamps[series, key] = sample.value
        return scraped

    def _scrape(self, path: str) -> Iterable[Metric]:
        return text_string_to_metric_families(self._fetch_page(path) or "")

    def _fetch_page(self, path: str) -> str | None:
        """Return a page of the worker, or None when it has none now."""
        try:
            with urlopen(f"http://{self.settings.web}{path}", timeout=5) as response:
                return str(response.read(), "utf-8")
        except (OSError, HTTPException):
            return None

    def _wait_until(self, is_visible: Callable[[], bool]) -> None:
        if not poll_until(is_visible, _VISIBLE_TIMEOUT_S, 0.1, self.pause):
            raise MilepostError(
                f"what was published is not visible on http://{self.settings.web}{MILESTONES_METRICS_PATH}"
                f" after {_VISIBLE_TIMEOUT_S:.0f} s: the worker's log may tell why"
            )


def _milestone_of(event: Event) -> MilestoneRef:
    assert isinstance(event.data, MilestoneReported)  # noqa: S101 - narrows the type for mypy
    return MilestoneRef(event.project, event.data.milestone)
