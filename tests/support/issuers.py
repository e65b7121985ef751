"""Certificates whose issuers are chosen one by one: cross-signed, expired, of one name."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_START = timedelta(days=400)


@frozen(eq=False)
class Holder:
    """A name and a key.

    Attributes:
        key_ids: whether certificates name the keys of their subjects and issuers.
    """

    name: str
    key_ids: bool = True
    key: ec.EllipticCurvePrivateKey = field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def renamed(self, name: str) -> "Holder":
        """Another name for the same key."""
        return evolve(self, name=name)

    def issue(self, subject: "Holder", *, days: int = 100, server: bool = False) -> x509.Certificate:
        """A certificate of this issuer.

        Args:
            subject: whose.
            days: for which it is valid still; below zero where it has expired.
            server: for 127.0.0.1, not for another issuer.
        """
        now = datetime.now(UTC)
        ends = (now - _START, now + timedelta(days=days))
        public = subject.key.public_key()
        made = x509.CertificateBuilder(
            _name(self.name), _name(subject.name), public, x509.random_serial_number(), *ends
        ).add_extension(x509.BasicConstraints(ca=not server, path_length=None), critical=True)
        if server:
            host = x509.IPAddress(ip_address("127.0.0.1"))
            made = made.add_extension(x509.SubjectAlternativeName([host]), critical=False)
        if self.key_ids:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            made = made.add_extension(issuer, critical=False)
            made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        return made.sign(self.key, hashes.SHA256())

    def pem(self) -> bytes:
        """The key."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def der(certificates: Sequence[x509.Certificate]) -> list[bytes]:
    return [certificate.public_bytes(serialization.Encoding.DER) for certificate in certificates]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
