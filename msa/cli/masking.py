"""Takes credentials out of text that is going to be read by people and programs that must not have them.

Each function looks at every character a bounded number of times: whoever has 300 KB logged does not stop the program with it.
"""

import binascii
import re

MASK = "<token: masked>"

_WORD = re.compile(r"[A-Za-z0-9_.-]{16,}")
_MARK = "eyJ"
_HEADER, _PAYLOAD = 8, 4
"""The fewest characters of a JWT's two first parts, the mark not counted."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_STANDARD = str.maketrans("-_", "+/")
_HEADER_VALUE = re.compile(
    r"""(authorization[\s\\"'\]\[:=,(b]{1,16}(?:bearer|basic|digest|negotiate)\s{1,8})[^\s\\"'\])},;]+""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer\s{1,8})[A-Za-z0-9._~+/-]{16,}=*", re.IGNORECASE)


def mask(text: str) -> str:
    """The text without what has the shape of a JWT (RFC 7519), also in base64 as in a Secret, or of an Authorization header's value."""
    text = _HEADER_VALUE.sub(rf"\1{MASK}", text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    if _MARK in text:
        text = _WORD.sub(lambda found: masked_tokens(found[0]), text)
    return _BASE64.sub(_masked_base64, text)


def masked_tokens(word: str) -> str:
    """Letters, digits, `_`, `-` and dots without the tokens among them: two or three parts, the first of which holds the mark."""
    parts, kept, at = word.split("."), [], 0
    while at < len(parts):
        mark = parts[at].find(_MARK)
        begins = mark >= 0 and len(parts[at]) - mark >= len(_MARK) + _HEADER
        if begins and at + 1 < len(parts) and len(parts[at + 1]) >= _PAYLOAD:
            kept.append(parts[at][:mark] + MASK)
            at += 3
        else:
            kept.append(parts[at])
            at += 1
    return ".".join(kept)


def _masked_base64(found: re.Match[str]) -> str:
    """The text, or the mask where a token is in it, wherever in the encoded text it begins."""
    encoded = found[0].rstrip("=").translate(_STANDARD)
    return MASK if any(_holds_token(encoded[skipped:]) for skipped in range(4)) else found[0]


def _holds_token(encoded: str) -> bool:
    whole = encoded[: len(encoded) - len(encoded) % 4]
    decoded = binascii.a2b_base64(whole).decode("latin-1")
    return _MARK in decoded and any(masked_tokens(word) != word for word in _WORD.findall(decoded))
