"""Certificate signing requests, good and forged. Written octet by octet: the library's builder refuses common names as long as ours."""

from base64 import encodebytes
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Key: TypeAlias = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)

OID, UTF8, PRINTABLE, IA5, BMP = 0x06, 0x0C, 0x13, 0x16, 0x1E
BOOLEAN, INTEGER, BITS, OCTETS, SEQUENCE, SET, ATTRIBUTES = 0x01, 0x02, 0x03, 0x04, 0x30, 0x31, 0xA0

COMMON_NAME, ORGANISATION, ORGANISATIONAL_UNIT = "2.5.4.3", "2.5.4.10", "2.5.4.11"
EXTENSION_REQUEST, CHALLENGE_PASSWORD = "1.2.840.113549.1.9.14", "1.2.840.113549.1.9.7"
KEY_USAGE, ALTERNATIVE_NAME = "2.5.29.15", "2.5.29.17"


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


P256: Final = ec.generate_private_key(ec.SECP256R1())
OTHER_P256: Final = ec.generate_private_key(ec.SECP256R1())
P384: Final = ec.generate_private_key(ec.SECP384R1())
ED25519: Final = ed25519.Ed25519PrivateKey.generate()


def pem(
    common_name: str,
    organisations: Iterable[str],
    *,
    key: Key = P256,
    more_rdns: Iterable[bytes] = (),
    extensions: Sequence[bytes] = (),
    attributes: Iterable[bytes] = (),
    signed_by: Key | None = None,
) -> bytes:
    """A signing request as Go writes it: all organisations in one RDN, then the common name.

    Args:
        common_name: of any length.
        organisations: groups.
        key: that the certificate is for.
        more_rdns: made with `rdn`, put after the common name.
        extensions: made with `extension`; without any there is no extension request.
        attributes: made with `attribute`, besides the extension request.
        signed_by: where it is not `key`.
    """
    name = [
        rdn(*(part(ORGANISATION, value) for value in organisations)),
        rdn(part(COMMON_NAME, common_name)),
        *more_rdns,
    ]
    asked = [extension_request(*extensions)] if extensions else []
    return armour(request(name, [*asked, *attributes], key=key, signed_by=signed_by))


def armour(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    """PEM, in lines of 64 characters as Go and OpenSSL write it."""
    text = encodebytes(der).replace(b"\n", b"")
    lines = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), lines, label.encode())


def request(
    name: Iterable[bytes], attributes: Iterable[bytes] = (), *, key: Key = P256, signed_by: Key | None = None
) -> bytes:
    """A CertificationRequest in DER, of RDNs and attributes that may be anything; DER sorts the latter."""
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    information = tlv(
        SEQUENCE, tlv(INTEGER, b"\0"), tlv(SEQUENCE, *name), public, tlv(ATTRIBUTES, *sorted(attributes))
    )
    algorithm, signature = _signature(signed_by or key, information)
    return tlv(SEQUENCE, information, tlv(SEQUENCE, algorithm), tlv(BITS, b"\0", signature))


def rdn(*parts: bytes) -> bytes:
    """A relative distinguished name; DER sorts what is in a set."""
    return tlv(SET, *sorted(parts))


def part(kind: str, value: str | bytes, tag: int = UTF8) -> bytes:
    """An attribute type and its value."""
    content = value.encode() if isinstance(value, str) else value
    return tlv(SEQUENCE, oid(kind), tlv(tag, content))


def attribute(kind: str, *values: bytes) -> bytes:
    return tlv(SEQUENCE, oid(kind), tlv(SET, *values))


def extension_request(*extensions: bytes) -> bytes:
    return attribute(EXTENSION_REQUEST, tlv(SEQUENCE, *extensions))


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    return tlv(SEQUENCE, oid(kind), tlv(BOOLEAN, b"\xff") if critical else b"", tlv(OCTETS, value))


def key_usage(*, key_encipherment: bool, critical: bool = True) -> bytes:
    """Digital signature, and key encipherment where asked for."""
    bits = b"\x05\xa0" if key_encipherment else b"\x07\x80"
    return extension(KEY_USAGE, tlv(BITS, bits), critical=critical)


def dns_names(*names: str) -> bytes:
    """The alternative names of a server."""
    return extension(ALTERNATIVE_NAME, tlv(SEQUENCE, *(tlv(0x82, name.encode()) for name in names)))


def tlv(tag: int, *contents: bytes) -> bytes:
    """An element of DER."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(number) for number in dotted.split("."))
    return tlv(OID, *(_base128(number) for number in (40 * first + second, *rest)))


def _base128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(0x80 | number & 0x7F)
    return bytes(reversed(octets))


def _signature(key: Key, message: bytes) -> tuple[bytes, bytes]:
    """The content of its AlgorithmIdentifier, and the signature."""
    match key:
        case rsa.RSAPrivateKey():
            algorithm = oid("1.2.840.113549.1.1.11") + b"\x05\x00"
            return algorithm, key.sign(message, padding.PKCS1v15(), SHA256())
        case ec.EllipticCurvePrivateKey():
            return oid("1.2.840.10045.4.3.2"), key.sign(message, ec.ECDSA(SHA256()))
        case ed25519.Ed25519PrivateKey():
            return oid("1.3.101.112"), key.sign(message)
        case ed448.Ed448PrivateKey():
            return oid("1.3.101.113"), key.sign(message)
