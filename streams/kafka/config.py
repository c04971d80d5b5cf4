"""The settings as options of Faust and aiokafka: broker addresses and credentials."""

from functools import partial
from typing import Any

from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from models.kafka_login import kafka_login
from models.settings import Settings
from models.tls import create_ssl_context
from streams.kafka.connections import TokenProvider, patch_connections


def create_credentials(settings: Settings) -> CredentialsT | None:
    """Return the settings' credentials for Faust, or None. Raises `SettingsError`."""
    options = aiokafka_options(settings)
    context = options["ssl_context"]
    if (login := kafka_login(settings)) is None:
        return None if context is None else SSLCredentials(context)
    if login.mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    return SASLCredentials(
        username=login.username,
        password=options["sasl_plain_password"],
        mechanism=login.mechanism,
        ssl_context=context,
    )


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Return the options of an aiokafka client. Raises `SettingsError`.

    The TLS context and the password are functions, which each new connection calls: `streams.kafka.connections`.
    """
    patch_connections()
    has_tls = create_ssl_context(settings) is not None
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": partial(create_ssl_context, settings) if has_tls else None,
    }
    if (login := kafka_login(settings)) is not None:
        options["sasl_mechanism"] = login.mechanism
        if login.mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = TokenProvider(login.read_token)
        else:
            options |= {"sasl_plain_username": login.username, "sasl_plain_password": login.read_password}
    return options


def faust_broker_urls(settings: Settings) -> str:
    """Return the bootstrap servers in Faust's form."""
    return ";".join(f"kafka://{server.strip()}" for server in settings.kafka.split(","))
