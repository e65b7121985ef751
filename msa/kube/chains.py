"""The way from a server's certificate up to one that is trusted, where OpenSSL took another.

OpenSSL follows one way: the first issuer of the right name. Where that is expired, unknown or another of the same name, it gives up; Go, and so kubectl, tries
every way that the certificates allow. So after a refusal we look at all that the server shows, search as Go does, and make a TLS context that trusts this one way.
OpenSSL verifies it whole, again: nothing is trusted by what is found here.
"""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from msa.kube.tls import Trust

_MOST_CHECKS = 100
"""Of signatures in one search, as in Go."""

_MOST_SHOWN = 20
_SECONDS = 5.0
_MISMATCHES = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL: no way helps."""


@frozen
class Place:
    """Where a server is.

    Attributes:
        name: that its certificate must have, "" for the host's.
    """

    host: str
    port: int
    name: str = ""


def shown(place: Place) -> tuple[bytes, ...]:
    """The certificates that a server shows, its own first, in DER; empty where it cannot be asked.

    Nothing is sent, and nothing that is shown is believed.
    """
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with suppress(OSError, ValueError), _connected(place, unverified) as connection:
        return _chain(connection)
    return ()


@contextmanager
def _connected(place: Place, tls: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Raises OSError or ValueError where the server cannot be reached, or is not trusted."""
    with (
        socket.create_connection((place.host, place.port), timeout=_SECONDS) as plain,
        tls.wrap_socket(plain, server_hostname=place.name or place.host) as connection,
    ):
        yield connection


def _chain(connection: ssl.SSLSocket) -> tuple[bytes, ...]:
    if hasattr(connection, "get_unverified_chain"):
        return tuple(connection.get_unverified_chain())
    # Python before 3.13 has it, without a public name.
    found = connection._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # noqa: SLF001
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in found)


def other_way(
    refusal: ssl.SSLCertVerificationError,
    place: Place,
    trust: Trust | None,
    certificates: Sequence[bytes],
    now: datetime,
) -> ssl.SSLContext | None:
    """A context that trusts the server that was refused; None where there is none.

    It is tried first: whoever takes another context gives up the connections that there are, and a certificate may be refused for more
    than its issuers.

    Args:
        refusal: by the context in use.
        place: the server's.
        trust: of that context; None where there is nothing else to trust.
        certificates: what the server shows.
        now: at which they must be valid.
    """
    if trust is None or refusal.verify_code in _MISMATCHES:
        return None
    if not (found := way(certificates, trust.anchors, now)):
        return None
    narrowed = trust.narrowed(found)
    with suppress(OSError, ValueError), _connected(place, narrowed):
        return narrowed
    return None


def way(certificates: Sequence[bytes], anchors: Sequence[bytes], now: datetime) -> tuple[bytes, ...]:
    """The issuers from the first certificate's up to an anchor that issued itself; empty where there is no way.

    Args:
        certificates: as a server shows them.
        anchors: that are trusted.
        now: at which all of them must be valid.
    """
    between, trusted = _valid(certificates[:_MOST_SHOWN], now), _valid(anchors, now)
    roots = [anchor for anchor in trusted if anchor.issuer == anchor.subject]
    for leaf in _valid(certificates[:1], now):
        found = _climbed((leaf,), [*roots, *trusted, *between], frozenset(roots), iter(range(_MOST_CHECKS)))
        return tuple(map(_der, found[1:]))
    return ()


def _climbed(
    below: tuple[x509.Certificate, ...],
    issuers: Sequence[x509.Certificate],
    roots: frozenset[x509.Certificate],
    checks: Iterator[int],
) -> tuple[x509.Certificate, ...]:
    """What was climbed and the rest of the way; empty where there is none."""
    if below[-1] in roots:
        return below
    for issuer in issuers:
        if issuer not in below and issuer.subject == below[-1].issuer and next(checks, None) is not None:  # noqa: SIM102 - a check costs
            if _issued(below[-1], issuer) and (found := _climbed((*below, issuer), issuers, roots, checks)):
                return found
    return ()


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _valid(certificates: Sequence[bytes], now: datetime) -> list[x509.Certificate]:
    return [
        certificate
        for certificate in _readable(certificates)
        if certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    ]


def _readable(certificates: Sequence[bytes]) -> Iterator[x509.Certificate]:
    for der in certificates:
        with suppress(ValueError):
            certificate = x509.load_der_x509_certificate(der)
            # Read only when they are asked for, and then they may be none.
            _ = certificate.subject, certificate.issuer
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            yield certificate


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
