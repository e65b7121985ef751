"""The id-token of a kubeconfig's `auth-provider: oidc`.

It is taken as it is written. kubectl renews it with the refresh-token and writes both back; a program that only reads the kubeconfig must not: identity
providers replace the refresh-token with each use, so the user's own kubectl would be locked out.
"""

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from msa.kube.skew import dated

_WHERE = "users[].user.auth-provider.config.id-token"
_REMEDY = "log in again, or use a credential plugin such as kubelogin in exec"


class _Claims(msgspec.Struct, frozen=True):
    exp: float | None = None


def id_token(config: Mapping[str, str], now: datetime) -> str:
    """The token.

    Raises:
        ValueError: there is none that can be used; the message quotes nothing of it.
    """
    token = config.get("id-token", "")
    if not token:
        raise ValueError(f"{_WHERE} is missing: {_REMEDY}")
    ends = _expiry(token)
    if ends is not None and ends <= now:
        raise ValueError(f"{_WHERE} expired at {dated(ends)}: {_REMEDY}")
    return token


def _expiry(token: str) -> datetime | None:
    """None where it does not say: the server decides."""
    with suppress(ValueError, OverflowError, OSError, RecursionError, IndexError, msgspec.MsgspecError):
        payload = token.split(".")[1]
        ends = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims).exp
        return datetime.fromtimestamp(ends, UTC) if ends is not None else None
    return None
