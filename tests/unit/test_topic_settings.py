"""What is said of topics whose settings nobody may ask for."""

from types import SimpleNamespace
from typing import Any

import pytest

from deploy.topic_settings import find_broken_promises, judge_replicas
from deploy.topics import required_topics
from models.settings import Settings


def test_settings_that_may_not_be_described_are_said_to_be_unchecked() -> None:
    topics = required_topics(Settings())
    # As kafka-python answers where the broker refuses: it drops the error.
    refused: Any = SimpleNamespace(describe_configs=lambda *_, **__: {"topic": {topic.name: {} for topic in topics}})

    assert [str(promise) for promise in find_broken_promises(refused, topics)] == [
        f"topic {topic.name}: its settings could not be checked: that takes the right DescribeConfigs on it"
        for topic in topics
    ]


@pytest.mark.parametrize(
    ("min_insync", "replicas", "expected"),
    [
        (2, 3, None),
        (1, 1, None),
        # Nobody may see how many there are.
        (2, 0, None),
        (2, 1, "min.insync.replicas is 2, and a partition has 1 replica: nothing can be written; "),
        (3, 2, "min.insync.replicas is 3, and a partition has 2 replicas: nothing can be written; "),
        (3, 3, "min.insync.replicas is 3, and a partition has 3 replicas: nothing can be written while one broker is"),
    ],
)
def test_a_topic_that_takes_no_record_or_none_without_one_broker_is_said(
    min_insync: int, replicas: int, expected: str | None
) -> None:
    fault = judge_replicas("milepost.events", min_insync, replicas)

    assert fault is None if expected is None else str(fault).startswith(f"topic milepost.events: {expected}")
    assert fault is None or f"min.insync.replicas={max(1, replicas - 1)}`" in fault.problem
