"""What is said of topics whose settings nobody may ask for."""

from types import SimpleNamespace
from typing import Any

from deploy.topic_settings import find_broken_promises
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
