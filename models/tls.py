"""TLS towards Kafka: one context of the settings for both Kafka clients."""

from pathlib import Path
from ssl import SSLContext, SSLError, create_default_context

from models.settings import Settings, setting_error


def create_ssl_context(settings: Settings) -> SSLContext | None:
    """Return the TLS context of the settings, or None for plain text.

    Raises `SettingsError` for a file that is missing or is not what the setting says.
    """
    if not settings.kafka_security.endswith("SSL"):
        return None
    for name in ("kafka_ca", "kafka_certificate", "kafka_key"):
        path: Path | None = getattr(settings, name)
        if path is not None:
            _require_readable(name, path)
    try:
        context = create_default_context(cafile=settings.kafka_ca)
    except SSLError:
        raise setting_error("kafka_ca", f"{settings.kafka_ca} holds no certificate in PEM form") from None
    if settings.kafka_certificate is not None:
        _load_certificate(context, settings.kafka_certificate, settings.kafka_key or settings.kafka_certificate)
    return context


def _require_readable(name: str, path: Path) -> None:
    if not path.is_file():
        raise setting_error(name, f"there is no file {path}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise setting_error(name, f"{path} cannot be read: {error.strerror}") from None


def _load_certificate(context: SSLContext, certificate: Path, key: Path) -> None:
    try:
        # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise setting_error("kafka_key", f"{key} is not the key of certificate {certificate}") from None
        problem = f"{certificate} and {key} are no certificate and unencrypted key in PEM form"
        raise setting_error("kafka_certificate", problem) from None
