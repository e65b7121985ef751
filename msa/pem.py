"""Certificates in PEM, as distributions and people write bundles: with text in any encoding around them, and a bad one among good ones.

Every CA bundle is read here, whether it is a file, an entry of a kubeconfig or a field of an object. Go programs, kubectl among them, take such bundles
(`x509.CertPool.AppendCertsFromPEM`); Python's `ssl` by itself takes none that holds one byte that is not ASCII or one bad certificate.
"""

import re
import ssl
from base64 import b64decode, b64encode
from textwrap import wrap

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_BLOCK = (
    re.compile(  # linear in the length of a bundle: no part of it can match what the next one begins with
        rf"^{_BEGIN}[ \t\r]*\n([A-Za-z0-9+/= \t\r\n]*\n){_END}[ \t\r]*$".encode(), re.MULTILINE
    )
)
_COLUMNS = 64


def certificates(bundle: bytes) -> tuple[bytes, ...]:
    """The certificates of a bundle that can be read, each in DER; empty where there are none.

    Args:
        bundle: PEM; what stands outside of its blocks may be anything.
    """
    reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    decoded = (_der(block[1]) for block in _BLOCK.finditer(bundle))
    return tuple(der for der in decoded if _is_certificate(reader, der))


def cleaned(bundle: bytes) -> bytes:
    """A bundle that every reader of PEM takes; empty where it has no certificate that can be read.

    A bundle that is one already stays byte for byte as it is; else what is left are its good certificates.
    """
    found = certificates(bundle)
    if found and bundle.isascii() and bundle.count(_BEGIN.encode()) == len(found):
        return bundle
    return "".join(map(_encoded, found)).encode()


def _der(body: bytes) -> bytes:
    try:
        return b64decode(body)
    except ValueError:
        return b""


def _is_certificate(reader: ssl.SSLContext, der: bytes) -> bool:
    try:
        reader.load_verify_locations(cadata=der)
    except (ssl.SSLError, ValueError):  # ValueError: it is empty
        return False
    return True


def _encoded(der: bytes) -> str:
    lines = wrap(b64encode(der).decode(), _COLUMNS)
    return "\n".join((_BEGIN, *lines, _END, ""))
