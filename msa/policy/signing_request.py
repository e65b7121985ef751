"""What a certificate signing request asks for, read from its bytes into plain values; whether it may have it is for `policy.approval`.

The library checks form and signature. The fields are read from the DER here: the library's own `subject` and `extensions` warn of a common
name over X.509's 64 characters, as ours are, and its `extensions` sees the first of several lists, while Kubernetes' signer takes them all.
"""

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from msa.policy.der import Malformed, Tag, dotted, elements

COMMON_NAME: Final = "2.5.4.3"
ORGANISATION: Final = "2.5.4.10"
EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"
KEY_USAGE: Final = "2.5.29.15"
ALTERNATIVE_NAME: Final = "2.5.29.17"

RSA, P256, P384, ED25519 = "RSA", "P-256", "P-384", "Ed25519"

_LONGEST: Final = 16_384
"""Characters of `spec.request`; with an RSA key of 16384 bits they are 13,000."""

_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE REQUEST-----\n((?:[A-Za-z0-9+/=]+\n)+)-----END CERTIFICATE REQUEST-----\n?"
)
"""As client-go writes it: one block, no headers, nothing before it and nothing after it but one line feed."""

_LABEL: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{1,40}-----")

_ALGORITHMS: Final = {
    bytes.fromhex("06092a864886f70d0101010500"): RSA,
    bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107"): P256,
    bytes.fromhex("06072a8648ce3d020106052b81040022"): P384,
    bytes.fromhex("06032b6570"): ED25519,
}
"""Contents of AlgorithmIdentifier. No other key is loaded: for some the library warns."""


_OVERSIZED: Final = "oversized:"
"""Instead of a longer text; no base64 has a colon."""


class NotPEM(ValueError):
    """It is not one PEM block of a certificate request."""


@frozen
class Asked:
    """What is asked for. Object identifiers are in dotted form.

    Attributes:
        common_names: wherever in the name they stand, in order; so are the organisations.
        other_parts: what else the name consists of.
        attributes: what the request carries besides name and key.
        extensions: those asked for, with their DER.
        key: RSA, P-256, P-384, Ed25519; of any other, the identifiers of its algorithm.
        rsa_bits: length of the modulus, 0 for another or no usable key.
        signed: the key signed the request.
    """

    common_names: tuple[str, ...]
    organisations: tuple[str, ...]
    other_parts: tuple[str, ...]
    attributes: tuple[str, ...]
    extensions: tuple[tuple[str, bytes], ...]
    key: str
    rsa_bits: int
    signed: bool


def read(text: str) -> Asked:
    """Reads `spec.request`: base64 of PEM.

    Raises:
        NotPEM: there is more, less or something else in it.
        Malformed: the block is no certificate request.
    """
    der = _unwrap(text)
    try:
        parsed = x509.load_der_x509_csr(der)
    except Exception as error:  # noqa: BLE001 - whatever the library makes of forged bytes, they are no request
        raise Malformed(str(error)) from None
    ((_, information),) = elements(parsed.tbs_certrequest_bytes)
    _, (_, subject), (_, key), (_, attributes) = elements(information)
    parts = tuple(_name_parts(subject))
    carried = tuple(_attribute(content) for _, content in elements(attributes))
    kind = _kind(key)
    return Asked(
        common_names=tuple(value for oid, value in parts if oid == COMMON_NAME),
        organisations=tuple(value for oid, value in parts if oid == ORGANISATION),
        other_parts=tuple(oid for oid, _ in parts if oid not in (COMMON_NAME, ORGANISATION)),
        attributes=tuple(oid for oid, _, _ in carried),
        extensions=tuple(
            extension
            for oid, tag, value in carried
            if oid == EXTENSION_REQUEST
            for extension in _extensions(tag, value)
        ),
        key=kind,
        rsa_bits=_rsa_bits(parsed) if kind == RSA else 0,
        signed=kind in _ALGORITHMS.values() and _signed(parsed),
    )


def shortened(text: str) -> str:
    """The text, or where it is longer than any that is approved, a mark that tells how long."""
    return text if len(text) <= _LONGEST else f"{_OVERSIZED}{len(text)}"


def _unwrap(text: str) -> bytes:
    text = shortened(text)
    if text.startswith(_OVERSIZED):
        raise NotPEM(f"{text.removeprefix(_OVERSIZED)} characters, where {_LONGEST} are enough for any key")
    try:
        block = b64decode(text, validate=True)
    except ValueError:
        raise NotPEM(f"{len(text)} characters that are no base64") from None
    found = _PEM.fullmatch(block)
    if found is None:
        raise NotPEM(_described(block))
    try:
        return b64decode(found[1].replace(b"\n", b""), validate=True)
    except ValueError:
        raise NotPEM("no base64 within the block") from None


def _described(block: bytes) -> str:
    """By its label alone: it may be a private key."""
    found = _LABEL.match(block)
    return f"{len(block)} bytes that begin with {found[0].decode() if found else 'no PEM label'}"


def _name_parts(name: bytes) -> Iterator[tuple[str, str]]:
    """Type and value of every part, also of several in one RDN, as Go writes organisations."""
    for _, rdn in elements(name):
        for _, part in elements(rdn):
            (_, oid), (tag, value) = elements(part)
            yield dotted(oid), _text(tag, value)


def _text(tag: int, value: bytes) -> str:
    """A string; a value of another type as RFC 4514 has it, # and hexadecimal digits, so that it equals no name of ours."""
    if tag in (Tag.UTF8, Tag.PRINTABLE):
        try:
            return value.decode()
        except ValueError:
            pass
    return f"#{tag:02x}{value.hex()}"


def _attribute(content: bytes) -> tuple[str, int, bytes]:
    """Type, and tag and content of the value: the signer looks at the first alone, so there must be no other."""
    (_, oid), (_, values) = elements(content)
    found = list(elements(values))
    if len(found) != 1:
        raise Malformed(f"attribute {dotted(oid)} with {len(found)} values, where there must be one")
    return dotted(oid), *found[0]


def _extensions(tag: int, der: bytes) -> Iterator[tuple[str, bytes]]:
    """The library has not looked into these: every tag counts."""
    if tag != Tag.SEQUENCE:
        raise Malformed(f"a list of extensions with tag {tag:#04x}")
    for item in elements(der):
        match item[0], list(elements(item[1])):
            case Tag.SEQUENCE, [(Tag.OID, oid), (Tag.OCTETS, value)]:
                yield dotted(oid), value
            case Tag.SEQUENCE, [(Tag.OID, oid), (Tag.BOOLEAN, b"\xff"), (Tag.OCTETS, value)]:
                yield dotted(oid), value
            case _:
                raise Malformed("an extension out of shape")


def _kind(key: bytes) -> str:
    """The algorithm of a SubjectPublicKeyInfo, by its whole identifier; of one that is none of ours, the OIDs in it."""
    (_, algorithm), _ = elements(key)
    return _ALGORITHMS.get(algorithm) or " ".join(
        dotted(content) for tag, content in elements(algorithm) if tag == Tag.OID
    )


def _rsa_bits(parsed: x509.CertificateSigningRequest) -> int:
    try:
        key = parsed.public_key()
    except Exception:  # noqa: BLE001 - whatever the library makes of forged bytes, they are no key
        return 0
    return key.key_size if isinstance(key, RSAPublicKey) else 0


def _signed(parsed: x509.CertificateSigningRequest) -> bool:
    try:
        return parsed.is_signature_valid
    except Exception:  # noqa: BLE001 - whatever the library makes of forged bytes, they are no signature
        return False
