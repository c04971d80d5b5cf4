"""The pipeline's alerts, played by promtool: each fires, and is silent a step before or beside it."""

from pathlib import Path

import pytest

from tests.helpers.promtool import (
    DAY_SECONDS,
    AlertExpectation,
    InputSeries,
    RuleTest,
    expect_alert,
    input_series,
    run_promtool,
    skip_without,
)

LOG = {"topic": "milepost.events", "partition": "3"}
OTHER = "b:8090"


def up(values: str, **labels: str) -> InputSeries:
    return input_series("up", values, **labels)


def answers(**labels: str) -> list[InputSeries]:
    return [input_series(name, "1x20", **labels) for name in ("milepost_kafka_up", "milepost_database_up")]


def lag(values: str, **labels: str) -> InputSeries:
    return input_series("milepost_lag_seconds", values, **LOG, **labels)


def position(values: str) -> InputSeries:
    return input_series("milepost_position", values, **LOG)


def missed(values: str) -> InputSeries:
    return input_series("milepost_missed_records_total", values, **LOG)


def rejected(values: str, reason: str = "malformed") -> InputSeries:
    return input_series("milepost_rejected_total", values, reason=reason)


def waiting(values: str, reason: str = "malformed", **labels: str) -> InputSeries:
    return input_series("milepost_dead_letters_waiting", values, reason=reason, **labels)


def waits(at: str, text: str) -> AlertExpectation:
    said = f"{text} among the dead letters: neither replayed nor discarded."
    return expect_alert(at, "MilepostDeadLetters", said, reason="malformed")


def last_event(values: str) -> InputSeries:
    return input_series("milepost_source_last_event_timestamp_seconds", values, source="//office")


def source_events(values: str, outcome: str, **labels: str) -> InputSeries:
    return input_series("milepost_source_events_total", values, source="//office", outcome=outcome, **labels)


def unknown_field(values: str, **labels: str) -> InputSeries:
    return input_series("milepost_source_unknown_fields_total", values, source="//office", field="lag", **labels)


def shown_series(values: str, programme: str, **labels: str) -> InputSeries:
    return input_series("milepost_programme_info", values, programme=programme, **labels)


def current(values: str, **labels: str) -> InputSeries:
    return input_series("milepost_forecasts_current_timestamp_seconds", values, **labels)


NO_PAGE = "Prometheus gets no page from any worker: nothing is recorded, and what the board last showed grows old."
PIPELINE_RULE_TESTS = [
    RuleTest(
        "no worker answers any more; one of two is enough",
        [up("1x4 0x20"), up("1x8 0x20", instance=OTHER)],
        [AlertExpectation("9m", "MilepostDown"), expect_alert("10m", "MilepostDown", NO_PAGE)],
    ),
    RuleTest(
        "no worker is known at all",
        [up("1x5", job="node")],
        [expect_alert("1m", "MilepostDown", NO_PAGE)],
    ),
    RuleTest(
        "a page is not scraped for two minutes",
        [up("1x24"), up("1x4 0x20", job="milepost-milestones")],
        [
            AlertExpectation("6m", "MilepostWorkerDown"),
            expect_alert(
                "7m",
                "MilepostWorkerDown",
                "The page of job milepost-milestones on a:8090 is not scraped: the worker is gone, or the page exceeds"
                " a limit of the scrape. Its partitions go to the others.",
                job="milepost-milestones",
                instance="a:8090",
            ),
        ],
    ),
    RuleTest(
        "an event waits longer than a minute to be read",
        [*answers(), lag("0 0 30 60 61 90 120 180x10")],
        [
            AlertExpectation("4m", "MilepostStale"),
            expect_alert(
                "5m",
                "MilepostStale",
                "The oldest unread event has waited for 1m 30s: every date shown may be out of date.",
            ),
        ],
    ),
    RuleTest(
        "a worker that is cut off from Kafka tells an old lag, and the other one knows better",
        [
            *answers(instance=OTHER),
            lag("0x20", instance=OTHER),
            input_series("milepost_kafka_up", "0x20"),
            input_series("milepost_database_up", "1x20"),
            lag("500x20"),
        ],
        [AlertExpectation("15m", "MilepostStale")],
    ),
    RuleTest(
        "a position stands still while there is something to read",
        [*answers(), lag("0 0 0 5 65 125+60x10"), position("7x20")],
        [
            AlertExpectation("4m", "MilepostNoProgress"),
            expect_alert(
                "5m",
                "MilepostNoProgress",
                "Partition 3 of milepost.events has had something to read for 2m 5s, and its position in the database"
                " has not moved for two minutes.",
                **LOG,
            ),
        ],
    ),
    RuleTest(
        "a position moves, however far behind it is",
        [*answers(), lag("300x20"), position("7+1x20")],
        [AlertExpectation("15m", "MilepostNoProgress")],
    ),
    RuleTest(
        "the database does not answer for a minute",
        [input_series("milepost_database_up", "1 1 0 0 0 0")],
        [
            AlertExpectation("2m", "MilepostDatabaseAway"),
            expect_alert(
                "3m",
                "MilepostDatabaseAway",
                "The worker on a:8090 gets no answer from its database; it tries again for ever, and nothing is lost.",
                job="milepost",
                instance="a:8090",
            ),
        ],
    ),
    RuleTest(
        "Kafka does not answer for a minute",
        [input_series("milepost_kafka_up", "1 1 0 0 0 0")],
        [
            AlertExpectation("2m", "MilepostKafkaAway"),
            expect_alert(
                "3m",
                "MilepostKafkaAway",
                "The worker on a:8090 gets no answer from Kafka; it tries again for ever, and nothing is lost.",
                job="milepost",
                instance="a:8090",
            ),
        ],
    ),
    RuleTest(
        "an operation is retried for more than a minute, and then succeeds",
        [*answers(), input_series("milepost_retry_seconds", "0 40 100 0 30 0")],
        [
            AlertExpectation("1m", "MilepostRetrying"),
            expect_alert(
                "2m",
                "MilepostRetrying",
                "The worker on a:8090 has tried an operation for 1m 40s, and it fails each time; its page /ready says"
                " which, and why. Nothing is lost.",
                job="milepost",
                instance="a:8090",
            ),
            AlertExpectation("4m", "MilepostRetrying"),
        ],
    ),
    RuleTest(
        "one of two workers does not come to the end of drawing after its fifth minute",
        [current("0+60x20"), current("0+60x5 300x15", instance=OTHER)],
        [
            AlertExpectation("9m", "MilepostForecastBehind"),
            expect_alert(
                "10m",
                "MilepostForecastBehind",
                "For 5m 0s a worker has not completed a sweep of its programmes: what is recorded may not be in the"
                " forecasts.",
            ),
        ],
    ),
    RuleTest(
        "records were missed before the first scrape of a worker; it is forgotten after a day",
        [missed("5x1450")],
        [
            expect_alert(
                "0m",
                "MilepostRecordsMissed",
                "5 records of partition 3 of milepost.events are gone that no worker had read: what they said is lost"
                " to Milepost.",
                **LOG,
            ),
            AlertExpectation("1441m", "MilepostRecordsMissed"),
        ],
    ),
    RuleTest(
        "one record is missed",
        [missed("1x10")],
        [
            expect_alert(
                "0m",
                "MilepostRecordsMissed",
                "1 record of partition 3 of milepost.events is gone that no worker had read: what it said is lost"
                " to Milepost.",
                **LOG,
            )
        ],
    ),
    RuleTest("no record is missed", [missed("0x20")], [AlertExpectation("10m", "MilepostRecordsMissed")]),
    RuleTest(
        "one dead letter waits for three hours; the worker that counts restarts, and another one counts",
        [
            waiting("0x4 1x120 stale"),
            waiting("_x128 1x60 0x20", instance=OTHER),
            waiting("0x220", "invalid-data"),
        ],
        [
            AlertExpectation("4m", "MilepostDeadLetters"),
            *(waits(at, "1 event that was rejected as malformed waits") for at in ("5m", "65m", "127m", "185m")),
            AlertExpectation("200m", "MilepostDeadLetters"),
        ],
    ),
    RuleTest(
        "two workers count for a moment: the numbers do not add up",
        [waiting("2x20"), waiting("2x20", instance=OTHER)],
        [waits("5m", "2 events that were rejected as malformed wait")],
    ),
    RuleTest(
        "claims from the future are a clock's alert, for an hour",
        [rejected("0x4 2x80", "time-in-future")],
        [
            AlertExpectation("4m", "MilepostClockSkew"),
            expect_alert(
                "5m",
                "MilepostClockSkew",
                "2 claims of the hour were made more than ten minutes after Kafka took them: a publisher's clock is"
                " ahead, or Kafka's is behind.",
                reason="time-in-future",
                clock="publisher",
            ),
            AlertExpectation("66m", "MilepostClockSkew"),
        ],
    ),
    RuleTest(
        "the broker's stamps lie ahead of Prometheus, first by a minute, then by more",
        [last_event("60+60x4 361+60x10")],
        [
            AlertExpectation("4m", "MilepostClockSkew"),
            expect_alert("5m", "MilepostClockSkew", "Kafka stamps records 1m 1s ahead of Prometheus.", clock="broker"),
        ],
    ),
    RuleTest(
        "two workers reject more than half of a source's events, of at least a hundred, for longer than a minute",
        [source_events("0x4 60x20", "rejected"), source_events("0x4 39 40x2 60x10", "accepted", instance=OTHER)],
        [
            AlertExpectation("6m", "MilepostSourceFlooding"),
            expect_alert(
                "7m",
                "MilepostSourceFlooding",
                "60% of the events of //office within the hour were rejected.",
                source="//office",
            ),
            AlertExpectation("9m", "MilepostSourceFlooding"),
        ],
    ),
    RuleTest(
        "a source's rejected events are forgotten after an hour",
        [source_events("0x4 0 100x80", "rejected"), source_events("0x90", "accepted")],
        [
            expect_alert(
                "10m",
                "MilepostSourceFlooding",
                "100% of the events of //office within the hour were rejected.",
                source="//office",
            ),
            AlertExpectation("70m", "MilepostSourceFlooding"),
        ],
    ),
    RuleTest(
        "a source sends a field that no type knows to two workers, and stops",
        [unknown_field("_x5 2x90"), unknown_field("_x5 1x90", instance=OTHER)],
        [
            AlertExpectation("4m", "MilepostUnknownField"),
            expect_alert(
                "5m",
                "MilepostUnknownField",
                "//office sent the field lag with 3 events within the hour. No event type has this field, so nobody"
                " reads it.",
                source="//office",
                field="lag",
            ),
            AlertExpectation("70m", "MilepostUnknownField"),
        ],
    ),
    RuleTest(
        "a source's known fields are no matter",
        [unknown_field("0x20")],
        [AlertExpectation("10m", "MilepostUnknownField")],
    ),
    RuleTest(
        "there are more series than room for five minutes",
        [input_series("milepost_series_dropped", "0 12x5 0x10", reason="cap")],
        [
            AlertExpectation("5m", "MilepostSeriesLeftOut"),
            expect_alert(
                "6m",
                "MilepostSeriesLeftOut",
                "The worker on a:8090 leaves out 12 series (cap): no alert covers what they tell.",
                instance="a:8090",
                reason="cap",
            ),
            AlertExpectation("7m", "MilepostSeriesLeftOut"),
        ],
    ),
    RuleTest(
        "a programme goes from one worker to another, and another one stays with both",
        [
            shown_series("1x5 stale", "north"),
            shown_series("_x5 1x20", "north", instance=OTHER),
            shown_series("1x20", "south"),
            shown_series("_x5 1x20", "south", instance=OTHER),
        ],
        [
            AlertExpectation("9m", "MilepostShownTwice"),
            expect_alert(
                "12m",
                "MilepostShownTwice",
                "2 workers show south: one of them lost it and does not know.",
                programme="south",
            ),
        ],
    ),
    RuleTest(
        "a worker starts a third time, and a fourth time, within a quarter of an hour",
        [input_series("milepost_started_timestamp_seconds", "0x2 180x2 360x2 540x20")],
        [
            AlertExpectation("8m", "MilepostRestarting"),
            expect_alert(
                "9m",
                "MilepostRestarting",
                "The worker on a:8090 has started 3 times within a quarter of an hour.",
                job="milepost",
                instance="a:8090",
            ),
            AlertExpectation("25m", "MilepostRestarting"),
        ],
    ),
    RuleTest(
        "a rolling update gives a worker its partitions five times; then they never come to rest",
        [
            input_series("milepost_assignments_total", "1x14 1+1x5 6x19 6+1x20"),
            input_series("milepost_assignments_total", "1x100", instance=OTHER),
        ],
        [
            AlertExpectation("20m", "MilepostRebalancing"),
            AlertExpectation("34m", "MilepostRebalancing"),
            expect_alert(
                "50m",
                "MilepostRebalancing",
                "A worker was assigned partitions 9 times within a quarter of an hour; each time all workers wait.",
            ),
        ],
    ),
    RuleTest(
        "the watchdog barks until nothing is scraped any more",
        [up("0x3")],
        [
            expect_alert(
                "3m",
                "MilepostWatchdog",
                "This alert always fires. When it stops, Prometheus, Alertmanager or what lies between them is broken.",
            ),
            AlertExpectation("9m", "MilepostWatchdog"),
        ],
    ),
]

#: Samples of a day, every five minutes.
OF_A_DAY = 288


def silent(silence: str) -> str:
    return f"//office has published nothing for {silence}: more than twice its longest silence in two weeks."


SOURCE_RULE_TESTS = [
    RuleTest(
        "a source spoke for eight days, and then no more",
        [last_event(f"0+300x{8 * OF_A_DAY} {8 * DAY_SECONDS}x100")],
        [
            AlertExpectation("192h55m", "MilepostSourceSilent"),
            expect_alert("193h5m", "MilepostSourceSilent", silent("1h 5m 0s"), source="//office"),
        ],
        interval="5m",
    ),
    RuleTest(
        "a source that has its weekends may be silent for two days, but not for four",
        [
            last_event(
                f"0+300x{2 * OF_A_DAY} {2 * DAY_SECONDS}x{2 * OF_A_DAY} {4 * DAY_SECONDS}+300x{5 * OF_A_DAY}"
                f" {9 * DAY_SECONDS}x{5 * OF_A_DAY}"
            )
        ],
        [
            AlertExpectation("305h", "MilepostSourceSilent"),
            expect_alert("313h", "MilepostSourceSilent", silent("4d 1h 0m 0s"), source="//office"),
        ],
        interval="5m",
    ),
    RuleTest(
        "nobody knows the rhythm of a source that was heard for six days",
        [last_event(f"0+300x{6 * OF_A_DAY} {6 * DAY_SECONDS}x{3 * OF_A_DAY}")],
        [AlertExpectation("200h", "MilepostSourceSilent")],
        interval="5m",
    ),
    RuleTest(
        "a worker restarts, and does not know of a source before it speaks again",
        [last_event(f"0+300x{8 * OF_A_DAY} stale")],
        [
            AlertExpectation("192h30m", "MilepostSourceSilent"),
            expect_alert("194h", "MilepostSourceSilent", silent("2h 0m 0s"), source="//office"),
        ],
        interval="5m",
    ),
]


@skip_without("promtool")
@pytest.mark.parametrize("story", PIPELINE_RULE_TESTS, ids=lambda story: story.name)
def test_operators_are_alerted_that(story: RuleTest, tmp_path: Path) -> None:
    run_promtool(story, ["recording.yml", "pipeline.yml"], tmp_path)


@skip_without("promtool")
@pytest.mark.parametrize("story", SOURCE_RULE_TESTS, ids=lambda story: story.name)
def test_operators_are_alerted_of_a_source_that(story: RuleTest, tmp_path: Path) -> None:
    run_promtool(story, ["sources.yml"], tmp_path)
