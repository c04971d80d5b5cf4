"""The pipeline's alerts, played by promtool: each fires, and is silent a step before or beside it."""

from pathlib import Path

import pytest

from tests.alerting import DAY, Moment, Series, Story, fires, needs, play, series

LOG = {"topic": "milepost.events", "partition": "3"}
OTHER = "b:8090"


def up(values: str, **labels: str) -> Series:
    return series("up", values, **labels)


def answers(**labels: str) -> list[Series]:
    return [series(name, "1x20", **labels) for name in ("milepost_kafka_up", "milepost_database_up")]


def lag(values: str, **labels: str) -> Series:
    return series("milepost_lag_seconds", values, **LOG, **labels)


def position(values: str) -> Series:
    return series("milepost_position", values, **LOG)


def missed(values: str) -> Series:
    return series("milepost_missed_records_total", values, **LOG)


def rejected(values: str, reason: str = "malformed") -> Series:
    return series("milepost_rejected_total", values, reason=reason)


def last_event(values: str) -> Series:
    return series("milepost_source_last_event_timestamp_seconds", values, source="//office")


def flooding(values: str, **labels: str) -> Series:
    return series("milepost_source_flooding", values, source="//office", **labels)


def shown(values: str, programme: str, **labels: str) -> Series:
    return series("milepost_programme_info", values, programme=programme, **labels)


def current(values: str, **labels: str) -> Series:
    return series("milepost_forecasts_current_timestamp_seconds", values, **labels)


NO_PAGE = "Prometheus gets no page from any worker: nothing is recorded, and what the board last showed grows old."
STORIES = [
    Story(
        "no worker answers any more; one of two is enough",
        [up("1x4 0x20"), up("1x8 0x20", instance=OTHER)],
        [Moment("9m", "MilepostDown"), fires("10m", "MilepostDown", NO_PAGE)],
    ),
    Story(
        "no worker is known at all",
        [up("1x5", job="node")],
        [fires("1m", "MilepostDown", NO_PAGE)],
    ),
    Story(
        "a page is not scraped for two minutes",
        [up("1x24"), up("1x4 0x20", job="milepost-milestones")],
        [
            Moment("6m", "MilepostWorkerDown"),
            fires(
                "7m",
                "MilepostWorkerDown",
                "The page of job milepost-milestones on a:8090 is not scraped: the worker is gone, or the page exceeds"
                " a limit of the scrape. Its partitions go to the others.",
                job="milepost-milestones",
                instance="a:8090",
            ),
        ],
    ),
    Story(
        "an event waits longer than a minute to be read",
        [*answers(), lag("0 0 30 60 61 90 120 180x10")],
        [
            Moment("4m", "MilepostStale"),
            fires(
                "5m",
                "MilepostStale",
                "The oldest unread event has waited for 1m 30s: every date shown may be out of date.",
            ),
        ],
    ),
    Story(
        "a worker that is cut off from Kafka tells an old lag, and the other one knows better",
        [
            *answers(instance=OTHER),
            lag("0x20", instance=OTHER),
            series("milepost_kafka_up", "0x20"),
            series("milepost_database_up", "1x20"),
            lag("500x20"),
        ],
        [Moment("15m", "MilepostStale")],
    ),
    Story(
        "a position stands still while there is something to read",
        [*answers(), lag("0 0 0 5 65 125+60x10"), position("7x20")],
        [
            Moment("4m", "MilepostNoProgress"),
            fires(
                "5m",
                "MilepostNoProgress",
                "Partition 3 of milepost.events has had something to read for 2m 5s, and its position in the database"
                " has not moved for two minutes.",
                **LOG,
            ),
        ],
    ),
    Story(
        "a position moves, however far behind it is",
        [*answers(), lag("300x20"), position("7+1x20")],
        [Moment("15m", "MilepostNoProgress")],
    ),
    Story(
        "the database does not answer for a minute",
        [series("milepost_database_up", "1 1 0 0 0 0")],
        [
            Moment("2m", "MilepostDatabaseAway"),
            fires(
                "3m",
                "MilepostDatabaseAway",
                "The worker on a:8090 gets no answer from its database; it tries again for ever, and nothing is lost.",
                job="milepost",
                instance="a:8090",
            ),
        ],
    ),
    Story(
        "Kafka does not answer for a minute",
        [series("milepost_kafka_up", "1 1 0 0 0 0")],
        [
            Moment("2m", "MilepostKafkaAway"),
            fires(
                "3m",
                "MilepostKafkaAway",
                "The worker on a:8090 gets no answer from Kafka; it tries again for ever, and nothing is lost.",
                job="milepost",
                instance="a:8090",
            ),
        ],
    ),
    Story(
        "one of two workers does not come to the end of drawing after its fifth minute",
        [current("0+60x20"), current("0+60x5 300x15", instance=OTHER)],
        [
            Moment("9m", "MilepostForecastBehind"),
            fires(
                "10m",
                "MilepostForecastBehind",
                "For 5m 0s a worker has not come to the end of looking through its programmes: what is recorded may not"
                " be drawn.",
            ),
        ],
    ),
    Story(
        "records were missed before the first scrape of a worker; it is forgotten after a day",
        [missed("5x1450")],
        [
            fires(
                "0m",
                "MilepostRecordsMissed",
                "5 records of partition 3 of milepost.events are gone that no worker had read: their events are lost to"
                " Milepost.",
                **LOG,
            ),
            Moment("1441m", "MilepostRecordsMissed"),
        ],
    ),
    Story("no record is missed", [missed("0x20")], [Moment("10m", "MilepostRecordsMissed")]),
    Story(
        "one event is rejected in the fifth minute, and forgotten after an hour",
        [rejected("0x4 1x80"), rejected("0x84", "invalid-data")],
        [
            Moment("4m", "MilepostDeadLetters"),
            *(
                fires(
                    at,
                    "MilepostDeadLetters",
                    "1 events were rejected as malformed within the hour. They wait among the dead letters.",
                    reason="malformed",
                )
                for at in ("5m", "61m", "64m")
            ),
            Moment("66m", "MilepostDeadLetters"),
        ],
    ),
    Story(
        "claims from the future are no dead letters' alert, but a clock's, for an hour",
        [rejected("0x4 2x80", "time-in-future")],
        [
            Moment("10m", "MilepostDeadLetters"),
            Moment("4m", "MilepostClockSkew"),
            fires(
                "5m",
                "MilepostClockSkew",
                "2 claims of the hour were made more than ten minutes after Kafka took them: a publisher's clock is"
                " ahead, or Kafka's is behind.",
                reason="time-in-future",
                clock="publisher",
            ),
            Moment("66m", "MilepostClockSkew"),
        ],
    ),
    Story(
        "the broker's stamps lie ahead of Prometheus, first by a minute, then by more",
        [last_event("60+60x4 361+60x10")],
        [
            Moment("4m", "MilepostClockSkew"),
            fires("5m", "MilepostClockSkew", "Kafka stamps records 1m 1s ahead of Prometheus.", clock="broker"),
        ],
    ),
    Story(
        "a source floods one of two workers for longer than a minute",
        [flooding("0x4 1x3 0x10"), flooding("0x20", instance=OTHER)],
        [
            Moment("5m", "MilepostSourceFlooding"),
            fires(
                "6m",
                "MilepostSourceFlooding",
                "More than half of the newest events of //office were rejected (of at least a hundred, at most a"
                " thousand).",
                source="//office",
            ),
            Moment("9m", "MilepostSourceFlooding"),
        ],
    ),
    Story(
        "there are more milestones than room for five minutes",
        [series("milepost_series_dropped", "0 12x5 0x10", reason="cap")],
        [
            Moment("5m", "MilepostSeriesLeftOut"),
            fires(
                "6m",
                "MilepostSeriesLeftOut",
                "The worker on a:8090 leaves out 12 milestones (cap): no alert speaks of them.",
                instance="a:8090",
                reason="cap",
            ),
            Moment("7m", "MilepostSeriesLeftOut"),
        ],
    ),
    Story(
        "a programme goes from one worker to another, and another one stays with both",
        [
            shown("1x5 stale", "north"),
            shown("_x5 1x20", "north", instance=OTHER),
            shown("1x20", "south"),
            shown("_x5 1x20", "south", instance=OTHER),
        ],
        [
            Moment("9m", "MilepostShownTwice"),
            fires(
                "12m",
                "MilepostShownTwice",
                "2 workers show south: one of them lost it and does not know.",
                programme="south",
            ),
        ],
    ),
    Story(
        "a worker starts a third time, and a fourth time, within a quarter of an hour",
        [series("milepost_started_timestamp_seconds", "0x2 180x2 360x2 540x20")],
        [
            Moment("8m", "MilepostRestarting"),
            fires(
                "9m",
                "MilepostRestarting",
                "The worker on a:8090 has started 3 times within a quarter of an hour.",
                job="milepost",
                instance="a:8090",
            ),
            Moment("25m", "MilepostRestarting"),
        ],
    ),
    Story(
        "a rolling update gives a worker its partitions five times; then they never come to rest",
        [
            series("milepost_assignments_total", "1x14 1+1x5 6x19 6+1x20"),
            series("milepost_assignments_total", "1x100", instance=OTHER),
        ],
        [
            Moment("20m", "MilepostRebalancing"),
            Moment("34m", "MilepostRebalancing"),
            fires(
                "50m",
                "MilepostRebalancing",
                "A worker was given its partitions anew 9 times within a quarter of an hour; each time all workers"
                " wait.",
            ),
        ],
    ),
    Story(
        "the watchdog barks until nothing is scraped any more",
        [up("0x3")],
        [
            fires(
                "3m",
                "MilepostWatchdog",
                "This alert always fires. When it stops, Prometheus, Alertmanager or what lies between them is broken.",
            ),
            Moment("9m", "MilepostWatchdog"),
        ],
    ),
]

#: Samples of a day, every five minutes.
OF_A_DAY = 288


def silent(silence: str) -> str:
    return f"//office has said nothing for {silence}: more than twice its longest silence in two weeks."


SOURCE_STORIES = [
    Story(
        "a source spoke for eight days, and then no more",
        [last_event(f"0+300x{8 * OF_A_DAY} {8 * DAY}x100")],
        [
            Moment("192h55m", "MilepostSourceSilent"),
            fires("193h5m", "MilepostSourceSilent", silent("1h 5m 0s"), source="//office"),
        ],
        step="5m",
    ),
    Story(
        "a source that has its weekends may be silent for two days, but not for four",
        [
            last_event(
                f"0+300x{2 * OF_A_DAY} {2 * DAY}x{2 * OF_A_DAY} {4 * DAY}+300x{5 * OF_A_DAY} {9 * DAY}x{5 * OF_A_DAY}"
            )
        ],
        [
            Moment("305h", "MilepostSourceSilent"),
            fires("313h", "MilepostSourceSilent", silent("4d 1h 0m 0s"), source="//office"),
        ],
        step="5m",
    ),
    Story(
        "nobody knows the rhythm of a source that was heard for six days",
        [last_event(f"0+300x{6 * OF_A_DAY} {6 * DAY}x{3 * OF_A_DAY}")],
        [Moment("200h", "MilepostSourceSilent")],
        step="5m",
    ),
    Story(
        "a worker restarts, and does not know of a source before it speaks again",
        [last_event(f"0+300x{8 * OF_A_DAY} stale")],
        [
            Moment("192h30m", "MilepostSourceSilent"),
            fires("194h", "MilepostSourceSilent", silent("2h 0m 0s"), source="//office"),
        ],
        step="5m",
    ),
]


@needs("promtool")
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_who_runs_the_pipeline_is_told_that(story: Story, tmp_path: Path) -> None:
    play(story, ["recording.yml", "pipeline.yml"], tmp_path)


@needs("promtool")
@pytest.mark.parametrize("story", SOURCE_STORIES, ids=lambda story: story.name)
def test_who_runs_the_pipeline_is_told_of_a_source_that(story: Story, tmp_path: Path) -> None:
    play(story, ["sources.yml"], tmp_path)
