"""Certificates and keys for local control planes; the only secrets they protect live on loopback."""

import warnings
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=365)


@frozen
class Authority:
    """A certificate authority in a folder: ca.crt and ca.key."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _authority_name(name)
        return _kept(folder, key, _authority_builder(subject, subject, key).sign(key, hashes.SHA256()))

    def issue_authority(self, folder: Path, name: str) -> "Authority":
        """One in another folder, which is trusted by whoever trusts this one and is shown both certificates."""
        certificate, own_key = self._own()
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _authority_builder(_authority_name(name), certificate.subject, key)
        return _kept(folder, key, builder.sign(own_key, hashes.SHA256()))

    def issue_server(self, name: str, hosts: tuple[str, ...]) -> None:
        """Writes NAME.crt and NAME.key, good for these host names and addresses."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        self._issue(
            name,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            names,
            ExtendedKeyUsageOID.SERVER_AUTH,
        )

    def issue_client(self, name: str, user: str, groups: tuple[str, ...]) -> None:
        """Writes NAME.crt and NAME.key, which the API server takes for this user in these groups."""
        organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        # OCM's user names are longer than the 64 characters that X.520 allows; API servers do not mind.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            common_name = x509.NameAttribute(NameOID.COMMON_NAME, user, _validate=False)
        self._issue(name, x509.Name([*organisations, common_name]), None, ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self,
        name: str,
        subject: x509.Name,
        names: x509.SubjectAlternativeName | None,
        usage: x509.ObjectIdentifier,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        ca, ca_key = self._own()
        builder = _builder(subject, ca.subject, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        _write_key(self.folder / f"{name}.key", key)
        _write_certificate(self.folder / f"{name}.crt", builder.sign(ca_key, hashes.SHA256()))

    def _own(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.folder / 'ca.key'} is not ours")
        return x509.load_pem_x509_certificate((self.folder / "ca.crt").read_bytes()), key


def _kept(folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Authority:
    _write_key(folder / "ca.key", key)
    _write_certificate(folder / "ca.crt", certificate)
    return Authority(folder)


def create_signing_key(folder: Path) -> None:
    """Writes sa.key and sa.pub, which sign and check service account tokens."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "sa.key", key)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "sa.pub").write_bytes(public)


def _authority_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}-ca")])


def _authority_builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return _builder(subject, issuer, key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - timedelta(minutes=5)
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), start, start + _LIFE)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
