"""What the reconciler asks of the two clusters. `agent.writes` sends it, tests script it."""

from datetime import datetime
from typing import Protocol

from attrs import frozen

from msa.api.core import Credential, IssuedToken, Marks, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.api.token import Token
from msa.policy.rotation import Request


@frozen
class SecretContent:
    """What a hub Secret shall hold.

    Attributes:
        token: None leaves the stored one as it is.
        ca: the managed cluster's CA bundle, PEM.
        marks: our annotations; others on the Secret are left alone.
    """

    token: Token | None
    ca: bytes
    marks: Marks


@frozen
class StoredSecret:
    """A hub Secret as it was just read.

    Attributes:
        writers: field managers other than us that wrote its data, newest first.
    """

    credential: Credential
    writers: tuple[str, ...]


class Managed(Protocol):
    """The managed cluster, in the install namespace. Every method raises `ApiError`."""

    async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
        """Raises AlreadyExists where a ServiceAccount of that name is there."""
        ...

    async def read_account(self, name: str) -> ServiceAccount: ...

    async def mark_account(self, account: ServiceAccount, identity: ManagedServiceAccount) -> ServiceAccount:
        """Writes our label, our annotation and its owners to exactly this account; Conflict if it changed meanwhile."""
        ...

    async def delete_account(self, account: ServiceAccount) -> None:
        """Deletes exactly this one, as it was read: Conflict if it changed meanwhile; one that is gone already is no error."""
        ...

    async def released_at(self) -> datetime | None:
        """Up to when inferred deletions are meant, by the annotation on the agent's Deployment; None where it has none."""
        ...

    async def request_token(self, account: ServiceAccount, request: Request) -> IssuedToken: ...


class Hub(Protocol):
    """The hub, in the cluster's namespace. Every method raises `ApiError`."""

    async def read_secret(self, name: str) -> StoredSecret: ...

    async def create_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> Credential:
        """The Secret as the hub stored it, which admission may have altered. Raises AlreadyExists where a Secret of that name is there."""
        ...

    async def patch_secret(
        self, identity: ManagedServiceAccount, stored: Credential, content: SecretContent
    ) -> Credential:
        """The Secret as the hub stored it. Conflict if the Secret changed after `stored` was read; foreign marks stay."""
        ...

    async def revoke_secret(self, stored: Credential) -> str:
        """Takes the token out of it; the new resourceVersion. Conflict if the Secret changed after `stored` was read."""
        ...

    async def rehearse_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> None:
        """Raises what the hub would say to one more such Secret; nothing is stored."""
        ...

    async def delete_secret(self, stored: Credential) -> None:
        """Deletes exactly this one, by UID."""
        ...

    async def patch_status(self, identity: ManagedServiceAccount, status: Status) -> ManagedServiceAccount:
        """The object as the hub stored it; Conflict if the object changed after `identity` was read."""
        ...

    async def identity_lives(self, name: str) -> bool:
        """Whether there is a ManagedServiceAccount of that name that is not being deleted, whatever else it holds."""
        ...

    async def delete_identity(self, identity: ManagedServiceAccount) -> None:
        """Deletes exactly this one, by UID; one that is gone already is no error."""
        ...
