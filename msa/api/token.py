"""A service account token: a value that can be sent but not printed, and the facts that may be kept of it."""

from datetime import datetime
from typing import NoReturn

from attrs import frozen


class Token:
    """A bearer token. It shows itself only to `reveal`; it cannot be printed, logged, compared by accident or pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The token itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "<Token: hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token is never pickled or copied")


@frozen
class Claims:
    """What a service account token says of itself (KEP-1205, RFC 7519).

    Attributes:
        account_uid: UID of the ServiceAccount it was issued for.
        audiences: `aud`, always as a tuple.
        issued_at: `iat`, on the managed cluster's clock.
        expires_at: `exp`, on the managed cluster's clock.
    """

    issuer: str
    subject: str
    account_uid: str
    audiences: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime


@frozen
class TokenFacts:
    """What is kept of a token in memory.

    Attributes:
        key_id: `kid` of its header.
        claims: None where the token is no readable JWT; `malformed` then says why.
        signed_by: thumbprint of the key of the cluster's key set that made its signature; empty where none of them did.
        malformed: empty for a readable token.
    """

    key_id: str = ""
    claims: Claims | None = None
    signed_by: str = ""
    malformed: str = ""
