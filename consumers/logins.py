"""Logins of kafka-python: the password, or the token, comes from a function that is called at each login."""

from collections.abc import Callable
from typing import Any

from kafka.net.sasl import register_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.sasl.plain import SaslMechanismPlain
from kafka.net.sasl.scram import SaslMechanismScram

from models.kafka_login import KafkaLogin


def login_options(login: KafkaLogin) -> dict[str, Any]:
    """Return the options of a kafka-python client that logs in like this."""
    _install_mechanisms()
    if login.mechanism == "OAUTHBEARER":
        return {"sasl_mechanism": login.mechanism, "sasl_oauth_token_provider": _TokenProvider(login.read_token)}
    return {
        "sasl_mechanism": login.mechanism,
        "sasl_plain_username": login.username,
        "sasl_plain_password": login.read_password,
    }


class _TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, read_token: Callable[[], str]) -> None:
        super().__init__()
        self._read_token = read_token

    def token(self) -> str:
        return self._read_token()


class _Plain(SaslMechanismPlain):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, **config: Any) -> None:  # noqa: ANN401 - kafka-python's
        super().__init__(**_with_password(config))


class _Scram(SaslMechanismScram):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self, **config: Any) -> None:  # noqa: ANN401 - kafka-python's
        # RFC 5802, section 5.1; aiokafka does the same.
        username = config["sasl_plain_username"].replace("=", "=3D").replace(",", "=2C")
        super().__init__(**_with_password(config) | {"sasl_plain_username": username})


def _with_password(config: dict[str, Any]) -> dict[str, Any]:
    password = config["sasl_plain_password"]
    return config | {"sasl_plain_password": password() if callable(password) else password}


def _install_mechanisms() -> None:
    register_sasl_mechanism("PLAIN", _Plain, overwrite=True)
    for name in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        register_sasl_mechanism(name, _Scram, overwrite=True)
