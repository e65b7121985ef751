"""DER, read as far as a certificate signing request needs it; what is not exactly DER is refused.

Not for structures of any depth: every level is read by who knows what is in it.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

_LONG: Final = 0x80
"""In an octet of a size: the size follows. In one of an object identifier: the number goes on."""

_LONG_TAG: Final = 0x1F
"""The bits of a tag that takes more than one octet, which a request has none of."""


_LONGEST_OID: Final = 63
"""Octets, far more than any has; Python refuses to print numbers of thousands of digits."""


class Malformed(ValueError):
    """The bytes are not what they should be."""


class Tag(IntEnum):
    BOOLEAN = 0x01
    OCTETS = 0x04
    OID = 0x06
    UTF8 = 0x0C
    PRINTABLE = 0x13
    SEQUENCE = 0x30


def elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of the elements that stand in a row.

    Raises:
        Malformed: it is no DER.
    """
    at = 0
    while at < len(der):
        start, size = _content(der, at)
        if start + size > len(der) or der[at] & _LONG_TAG == _LONG_TAG:
            raise Malformed("an element out of shape")
        yield der[at], der[start : start + size]
        at = start + size


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element begins, and its size, which DER writes in as few octets as can be."""
    size = int.from_bytes(der[at + 1 : at + 2])
    if size < _LONG:
        return at + 2, size
    octets = der[at + 2 : at + 2 + size - _LONG]
    size = int.from_bytes(octets)
    if size < _LONG or octets[0] == 0:
        raise Malformed("a size out of shape")
    return at + 2 + len(octets), size


def dotted(oid: bytes) -> str:
    """An object identifier's content in dotted form.

    Raises:
        Malformed: it is none.
    """
    if len(oid) > _LONGEST_OID:
        raise Malformed(f"an object identifier of {len(oid)} octets")
    arcs, arc, ended = [], 0, True
    for octet in oid:
        if ended and octet == _LONG:
            raise Malformed("an object identifier with a leading zero")
        arc, ended = arc << 7 | octet & 0x7F, octet < _LONG
        if ended:
            arcs.append(arc)
            arc = 0
    if not arcs or not ended:
        raise Malformed("an object identifier that does not end")
    first = min(arcs[0] // 40, 2)
    return ".".join(str(number) for number in (first, arcs[0] - 40 * first, *arcs[1:]))
