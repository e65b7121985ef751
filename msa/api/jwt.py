"""Reads a service account token (compact JWS, RFC 7515) without trusting it: what it says, and what its signature covers."""

import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from typing import Any

import msgspec
from attrs import frozen
from msgspec import Struct

from msa.api.durations import EARLIEST, LATEST
from msa.api.token import Claims

_LONGEST = 64 * 1024
_PARTS = 3


class Malformed(ValueError):
    """No readable token; the message says why and quotes nothing of it."""


class _Header(Struct, frozen=True):
    alg: str
    kid: str = ""


class _Named(Struct, frozen=True):
    name: str = ""
    uid: str = ""


class _Kubernetes(Struct, frozen=True):
    namespace: str = ""
    serviceaccount: _Named = _Named()


class _Payload(Struct, frozen=True, rename={"kubernetes": "kubernetes.io"}):
    sub: str
    exp: int
    iat: int
    iss: str = ""
    aud: str | list[str] = []
    kubernetes: _Kubernetes = _Kubernetes()


class _Expiring(Struct, frozen=True):
    exp: int


_HEADER = msgspec.json.Decoder(_Header)
_PAYLOAD = msgspec.json.Decoder(_Payload)
_EXPIRING = msgspec.json.Decoder(_Expiring)


@frozen(repr=False)
class Jwt:
    """A token taken apart.

    Attributes:
        signed: the bytes that the signature covers.
    """

    algorithm: str
    key_id: str
    claims: Claims
    signed: bytes
    signature: bytes


_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")


def parse(token: bytes) -> Jwt:
    """Takes a token apart.

    Raises:
        Malformed: it is none.
    """
    parts = _parts(token)
    header = _decoded(_HEADER, parts[0], "header")
    payload = _decoded(_PAYLOAD, parts[1], "payload")
    signed = token[: len(parts[0]) + 1 + len(parts[1])]
    return Jwt(header.alg, header.kid, _claims(payload), signed, _base64(parts[2], "signature"))


def expiry(token: bytes) -> datetime:
    """When a token expires, by its own word; it may be of any issuer.

    Raises:
        Malformed: it does not say.
    """
    return _time(_decoded(_EXPIRING, _parts(token)[1], "payload").exp)


def _parts(token: bytes) -> list[bytes]:
    if len(token) > _LONGEST:
        raise Malformed(f"it has {len(token)} bytes, more than any token")
    parts = token.split(b".")
    if len(parts) != _PARTS:
        raise Malformed("it does not have the three parts of a JWT")
    return parts


def _claims(payload: _Payload) -> Claims:
    audiences = (payload.aud,) if isinstance(payload.aud, str) else tuple(payload.aud)
    return Claims(
        issuer=payload.iss,
        subject=payload.sub,
        account_uid=payload.kubernetes.serviceaccount.uid,
        audiences=audiences,
        issued_at=_time(payload.iat),
        expires_at=_time(payload.exp),
    )


def _time(seconds: int) -> datetime:
    if EARLIEST.timestamp() <= seconds <= LATEST.timestamp():
        return datetime.fromtimestamp(seconds, UTC)
    raise Malformed("a time in it is out of range")


def _decoded(decoder: "msgspec.json.Decoder[Any]", part: bytes, what: str) -> Any:
    try:
        return decoder.decode(_base64(part, what))
    except (msgspec.MsgspecError, RecursionError):
        raise Malformed(f"its {what} is not what a service account token has") from None
    except UnicodeDecodeError:
        raise Malformed(f"its {what} is no text") from None


def _base64(part: bytes, what: str) -> bytes:
    if not _BASE64URL.fullmatch(part):  # the decoder skips what it does not know, and API servers do not
        raise Malformed(f"its {what} is not base64url")
    try:
        return urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise Malformed(f"its {what} is not base64url") from None
