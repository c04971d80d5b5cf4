"""The login to Kafka that the settings ask for, for both Kafka clients. What it gives is read anew at each login."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from models.oauth import read_token
from models.secrets import read_secret
from models.settings import Settings, setting_error


class KafkaLogin(NamedTuple):
    """How a client logs in; what is called raises `MilepostError`."""

    mechanism: str
    username: str
    read_password: Callable[[], str]
    #: With the mechanism OAUTHBEARER.
    read_token: Callable[[], str]


def kafka_login(settings: Settings) -> KafkaLogin | None:
    """Return the login; None without one. Raises `SettingsError` for a setting that is missing or cannot be read."""
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    if not protocol.startswith("SASL"):
        return None
    if mechanism != "OAUTHBEARER":
        if not settings.kafka_sasl_username:
            raise setting_error("kafka_sasl_username", f"is needed for {protocol}")
        _read_password(settings)
    username = settings.kafka_sasl_username or ""
    return KafkaLogin(mechanism, username, partial(_read_password, settings), partial(read_token, settings))


def _read_password(settings: Settings) -> str:
    password = read_secret(settings, "kafka_sasl_password")
    if not password:
        raise setting_error("kafka_sasl_password", f"is needed for {settings.kafka_security_protocol}")
    return password


def shown_user(settings: Settings, default: str) -> str:
    """Return the name of the user who logs in, for people; the default where the settings have none."""
    if settings.kafka_sasl_mechanism == "OAUTHBEARER" and settings.kafka_security_protocol.startswith("SASL"):
        return settings.kafka_oauth_client_id or default
    return settings.kafka_sasl_username or default
