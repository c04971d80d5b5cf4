"""The gateway's alerts, played by promtool: each fires, and is silent a step before or beside it."""

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

GATEWAY = {"job": "milepost-gateway", "instance": "a:8091"}


def requests(values: str, outcome: str, token: str = "office") -> InputSeries:  # noqa: S107 - the name of one
    return input_series("milepost_gateway_requests_total", values, token=token, outcome=outcome, **GATEWAY)


GATEWAY_RULE_TESTS = [
    RuleTest(
        "a tenth of the requests is sent away, for two minutes",
        [requests("0+90x30", "accepted"), requests("0+0x10 10+10x20", "unavailable")],
        [
            AlertExpectation("12m", "MilepostGatewayUnavailable"),
            expect_alert(
                "20m",
                "MilepostGatewayUnavailable",
                "10% of the requests to the gateway are answered with 503: Kafka does not take their events in time.",
            ),
        ],
    ),
    RuleTest(
        "one in a hundred requests is sent away",
        [requests("0+99x30", "accepted"), requests("0+1x30", "unavailable")],
        [AlertExpectation("30m", "MilepostGatewayUnavailable")],
    ),
    RuleTest(
        "half of what one publisher sends is refused, and nothing of another",
        [
            requests("0+1x90", "accepted"),
            requests("0+1x90", "forbidden"),
            requests("0+0x90", "refused"),
            requests("0+1x90", "accepted", "other"),
            requests("0+0x90", "refused", "other"),
        ],
        [
            AlertExpectation("9m", "MilepostGatewayRefusing"),
            expect_alert(
                "80m",
                "MilepostGatewayRefusing",
                "50% of the requests of office in an hour are refused: what it says is not recorded.",
                token="office",  # noqa: S106 - the name of one
            ),
        ],
    ),
    RuleTest(
        "a person makes some mistakes",
        [requests("0+0x60 1+1x10 11x60", "refused"), requests("0+0x130", "accepted")],
        [AlertExpectation("80m", "MilepostGatewayRefusing")],
    ),
    RuleTest(
        "a tokens file is broken for more than five minutes",
        [input_series("milepost_gateway_tokens_file_broken", "0x4 1x10 0x10", **GATEWAY)],
        [
            AlertExpectation("9m", "MilepostGatewayTokensBroken"),
            expect_alert(
                "11m",
                "MilepostGatewayTokensBroken",
                "The gateway on a:8091 cannot use its tokens file as it is: older tokens stay in force, and what was"
                " changed does not count.",
                **GATEWAY,
            ),
            AlertExpectation("16m", "MilepostGatewayTokensBroken"),
        ],
    ),
]


@skip_without("promtool")
@pytest.mark.parametrize("story", GATEWAY_RULE_TESTS, ids=lambda story: story.name)
def test_operators_of_the_gateway_are_alerted_that(story: RuleTest, tmp_path: Path) -> None:
    run_promtool(story, ["gateway.yml"], tmp_path)
