"""A Secret on the hub, read: the token, or why it holds none."""

from base64 import b64decode
from datetime import datetime

from attrs import field, frozen

from msa import pem
from msa.api import jwt, names
from msa.api.core import Secret
from msa.api.meta import ObjectMeta
from msa.api.token import Token

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@frozen(eq=False)
class Held:
    """What a good Secret holds.

    Attributes:
        ca: `ca.crt` as every library takes it, and where none does, at least with the beginning of a certificate.
        expires_at: as the token itself says.
    """

    token: Token
    ca: bytes = field(repr=False)
    expires_at: datetime


@frozen(eq=False)
class Content:
    """What is kept of a Secret.

    Attributes:
        metadata: which object it is.
        held: what it holds, or what is wrong with it, quoting nothing of it.
    """

    metadata: ObjectMeta
    held: Held | str


def read(secret: Secret) -> Content:
    """The Secret's content."""
    if secret.metadata.label(names.LABEL_MANAGED) != "true":
        return Content(secret.metadata, f"does not have the label {names.LABEL_MANAGED}: it is not ours")
    try:
        return Content(secret.metadata, _held(secret))
    except jwt.Malformed as error:
        return Content(secret.metadata, f"holds no token: {error}")
    except ValueError:
        return Content(secret.metadata, "holds no token: it is no text")


def _held(secret: Secret) -> Held | str:
    token = _entry(secret, names.SECRET_KEY_TOKEN)
    expires_at = jwt.parse(token).claims.expires_at
    ca = _entry(secret, names.SECRET_KEY_CA)
    if _CERTIFICATE not in ca:  # without one, the token would go to whoever the system trusts
        return f"holds no certificate in {names.SECRET_KEY_CA}"
    return Held(Token(token.decode()), pem.cleaned(ca) or ca, expires_at)


def _entry(secret: Secret, key: str) -> bytes:
    return b64decode((secret.data or {}).get(key, ""), validate=True)
