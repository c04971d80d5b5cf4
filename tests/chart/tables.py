"""Values with which the chart is rendered; each promise about its objects holds for all of them."""

from collections.abc import Mapping
from typing import Any, Final

import yaml

from tests.chart.rendering import EXAMPLES

_LOGIN: Final = {"existingSecret": "logins", "username": "milepost"}
_EVERY_LOGIN: Final = {program: {"kafka": _LOGIN} for program in ("init", "worker", "gateway", "notify")}
_ON: Final = {"enabled": True}
_ROUTES: Final = {
    "ingress": {"enabled": True, "className": "public", "tls": [{"secretName": "tls", "hosts": ["a.example"]}]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public", "namespace": "edge"}]},
}
_EVERYTHING: Final[Mapping[str, Any]] = {
    "boardUrl": "https://board.example",
    "commonLabels": {"team": "tracking"},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {
        "MILEPOST_ALLOWED_SOURCES": {"north": ["//permit-office.example"]},
        "MILEPOST_MAX_SERIES": 1_000_000,
        "MILEPOST_SWEEP_SECONDS": 0.5,
    },
    "worker": {
        "extraEnv": [{"name": "MILEPOST_BATCH", "value": "500"}],
        "extraEnvFrom": [{"configMapRef": {"name": "proxy"}}],
        "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "important",
        "podLabels": {"mesh": "off"},
        "podAnnotations": {"note": "hello"},
    },
    "board": {
        **_ROUTES,
        "ingress": {**_ROUTES["ingress"], "host": "board.example"},
        "feedKey": {"existingSecret": "feed"},
    }
    | {"httpRoute": {**_ROUTES["httpRoute"], "hostnames": ["board.example"], "timeouts": {"request": "0s"}}},
    "gateway": {**_ON, **_ROUTES, "ingress": {**_ROUTES["ingress"], "host": "events.example"}}
    | {"httpRoute": {**_ROUTES["httpRoute"], "hostnames": ["events.example"]}},
    "notify": _ON,
    "monitoring": {"podMonitors": _ON, "rules": _ON, "dashboards": _ON},
    "networkPolicy": {
        **_ON,
        "board": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}],
        "gateway": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}],
        "extraEgress": [{"ports": [{"port": 8443, "protocol": "TCP"}]}],
    },
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}, "data": {"a": "b"}}
    ],
}
_TOKEN: Final = {"serviceAccountToken": {"audience": "kafka", "path": "token"}}
_TOKEN_VOLUME: Final = {
    "extraVolumes": [{"name": "token", "projected": {"sources": [_TOKEN]}}],
    "extraVolumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kafka", "readOnly": True}],
}
_LONG: Final = "a-release-with-a-name-as-long-as-helm-allows-53-signs"
VALUES: Final[Mapping[str, Mapping[str, Any]]] = {
    "defaults": {},
    "everything": _EVERYTHING,
    "client certificates": {**_EVERY_LOGIN, "kafka": {"securityProtocol": "SSL"}, "gateway": {"kafka": _LOGIN, **_ON}},
    "plain text": {
        "kafka": {"securityProtocol": "PLAINTEXT"},
        "database": {"sslMode": "", "ca": {"existingSecret": ""}},
    },
    "a token endpoint": {
        **_EVERY_LOGIN,
        "kafka": {
            "saslMechanism": "OAUTHBEARER",
            "oauth": {"tokenEndpoint": "https://id.example/token", "scope": "kafka", "ca": {"existingSecret": "id-ca"}},
        },
    },
    "a token that is kept fresh": {
        "kafka": {"saslMechanism": "OAUTHBEARER", "oauth": {"tokenFile": "/var/run/secrets/kafka/token"}},
        "init": _TOKEN_VOLUME,
        "worker": _TOKEN_VOLUME,
    },
    "authorities of the image": {
        "kafka": {"ca": {"existingSecret": ""}, "saslMechanism": "PLAIN"},
        "database": {"ca": {"existingSecret": ""}},
    },
    "a job beside the rest": {"init": {"mode": "job"}, "kafka": {"replication": 3, "minInsync": 2}},
    "no init": {"init": {"mode": "none"}, "kafka": {"topics": "managed"}},
    "an autoscaler": {"worker": {"replicas": None}},
    "a login before the board": yaml.safe_load((EXAMPLES / "oauth2-proxy.values.yaml").read_text(encoding="utf-8")),
    "no board": {"board": {"enabled": False}, "networkPolicy": _ON, "monitoring": {"rules": _ON}},
    "long names": {**_EVERYTHING, "fullnameOverride": _LONG, "init": {"mode": "job"}},
    "another image": {"image": {"registry": "registry.example/team", "digest": f"sha256:{'0' * 64}"}},
    "only IPv6": {"listenAddress": "[::]", "gateway": _ON},
    "no account, budgets and spread": {
        "serviceAccount": {"create": False},
        "worker": {"podDisruptionBudget": {"enabled": False}, "topologySpreadConstraints": []},
    },
    "users that the cluster chooses": {"podSecurityContext": dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))},
    "the examples": yaml.safe_load((EXAMPLES / "values.yaml").read_text(encoding="utf-8")),
}
