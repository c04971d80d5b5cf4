"""What servers prove by TLS: until when their certificates count, and against which authorities they were verified."""

import socket
import ssl
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from models.setting_values import split_address
from models.settings import Settings
from models.tls import create_ssl_context, trusting_context

_TIMEOUT_SECONDS: Final = 5.0
#: With which a client asks PostgreSQL for TLS, and what it answers where it has TLS: PostgreSQL's manual, section 54.7.
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80_877_103)
_HAS_TLS: Final = b"S"
_SYSTEM_AUTHORITIES: Final = "the authorities of the system"


class Certificate(NamedTuple):
    """A server's certificate that was verified."""

    server: str
    #: Who signed it.
    issuer: str
    #: Against what it was verified.
    authorities: str
    ends: datetime


def read_kafka_certificate(settings: Settings) -> Certificate:
    """Return the certificate of the first broker that answers.

    Raises `OSError` when none does, and `SettingsError` for settings that cannot be.
    """
    context = create_ssl_context(settings)
    if context is None:
        raise ValueError("the settings ask for no TLS")
    authorities = str(settings.kafka_ssl_cafile or _SYSTEM_AUTHORITIES)
    failure: OSError | None = None
    for server in settings.kafka.split(","):
        host, port = split_address(server.strip())
        try:
            with socket.create_connection((host, port), _TIMEOUT_SECONDS) as connection:
                return _read_certificate(connection, context, host, authorities)
        except OSError as error:
            failure = error
    raise failure or OSError("no broker is named")


def read_postgresql_certificate(host: str, port: int, parameters: Mapping[str, str]) -> Certificate:
    """Return the certificate of a server, verified as libpq was told to by `sslmode` and `sslrootcert`.

    Raises `OSError` when that fails.
    """
    named = parameters.get("sslrootcert")
    file = None if named == "system" else Path(named or "~/.postgresql/root.crt").expanduser()
    context = trusting_context(file)
    context.check_hostname = parameters["sslmode"] == "verify-full"
    with socket.create_connection((host, port), _TIMEOUT_SECONDS) as connection:
        connection.sendall(_SSL_REQUEST)
        if connection.recv(1) != _HAS_TLS:
            raise OSError("it does not speak TLS")
        return _read_certificate(connection, context, host, str(file or _SYSTEM_AUTHORITIES))


def _read_certificate(
    connection: socket.socket, context: ssl.SSLContext, host: str, authorities: str
) -> Certificate:  # fmt: skip
    with context.wrap_socket(connection, server_hostname=host) as encrypted:
        found: Mapping[str, Any] = encrypted.getpeercert() or {}
    issuer = {name: value for part in found["issuer"] for name, value in part}
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(found["notAfter"]), UTC)
    shown = issuer.get("commonName") or issuer.get("organizationName") or "somebody without a name"
    return Certificate(host, shown, authorities, ends)
