"""Values that are wrong are refused before anything reaches the cluster, in words that say what and where."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chart.rendering import helm, render


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"boards": {"enabled": True}}, ["boards", "not allowed"]),
        ({"worker": {"replica": 3}}, ["/worker", "replica", "not allowed"]),
        ({"worker": {"replicas": "three"}}, ["/worker/replicas", "integer"]),
        ({"worker": {"stopSeconds": 0}}, ["/worker/stopSeconds", "minimum"]),
        ({"kafka": {"bootstrapServers": []}}, ["/kafka/bootstrapServers", "minItems"]),
        ({"kafka": {"bootstrapServers": ["kafka.example"]}}, ["/kafka/bootstrapServers/0", "pattern"]),
        ({"kafka": {"bootstrapServers": "kafka.example:9093"}}, ["/kafka/bootstrapServers", "array"]),
        ({"kafka": {"securityProtocol": "TLS"}}, ["/kafka/securityProtocol", "SASL_SSL"]),
        ({"kafka": {"topics": "theirs"}}, ["/kafka/topics", "managed"]),
        ({"kafka": {"password": "secret"}}, ["/kafka", "password", "not allowed"]),
        ({"database": {"url": "postgresql://a:b@c/d"}}, ["/database", "url", "not allowed"]),
        ({"worker": {"database": {"existingSecret": ""}}}, ["/worker/database/existingSecret", "minLength"]),
        ({"settings": {"MILEPOST_KEEP_DAY": 30}}, ["/settings", "MILEPOST_KEEP_DAY", "not allowed"]),
        ({"settings": {"MILEPOST_WEB": "0.0.0.0:80"}}, ["/settings", "MILEPOST_WEB", "not allowed"]),
        ({"settings": {"MILEPOST_KEEP_DAYS": "30"}}, ["/settings/MILEPOST_KEEP_DAYS", "integer"]),
        ({"settings": {"MILEPOST_STUCK_SECONDS": 5}}, ["/settings/MILEPOST_STUCK_SECONDS", "minimum"]),
        ({"boardUrl": "milepost.example"}, ["/boardUrl", "pattern"]),
        ({"image": {"digest": "sha256:abc"}}, ["/image/digest", "pattern"]),
        ({"init": {"mode": "hooks"}}, ["/init/mode", "hook"]),
        ({"board": {"sidecarPort": 0}}, ["/board/sidecarPort", "minimum"]),
        ({"board": {"ingress": {"host": "https://a.example"}}}, ["/board/ingress/host", "pattern"]),
        ({"board": {"httpRoute": {"hostnames": ["*.example"]}}}, ["/board/httpRoute/hostnames/0", "pattern"]),
        ({"worker": {"livenessProbe": {"httpGet": {}}}}, ["/worker/livenessProbe", "httpGet", "not allowed"]),
        ({"monitoring": {"podMonitors": {"interval": "15"}}}, ["/monitoring/podMonitors/interval", "pattern"]),
    ],
    ids=str,
)
def test_a_value_that_is_no_such_value_is_named(values: Mapping[str, Any], words: list[str]) -> None:
    with pytest.raises(helm.HelmValuesError) as refused:
        render(values)
    message = str(refused.value)
    path, *others = words
    assert f"'{path}'" in message or path in message, message
    for word in others:
        assert word in message, message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"worker": {"kafka": {"existingSecret": ""}}},
            "worker.kafka.existingSecret: the secret of the login is missing",
        ),
        ({"worker": {"kafka": {"username": ""}}}, "worker.kafka.username: the user of the login is missing"),
        (
            {"kafka": {"saslMechanism": "OAUTHBEARER"}},
            "kafka.oauth: OAUTHBEARER takes a tokenEndpoint or a tokenFile",
        ),
        (
            {"board": {"ingress": {"enabled": True}}},
            "board.ingress.host: the name under which people reach it is missing",
        ),
        ({"board": {"httpRoute": {"enabled": True}}}, "board.httpRoute.parentRefs: the Gateway is missing"),
        (
            {"board": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}},
            "board.httpRoute.hostnames: the name under which people reach it is missing",
        ),
        ({"kafka": {"minInsync": 2}}, "kafka.minInsync: it takes a kafka.replication that is not smaller"),
        (
            {"kafka": {"topics": "managed", "replication": 3}},
            "kafka.topics: whoever manages the topics decides on replicas",
        ),
    ],
    ids=str,
)
def test_values_that_do_not_fit_each_other_are_named(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=message.replace(".", r"\.")):
        render(values)
