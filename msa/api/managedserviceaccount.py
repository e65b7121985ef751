"""ManagedServiceAccount, authentication.open-cluster-management.io/v1beta1, as wire types."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Raw, Struct

from msa.api.meta import Condition, ObjectMeta, Timed


class Rotation(Struct, frozen=True, gc=False, rename="camel"):
    """How the token is renewed.

    Attributes:
        validity: the token's requested life, a Go duration.
    """

    validity: str = "8640h0m0s"


class Spec(Struct, frozen=True, gc=False, rename="camel"):
    """What the user asks for.

    Attributes:
        audiences: who the token is for; empty means the managed cluster's API server.
        ttl_seconds_after_creation: the whole object's life in seconds (feature gate EphemeralIdentity); None means for ever.
    """

    rotation: Rotation = Rotation()
    audiences: tuple[str, ...] = ()
    ttl_seconds_after_creation: Annotated[int, Meta(ge=-(2**31), lt=2**31)] | None = None


class TokenSecretRef(Timed, frozen=True, gc=False, rename="camel"):
    name: str = ""
    last_refresh_timestamp: datetime | None = None


class ServiceAccountRef(Struct, frozen=True, gc=False, rename="camel"):
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Status(Timed, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the agent reports.

    Attributes:
        granted_validity: life of the current token as the managed cluster granted it, a Go duration.
        next_refresh_timestamp: when the agent plans to replace the token.
    """

    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    expiration_timestamp: datetime | None = None
    token_secret_ref: TokenSecretRef | None = None
    service_account_ref: ServiceAccountRef | None = None
    audiences: tuple[str, ...] = ()
    granted_validity: str = ""
    next_refresh_timestamp: datetime | None = None


class ManagedServiceAccount(Struct, frozen=True, gc=False, rename="camel"):
    metadata: ObjectMeta
    spec: Spec = Spec()
    status: Status = Status()


class StoredIdentity(Struct, frozen=True, gc=False, rename="camel"):
    """A ManagedServiceAccount as it comes over the wire.

    Attributes:
        status: not read yet: a tenant may have written something into it that an API server takes and we cannot read.
    """

    metadata: ObjectMeta
    spec: Spec = Spec()
    status: Raw = Raw(b"{}")
