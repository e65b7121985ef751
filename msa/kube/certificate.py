"""When a certificate ends: the standard library reads that of a peer alone that it trusts."""

import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from msa import pem
from msa.kube.skew import dated
from msa.runtime.errors import ApiError, CertificateExpired, Unauthorized

_VERSION, _UTC_TIME = 0xA0, 0x17
_VALIDITY = 3
"""After serial number, signature algorithm and issuer (RFC 5280, section 4.1)."""

_LONG, _LONGEST = 0x80, 4
_HAS_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


def ends(bundle: bytes) -> datetime | None:
    """The end of the first certificate's validity; None where there is none that can be read."""
    if not (found := pem.certificates(bundle)):
        return None
    try:
        return _end(found[0])
    except (ValueError, IndexError):
        return None


def explained(error: ApiError, certificate_ends: datetime | None, now: datetime) -> ApiError:
    """The error; a refusal of a credential names the date where the client certificate has expired."""
    if not isinstance(error, Unauthorized) or certificate_ends is None or certificate_ends > now:
        return error
    return CertificateExpired(f"the client certificate expired at {dated(certificate_ends)}", code=error.code)


def said_to_have_expired(refusal: ssl.SSLCertVerificationError, shown: Sequence[bytes]) -> str:
    """When the certificate of a server that was refused for that has expired; "" where it was refused for something else.

    Args:
        refusal: by OpenSSL.
        shown: the certificates that the server shows, in DER. Nothing of them is believed but the date, for a message.
    """
    if refusal.verify_code != _HAS_EXPIRED or not shown:
        return ""
    try:
        return f"it expired at {dated(_end(shown[0]))}"
    except (ValueError, IndexError):
        return ""


def _end(der: bytes) -> datetime:
    """Raises IndexError or ValueError where this is no certificate."""
    (_, certificate), *_ = _values(der)
    (_, to_be_signed), *_ = _values(certificate)
    parts = [value for tag, value in _values(to_be_signed) if tag != _VERSION]
    _, (tag, moment) = _values(parts[_VALIDITY])
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(moment.decode("ascii"), form).replace(tzinfo=UTC)


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of a sequence of values. Raises IndexError or ValueError where it is none."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length >= _LONG:
            octets = length - _LONG
            if octets > _LONGEST:
                raise ValueError("longer than a certificate")
            length, at = int.from_bytes(der[at : at + octets]), at + octets
        yield tag, der[at : at + length]
        at += length
