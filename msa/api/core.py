"""The core/v1 and authentication.k8s.io/v1 objects that the agent handles, as wire types and as what is kept of them."""

from datetime import datetime

from attrs import frozen
from msgspec import Struct

from msa.api.meta import FieldsEntry, ObjectMeta
from msa.api.token import Claims, Token, TokenFacts


class AccountMeta(ObjectMeta, frozen=True, gc=False, rename="camel"):
    managed_fields: tuple[FieldsEntry, ...] = ()


class StoredServiceAccount(Struct, frozen=True, gc=False):
    """A ServiceAccount as it comes over the wire."""

    metadata: AccountMeta


class ServiceAccount(Struct, frozen=True, gc=False):
    """What is kept of one.

    Attributes:
        appliers: field managers that apply it as theirs.
    """

    metadata: ObjectMeta
    appliers: tuple[str, ...] = ()


class Secret(Struct, frozen=True, gc=False, rename="camel"):
    """A Secret as it comes over the wire. Turned into a `Credential` at once and never kept.

    Attributes:
        data: base64 text by key.
    """

    metadata: ObjectMeta
    type: str = "Opaque"
    immutable: bool = False
    data: dict[str, str] | None = None


@frozen
class Marks:
    """Our annotations on a hub Secret.

    Attributes:
        requested: what its token was asked for, as `policy.rotation.Request` renders it; "" where it does not say.
        expires_at: None where it does not say.
        refreshed_at: when its token was written, None where it does not say.
    """

    requested: str = ""
    expires_at: datetime | None = None
    refreshed_at: datetime | None = None


@frozen
class Credential:
    """What is kept of a hub Secret: facts about its content, never the content.

    Attributes:
        metadata: which object it is, and whether it has our label.
        owners: UIDs of the objects that it goes with.
        keys: the names of its data entries.
        token: facts read from its token; None where it has none.
        ca_digest: SHA-256, hexadecimal, of its `ca.crt`; empty where it has none.
    """

    metadata: ObjectMeta
    owners: tuple[str, ...]
    marks: Marks
    type: str
    immutable: bool
    keys: frozenset[str]
    token: TokenFacts | None
    ca_digest: str

    @property
    def claims(self) -> Claims | None:
        """What its token says of itself; None where it has none that can be read."""
        return self.token.claims if self.token is not None else None


@frozen
class IssuedToken:
    """The answer to a TokenRequest.

    Attributes:
        expires_at: as granted, which may be sooner than asked.
    """

    token: Token
    expires_at: datetime
