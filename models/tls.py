"""TLS: one context of the settings for both Kafka clients, and what every context has in common."""

import ssl
from pathlib import Path
from ssl import SSLContext, SSLError

from models.secrets import read_secret
from models.settings import Settings, setting_error


def trusting_context(authorities: Path | None = None, *, is_strict: bool = False) -> SSLContext:
    """Return a context that trusts some authorities, those of the system without a file.

    Python 3.13 is strict by itself, and refuses certificates without key identifiers, such as Strimzi's, for no gain.
    """
    context = ssl.create_default_context(cafile=authorities)
    if is_strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def create_ssl_context(settings: Settings) -> SSLContext | None:
    """Return the TLS context of the settings, with their files as they are now, or None for plain text.

    Raises `SettingsError` for a file that is missing or is not what the setting says.
    """
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"):
        path: Path | None = getattr(settings, name)
        if path is not None:
            _require_readable(name, path)
    try:
        context = trusting_context(settings.kafka_ssl_cafile, is_strict=settings.kafka_ssl_strict)
    except SSLError:
        raise setting_error(
            "kafka_ssl_cafile", f"{settings.kafka_ssl_cafile} holds no certificate in PEM form"
        ) from None
    if settings.kafka_ssl_certfile is not None:
        key = settings.kafka_ssl_keyfile or settings.kafka_ssl_certfile
        _load_certificate(context, settings.kafka_ssl_certfile, key, read_secret(settings, "kafka_ssl_key_password"))
    return context


def _require_readable(name: str, path: Path) -> None:
    if not path.is_file():
        raise setting_error(name, f"there is no file {path}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise setting_error(name, f"{path} cannot be read: {error.strerror}") from None


def _load_certificate(context: SSLContext, certificate: Path, key: Path, password: str | None) -> None:
    try:
        # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(certificate, key, password=password or "")
    except SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise setting_error("kafka_ssl_keyfile", f"{key} is not the key of certificate {certificate}") from None
        if "ENCRYPTED" in _read_beginning(key):
            need = f"{key} is encrypted, and its password is {'another one' if password else 'needed'}"
            raise setting_error("kafka_ssl_key_password", need) from None
        problem = f"{certificate} and {key} are no certificate and key in PEM form"
        raise setting_error("kafka_ssl_certfile", problem) from None


def _read_beginning(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(65536).decode("ascii", "replace")
