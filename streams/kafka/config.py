"""The settings as options of Faust and aiokafka: broker addresses and credentials."""

from typing import Any

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from models.settings import Settings
from models.tls import create_ssl_context


def create_credentials(settings: Settings) -> CredentialsT | None:
    """Return the settings' credentials for Faust, or None."""
    context = create_ssl_context(settings)
    if settings.kafka_security.startswith("SASL"):
        return SASLCredentials(
            username=settings.kafka_username or "",
            password=_password(settings),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Return the options of an aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "security_protocol": settings.kafka_security,
        "ssl_context": create_ssl_context(settings),
    }
    if settings.kafka_security.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username or "",
            "sasl_plain_password": _password(settings),
        }
    return options


def faust_broker_urls(settings: Settings) -> str:
    """Return the bootstrap servers in Faust's form."""
    return ";".join(f"kafka://{server.strip()}" for server in settings.kafka.split(","))


def _password(settings: Settings) -> str:
    return settings.kafka_password.get_secret_value() if settings.kafka_password else ""
