"""The alerts of `milepost notify`, played by promtool: each fires, and is silent a step before or beside it."""

from pathlib import Path

import pytest

from tests.helpers.promtool import (
    AlertExpectation,
    InputSeries,
    RuleTest,
    expect_alert,
    input_series,
    run_promtool,
    skip_without,
)

NOTIFY = {"job": "milepost-notify", "instance": "a:8092"}


def series(name: str, values: str) -> InputSeries:
    return input_series(f"milepost_notify_{name}", values, target="office", **NOTIFY)


NOTIFY_RULE_TESTS = [
    RuleTest(
        "something is given up, and an hour later it is over",
        [series("given_up_total", "0x10 2x120"), series("passed_over_total", "0x130")],
        [
            AlertExpectation("10m", "MilepostNotifyGivenUp"),
            expect_alert(
                "12m",
                "MilepostNotifyGivenUp",
                "office was not told of 2 in the last hour: it failed for a day, or refused for good. The log of"
                " milepost notify has each.",
                target="office",
            ),
            AlertExpectation("80m", "MilepostNotifyGivenUp"),
        ],
    ),
    RuleTest(
        "a target fails for more than an hour",
        [series("failing_since_timestamp_seconds", "600x120")],
        [
            AlertExpectation("74m", "MilepostNotifyFailing"),
            expect_alert(
                "80m",
                "MilepostNotifyFailing",
                "What office is to be told has failed for 1h 10m 0s; after 24 hours it is given up.",
                target="office",
            ),
        ],
    ),
    RuleTest(
        "a target is off for more than five minutes, and another entry switches it on",
        [series("off", "0x4 1x10 0x10")],
        [
            AlertExpectation("9m", "MilepostNotifyTargetOff"),
            expect_alert(
                "11m",
                "MilepostNotifyTargetOff",
                "office answered 410, or its entry cannot be used. /ready of milepost notify says which.",
                target="office",
            ),
            AlertExpectation("16m", "MilepostNotifyTargetOff"),
        ],
    ),
    RuleTest(
        "an entry cannot be used",
        [series("off", "0x20"), input_series("milepost_notify_unusable", "1x20", target="desk", **NOTIFY)],
        [
            expect_alert(
                "6m",
                "MilepostNotifyTargetOff",
                "desk answered 410, or its entry cannot be used. /ready of milepost notify says which.",
                target="desk",
            )
        ],
    ),
    RuleTest(
        "a digest is not sent for half an hour",
        [series("digest_due_timestamp_seconds", "_x9 600x35 _x20")],
        [
            AlertExpectation("40m", "MilepostNotifyDigestMissed"),
            expect_alert(
                "42m",
                "MilepostNotifyDigestMissed",
                "The digest for office was due 32m 0s ago.",
                target="office",
            ),
            AlertExpectation("55m", "MilepostNotifyDigestMissed"),
        ],
    ),
]


@skip_without("promtool")
@pytest.mark.parametrize("story", NOTIFY_RULE_TESTS, ids=lambda story: story.name)
def test_operators_of_notify_are_alerted_that(story: RuleTest, tmp_path: Path) -> None:
    run_promtool(story, ["notify.yml"], tmp_path)
