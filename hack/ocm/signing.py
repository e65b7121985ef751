"""A registration agent's key, and the certificate that it asks for."""

import warnings
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RENEWAL = 0.8
"""OCM renews when between 20 and 25 % of the life are left."""


@frozen(repr=False)
class KeyPair:
    """Held in memory until the certificate is there."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls) -> "KeyPair":
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )

    def signing_request(self, user: str, groups: Sequence[str], dns_name: str) -> bytes:
        """PEM, its subject as Go writes it: all groups in one part, then the user."""
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            common_name = x509.NameAttribute(
                NameOID.COMMON_NAME, user, _validate=False
            )  # longer than X.520 allows
        organisations = [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, group, _validate=False) for group in groups
        ]
        subject = x509.Name(
            [x509.RelativeDistinguishedName(organisations), x509.RelativeDistinguishedName([common_name])]
        )
        builder = x509.CertificateSigningRequestBuilder(subject)
        names = x509.SubjectAlternativeName([x509.DNSName(dns_name)])
        builder = builder.add_extension(names, critical=False)
        return builder.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def renewal(data: dict[str, str], user: str, groups: Sequence[str], now: datetime) -> float:
    """Seconds until a Secret's certificate is to be renewed; 0 where it is another's or no certificate.

    Args:
        data: of the Secret, base64 text by key.
        user: who its holder must be.
        groups: in which groups.
        now: the time.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            certificate = x509.load_pem_x509_certificate(b64decode(data["tls.crt"]))
            subject = certificate.subject
        found = [item.value for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        organisations = [item.value for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    except (KeyError, ValueError):
        return 0.0
    if found != [user] or sorted(map(str, organisations)) != sorted(groups):
        return 0.0
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return max(0.0, (begin + (end - begin) * RENEWAL - now.astimezone(UTC)).total_seconds())


def requested_subject(request: bytes) -> tuple[str, list[str]]:
    """The user and the groups that a PEM request asks a certificate for."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        subject = x509.load_pem_x509_csr(request).subject
    (user,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(user.value), [str(group.value) for group in groups]


def encoded(content: bytes) -> str:
    return b64encode(content).decode()
