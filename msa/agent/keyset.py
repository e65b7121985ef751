"""The keys that a cluster signs service account tokens with, from its `/openid/v1/jwks` (RFC 7517, KEP-1393)."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from msa.api.jwt import Jwt

_HASHES: Mapping[str, HashAlgorithm] = {
    "RS256": SHA256(), "RS384": SHA384(), "RS512": SHA512(), "ES256": SHA256(), "ES384": SHA384(), "ES512": SHA512()
}  # fmt: skip
_CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_THUMBPRINT_FIELDS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}


@frozen
class _Key:
    thumbprint: str
    key_id: str
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class _Document(msgspec.Struct, frozen=True):
    keys: tuple[Any, ...]


class KeySet:
    """Public keys, by `kid`."""

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        self._by_id = {key.key_id: key for key in keys}
        self.thumbprints = frozenset(key.thumbprint for key in keys)
        self.key_ids = frozenset(self._by_id)

    @classmethod
    def from_jwks(cls, document: bytes) -> "KeySet":
        """Reads a JWK set; keys that cannot be read, or of kinds that sign no service account tokens, are passed over.

        Raises:
            ValueError: it is not a JWK set.
        """
        try:
            entries = msgspec.json.decode(document, type=_Document).keys
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"not a JWK set: {error}") from None
        return cls(tuple(key for entry in entries if (key := _readable(entry)) is not None))

    def signer(self, jwt: Jwt) -> str:
        """Thumbprint (RFC 7638) of the key that made the signature; "" if none of these did."""
        key = self._by_id.get(jwt.key_id)
        algorithm = _HASHES.get(jwt.algorithm)
        if key is None or algorithm is None:
            return ""
        try:
            _verify(key.public, jwt, algorithm)
        except (InvalidSignature, ValueError):
            return ""
        return key.thumbprint


def _verify(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, jwt: Jwt, algorithm: HashAlgorithm) -> None:
    """Raises InvalidSignature or ValueError."""
    match key:
        case rsa.RSAPublicKey() if jwt.algorithm.startswith("RS"):
            key.verify(jwt.signature, jwt.signed, padding.PKCS1v15(), algorithm)
        case ec.EllipticCurvePublicKey() if jwt.algorithm.startswith("ES"):
            half = len(jwt.signature) // 2
            r, s = int.from_bytes(jwt.signature[:half]), int.from_bytes(jwt.signature[half:])
            key.verify(encode_dss_signature(r, s), jwt.signed, ec.ECDSA(algorithm))
        case _:
            raise InvalidSignature


def _readable(entry: Any) -> _Key | None:
    try:
        return _key(entry)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _key(entry: Mapping[str, Any]) -> _Key | None:
    match entry:
        case {"kty": "RSA", "n": n, "e": e}:
            public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = rsa.RSAPublicNumbers(
                _number(e), _number(n)
            ).public_key()
        case {"kty": "EC", "crv": curve, "x": x, "y": y} if curve in _CURVES:
            public = ec.EllipticCurvePublicNumbers(_number(x), _number(y), _CURVES[curve]).public_key()
        case _:
            return None
    return _Key(_thumbprint(entry), str(entry.get("kid", "")), public)


def _thumbprint(entry: Mapping[str, Any]) -> str:
    members = {name: entry[name] for name in _THUMBPRINT_FIELDS[entry["kty"]]}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def _number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
