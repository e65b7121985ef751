"""The agent's ports over real clients: one request a method, the bodies from `agent.bodies`."""

from base64 import b64decode
from contextlib import suppress
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec
from attrs import frozen
from msgspec import Raw, Struct

from msa.agent import bodies
from msa.agent.anchor import Anchor
from msa.agent.ingest import CredentialIngest, slim_account, slim_identity
from msa.agent.ports import SecretContent, StoredSecret
from msa.agent.sweep import HeldToken
from msa.api import names
from msa.api.core import Credential, IssuedToken, Secret, ServiceAccount, StoredServiceAccount
from msa.api.durations import parse_rfc3339
from msa.api.managedserviceaccount import ManagedServiceAccount, Status, StoredIdentity
from msa.api.meta import FieldsEntry, ObjectMeta, Timed
from msa.api.token import Token
from msa.policy.rotation import Request
from msa.runtime.errors import Conflict, NotFound

R = TypeVar("R")


class Objects(Protocol):
    """One resource in one namespace, for writing."""

    async def get(self, name: str, *, into: type[R]) -> R: ...

    async def create(self, body: object, *, into: type[R], dry_run: bool = False) -> R: ...

    async def patch(self, name: str, body: object, *, into: type[R], subresource: str = "") -> R:
        """Sends a JSON merge patch."""
        ...

    async def delete(self, name: str, *, uid: str = "", version: str = "") -> None: ...

    async def create_subresource(self, name: str, subresource: str, body: object, *, into: type[R]) -> R: ...


class _Written(Struct, frozen=True):
    """All that is read of most answers: what was written is known, and a token need not be decoded again."""

    metadata: ObjectMeta


class _Deletion(Struct, frozen=True, rename="camel"):
    deletion_timestamp: str | None = None


class _Marked(Struct, frozen=True):
    """Any object, as far as whether it is being deleted."""

    metadata: _Deletion


class _TokenRequestStatus(Timed, frozen=True, rename="camel"):
    token: str
    expiration_timestamp: datetime


class _TokenRequest(Struct, frozen=True):
    status: _TokenRequestStatus

    def __repr__(self) -> str:
        return "<TokenRequest: hidden>"


class _OwnedMeta(Struct, frozen=True, rename="camel"):
    managed_fields: tuple[FieldsEntry, ...] = ()


class _Owned(Struct, frozen=True):
    metadata: _OwnedMeta


@frozen
class ManagedWrites:
    """`agent.ports.Managed` over the managed cluster's API server."""

    accounts: Objects
    deployments: Objects
    anchor: Anchor

    async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
        body = bodies.service_account(identity, self.anchor.owners)
        return slim_account(await self.accounts.create(body, into=StoredServiceAccount))

    async def read_account(self, name: str) -> ServiceAccount:
        return slim_account(await self.accounts.get(name, into=StoredServiceAccount))

    async def mark_account(self, account: ServiceAccount, identity: ManagedServiceAccount) -> ServiceAccount:
        body = bodies.service_account_marks(identity, account, self.anchor.owners)
        return slim_account(await self.accounts.patch(account.metadata.name, body, into=StoredServiceAccount))

    async def delete_account(self, account: ServiceAccount) -> None:
        stored = account.metadata
        with suppress(NotFound):
            await self.accounts.delete(stored.name, uid=stored.uid, version=stored.resource_version)

    async def released_at(self) -> datetime | None:
        try:
            deployment = await self.deployments.get(names.AGENT_DEPLOYMENT, into=_Written)
        except NotFound:
            return None  # deployed by hand
        return parse_rfc3339(deployment.metadata.annotation(names.ANNOTATION_RELEASE))

    async def request_token(self, account: ServiceAccount, request: Request) -> IssuedToken:
        name = account.metadata.name
        answer = await self.accounts.create_subresource(
            name, "token", bodies.token_request(request), into=_TokenRequest
        )
        return IssuedToken(Token(answer.status.token), answer.status.expiration_timestamp)


@frozen
class HubWrites:
    """`agent.ports.Hub` over the hub's API server."""

    identities: Objects
    secrets: Objects
    ingest: CredentialIngest

    async def read_secret(self, name: str) -> StoredSecret:
        raw = await self.secrets.get(name, into=Raw)
        credential = self.ingest(msgspec.json.decode(raw, type=Secret))
        return StoredSecret(credential, _writers(msgspec.json.decode(raw, type=_Owned)))

    async def create_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> Credential:
        return self.ingest(await self.secrets.create(bodies.secret(identity, content), into=Secret))

    async def rehearse_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> None:
        await self.secrets.create(bodies.rehearsed_secret(identity, content), into=_Written, dry_run=True)

    async def patch_secret(
        self, identity: ManagedServiceAccount, stored: Credential, content: SecretContent
    ) -> Credential:
        body = bodies.secret_patch(identity, stored, content)
        return self.ingest(await self.secrets.patch(stored.metadata.name, body, into=Secret))

    async def revoke_secret(self, stored: Credential) -> str:
        body = bodies.revoked_secret(stored)
        written = await self.secrets.patch(stored.metadata.name, body, into=_Written)
        return written.metadata.resource_version

    async def delete_secret(self, stored: Credential) -> None:
        await _delete(self.secrets, stored.metadata)

    async def patch_status(self, identity: ManagedServiceAccount, status: Status) -> ManagedServiceAccount:
        body = bodies.status_patch(identity, status)
        name = identity.metadata.name
        return slim_identity(
            await self.identities.patch(name, body, into=StoredIdentity, subresource="status")
        )

    async def identity_lives(self, name: str) -> bool:
        try:
            stored = await self.identities.get(name, into=_Marked)
        except NotFound:
            return False
        return stored.metadata.deletion_timestamp is None

    async def delete_identity(self, identity: ManagedServiceAccount) -> None:
        await _delete(self.identities, identity.metadata)


class _ReviewStatus(Struct, frozen=True):
    authenticated: bool = False


class _Review(Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


@frozen
class TokenReviews:
    """`agent.sweep.Reviews` over both API servers."""

    secrets: Objects
    reviews: Objects

    async def read_token(self, name: str) -> HeldToken | None:
        secret = await self.secrets.get(name, into=Secret)
        encoded = (secret.data or {}).get(names.SECRET_KEY_TOKEN)
        if encoded is None:
            return None
        return HeldToken(Token(b64decode(encoded).decode()), secret.metadata.resource_version)

    async def review(self, token: Token, audiences: tuple[str, ...]) -> bool:
        answer = await self.reviews.create(bodies.token_review(token, audiences), into=_Review)
        return answer.status.authenticated


def _writers(owned: _Owned) -> tuple[str, ...]:
    """Field managers other than us that own data of a Secret, the newest first."""
    entries = sorted(owned.metadata.managed_fields, key=lambda entry: entry.time, reverse=True)
    strangers = (
        entry.manager
        for entry in entries
        if b'"f:data"' in bytes(entry.fields) and entry.manager != names.FIELD_MANAGER
    )
    return tuple(dict.fromkeys(strangers))


async def _delete(objects: Objects, metadata: ObjectMeta) -> None:
    """Deletes exactly this object. Gone is what was wanted; a UID conflict means that this one is gone and another has its name."""
    try:
        await objects.delete(metadata.name, uid=metadata.uid)
    except (NotFound, Conflict):
        return
