"""Certificates for tests: authorities, servers, clients; with key identifiers, and without, as Strimzi makes them."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_DAY: Final = timedelta(days=1)


class Authority:
    """A certificate authority that writes what it signs into a folder."""

    def __init__(self, folder: Path, name: str, *, key_identifiers: bool = True) -> None:
        self._folder, self._has_key_identifiers = folder, key_identifiers
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        if key_identifiers:
            usage = x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            )
            builder = builder.add_extension(usage, critical=True)
            builder = builder.add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
        #: The certificate of the authority.
        self.certificate = folder / f"{name}.ca.pem"
        self.certificate.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def issue(
        self, name: str, *, password: str | None = None, days: int = 90, host: str = "localhost"
    ) -> tuple[Path, Path]:
        """Return the files of a certificate for a host and 127.0.0.1, and of its key; less than 0 days: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self._name, key.public_key(), days)
        addresses = [x509.DNSName(host), x509.IPAddress(IPv4Address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        if self._has_key_identifiers:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        certificate_file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate_file.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        encryption: KeySerializationEncryption = NoEncryption()
        if password is not None:
            encryption = BestAvailableEncryption(password.encode())
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return certificate_file, key_file

    def issue_keystore(self, name: str, host: str = "localhost") -> Path:
        """Return the file of a certificate with its key, as Java reads them."""
        certificate, key = self.issue(name, host=host)
        keystore = self._folder / f"{name}.keystore.pem"
        keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
        return keystore


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 90
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(days - 1, 0) * _DAY - _DAY)
        .not_valid_after(now + days * _DAY)
    )
