"""The names in a certificate's extension subjectAltName (RFC 5280), as people write them: `DNS:kubernetes.default.svc`. Pure."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from msa.policy.der import Malformed, Tag, dotted, elements

_SHOWN: Final = 20
"""More names than that are counted."""


def shown(der: bytes) -> str:
    """The names of one extension; bytes that are not names are shown as hexadecimal digits."""
    try:
        ((tag, content),) = elements(der)
        names = [_shown(kind, value) for kind, value in elements(content)] if tag == Tag.SEQUENCE else []
    except ValueError:
        names = []
    if not names:
        return f"#{der[:100].hex()}"
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _address(value: bytes) -> str:
    return str(ip_address(value))


_KINDS: Final[dict[int, tuple[str, Callable[[bytes], str]]]] = {
    0x81: ("email", bytes.decode),
    0x82: ("DNS", bytes.decode),
    0x86: ("URI", bytes.decode),
    0x87: ("IP", _address),
    0x88: ("OID", dotted),
}


def _shown(tag: int, value: bytes) -> str:
    kind, read = _KINDS.get(tag, (f"[{tag & 0x1F}]", bytes.hex))
    try:
        return f"{kind}:{read(value)}"
    except (Malformed, ValueError):
        return f"{kind}:#{value.hex()}"
