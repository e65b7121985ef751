"""Tokens of an earlier time: API servers give none for less than ten minutes, and tests do not wait."""

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from hack.clusters import Cluster


def issued_earlier(cluster: Cluster, issued: str, *, seconds: int, life: int) -> str:
    """The same token as the API server would have made it that long ago, for that life: signed with its own key."""
    header, payload, _ = issued.split(".")
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims["iat"] = claims["nbf"] = int(time.time()) - seconds
    claims["exp"] = claims["iat"] + life
    signed = f"{header}.{_base64url(json.dumps(claims).encode())}"
    key = serialization.load_pem_private_key((cluster.folder / "sa.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return f"{signed}.{_base64url(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
