"""A real Kafka with TLS, logins and an authorizer, for the session; users and their rights come from the tests.

A pytest plugin. The listener `admin` is for everything without a login. `login` takes passwords and tokens over TLS;
`clear` takes PLAIN alone and has no TLS;
`bare` does so with a certificate that has no key identifiers; a login at `expiring` ends after two seconds; `mutual`
wants a certificate of the client.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from deploy.child_process import free_port
from deploy.kafka.broker import run_broker
from deploy.kafka.jars import class_path
from models.settings import Settings
from tests.helpers.certificates import Authority
from tests.helpers.token_server import AUDIENCE, Issuer, TokenServer, running_token_server
from tests.helpers.workers import settings_environment, wait_until

PASSWORD: Final = "corre ct,hor=se"  # noqa: S105 - of the tests
CLIENT_SECRET: Final = "batte:ry+sta ple"  # noqa: S105 - of the tests
#: The user with all rights who logs in with any mechanism; by certificate and token too.
OWNER: Final = "owner"
_JAVAC: Final = shutil.which("javac")
#: For tests of what a managed Kafka refuses: see tests/data/topic_policy.
needs_topic_policy: Final = pytest.mark.skipif(_JAVAC is None, reason="takes a JDK")
EXPIRY_MS: Final = 2_000
_LISTENERS: Final = {
    "admin": "PLAINTEXT",
    "clear": "SASL_PLAINTEXT",
    "login": "SASL_SSL",
    "bare": "SASL_SSL",
    "expiring": "SASL_SSL",
    "mutual": "SSL",
}
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


class Right(NamedTuple):
    """An operation on a resource, as Kafka's tools name them; a name that ends in * is a prefix."""

    kind: str
    name: str
    operation: str


class SecureKafka:
    """The broker, its certificates and its token server."""

    def __init__(self, folder: Path, ports: Mapping[str, int], tokens: TokenServer) -> None:
        self.folder, self.tokens, self.pid = folder, tokens, 0
        self._ports = ports
        self.authority = Authority(folder, "authority")
        self.bare_authority = Authority(folder, "bare-authority", key_identifiers=False)
        self.stranger = Authority(folder, "stranger")

    def address(self, listener: str = "login") -> str:
        """Return the address of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    def settings(self, user: str = OWNER, *, listener: str = "login", **overrides: Any) -> Settings:  # noqa: ANN401 - any setting
        """Return the settings of a user who logs in with a password."""
        authority = self.bare_authority if listener == "bare" else self.authority
        chosen: dict[str, Any] = {
            "kafka": self.address(listener),
            "kafka_security_protocol": _LISTENERS[listener],
            "kafka_sasl_mechanism": "SCRAM-SHA-256",
            "kafka_sasl_username": user,
            "kafka_sasl_password": SecretStr(PASSWORD),
            "kafka_ssl_cafile": authority.certificate,
        }
        return Settings(**chosen | overrides)

    def token_settings(self, **overrides: Any) -> Settings:  # noqa: ANN401 - any setting
        """Return the settings of the owner as a client of the token server."""
        chosen: dict[str, Any] = {
            "kafka_sasl_mechanism": "OAUTHBEARER",
            "kafka_sasl_username": None,
            "kafka_sasl_password": None,
            "kafka_oauth_token_endpoint": self.tokens.endpoint,
            "kafka_oauth_client_id": OWNER,
            "kafka_oauth_client_secret": SecretStr(CLIENT_SECRET),
        }
        return self.settings(**chosen | overrides)

    def certificate_settings(self, **overrides: Any) -> Settings:  # noqa: ANN401 - any setting
        """Return the settings of the owner with a certificate."""
        certificate, key = self.authority.issue(OWNER)
        chosen: dict[str, Any] = {
            "kafka_sasl_username": None,
            "kafka_sasl_password": None,
            "kafka_ssl_certfile": certificate,
            "kafka_ssl_keyfile": key,
        }
        return self.settings(listener="mutual", **chosen | overrides)

    def add_users(self, users: Mapping[str, Iterable[Right]]) -> None:
        """Create users with a password and exactly these rights; return when they are in force."""
        with closing(KafkaAdminClient(bootstrap_servers=self.address("admin"))) as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                passwords = [UserScramCredentialUpsertion(user, mechanism, PASSWORD) for user in users]
                failed = admin.alter_user_scram_credentials(passwords)
                assert not any(failed.values()), failed
            acls = [_acl(user, right) for user, rights in users.items() for right in rights]
            if acls:
                admin.create_acls(acls)
                # A single node applies them in order.
                wanted = ACLFilter(
                    acls[-1].principal, "*", acls[-1].operation, acls[-1].permission_type, acls[-1].resource_pattern
                )
                wait_until(lambda: bool(admin.describe_acls(wanted)[0]), "the last right is in force")


def _acl(user: str, right: Right) -> ACL:
    kind = (
        ACLResourcePatternType.PREFIXED
        if right.name.endswith("*") and right.name != "*"
        else ACLResourcePatternType.LITERAL
    )
    name = right.name if kind is ACLResourcePatternType.LITERAL else right.name.removesuffix("*")
    pattern = ResourcePattern(ResourceType[right.kind], name, kind)
    return ACL(f"User:{user}", "*", ACLOperation[right.operation], ACLPermissionType.ALLOW, pattern)


def _properties(folder: Path, ports: Mapping[str, int], kafka: SecureKafka) -> dict[str, str]:
    controller = free_port("127.0.0.1", 0)
    listeners = ",".join(f"{name.upper()}://127.0.0.1:{port}" for name, port in ports.items())
    protocols = ",".join(f"{name.upper()}:{protocol}" for name, protocol in _LISTENERS.items())
    keystores = {
        "login": kafka.authority.issue_keystore("broker"),
        "expiring": kafka.authority.issue_keystore("broker"),
        "mutual": kafka.authority.issue_keystore("broker"),
        "bare": kafka.bare_authority.issue_keystore("bare-broker", "broker.example"),
    }
    security = "org.apache.kafka.common.security"
    properties = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "inter.broker.listener.name": "ADMIN",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{protocols}",
        "sasl.enabled.mechanisms": ",".join(_MECHANISMS),
        "sasl.oauthbearer.jwks.endpoint.url": (folder / "keys.json").as_uri(),
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        # By default Kafka 4.1 takes any token here, whoever signed it.
        "sasl.oauthbearer.jwt.validator.class": f"{security}.oauthbearer.BrokerJwtValidator",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{OWNER}",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(kafka.authority.certificate),
        "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
    }
    for listener, keystore in keystores.items():
        properties[f"listener.name.{listener}.ssl.keystore.type"] = "PEM"
        properties[f"listener.name.{listener}.ssl.keystore.location"] = str(keystore)
    plain = f'{security}.plain.PlainLoginModule required user_{OWNER}="{PASSWORD}";'
    properties["listener.name.clear.sasl.enabled.mechanisms"] = "PLAIN"
    for listener in ("clear", "login", "bare", "expiring"):
        prefix = f"listener.name.{listener}"
        properties[f"{prefix}.plain.sasl.jaas.config"] = plain
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            properties[f"{prefix}.{mechanism}.sasl.jaas.config"] = f"{security}.scram.ScramLoginModule required;"
        oauth = f"{security}.oauthbearer.OAuthBearer"
        properties[f"{prefix}.oauthbearer.sasl.jaas.config"] = f"{oauth}LoginModule required;"
        properties[f"{prefix}.oauthbearer.sasl.server.callback.handler.class"] = f"{oauth}ValidatorCallbackHandler"
    for mechanism in _MECHANISMS:
        properties[f"listener.name.expiring.{mechanism.lower()}.connections.max.reauth.ms"] = str(EXPIRY_MS)
    return properties


def _install_topic_policy(folder: Path, properties: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the broker refuse settings of topics, where there is a compiler for the class that does so."""
    if _JAVAC is None:
        return
    jars = class_path(lambda _: None)
    source = Path(__file__).parents[1] / "data" / "topic_policy" / "ManagedTopicRules.java"
    clients = next(jar for jar in jars if jar.name.startswith("kafka-clients"))
    command = [_JAVAC, "-cp", str(clients), "-d", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setattr("deploy.kafka.broker.class_path", lambda _: [*jars, folder])
    properties["create.topic.policy.class.name"] = source.stem


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Give a Kafka that lives as long as the session."""
    folder = tmp_path_factory.mktemp("secure")
    ports = {name: free_port("127.0.0.1", 0) for name in _LISTENERS}
    issuer = Issuer()
    issuer.write_key_set(folder / "keys.json")
    with running_token_server(issuer, {OWNER: CLIENT_SECRET}) as tokens, pytest.MonkeyPatch.context() as monkeypatch:
        kafka = SecureKafka(folder, ports, tokens)
        overrides = _properties(folder, ports, kafka)
        allowed = "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls"
        monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"{allowed}={overrides['sasl.oauthbearer.jwks.endpoint.url']}")
        _install_topic_policy(folder, overrides, monkeypatch)
        with run_broker(
            folder / "kafka", port=ports["admin"], report_progress=lambda _: None, property_overrides=overrides
        ) as broker:
            kafka.pid = broker.pid
            kafka.add_users({OWNER: ()})
            yield kafka


def set_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Let the commands of a test run with these settings."""
    for name in list(os.environ):
        if name.startswith("MILEPOST_KAFKA"):
            monkeypatch.delenv(name)
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
