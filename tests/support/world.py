"""Both clusters as the agent's ports show them, scripted: every write shows in the caches at once."""

import json
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random

from attrs import define, evolve, field
from msgspec.structs import replace

from msa.agent.anchor import Anchor, ConfigMap
from msa.agent.cluster import ManagedCluster
from msa.agent.ingest import CredentialIngest, written
from msa.agent.ports import SecretContent, StoredSecret
from msa.agent.reconciler import Caches, TokenReconciler
from msa.api.core import Credential, IssuedToken, Marks, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.api.token import Token
from msa.policy.rotation import Request
from msa.policy.status import Trouble
from msa.runtime.errors import ApiError, Network, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.result import Key
from msa.runtime.store import Store, StoreWriter
from tests.support import builders


def _part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@define
class World:
    """Both clusters and their caches.

    Attributes:
        skew: how far the managed cluster's clock is ahead.
        rounding: how much later than the token itself the answer says that it expires.
        crash_at: number of the write that fails, once.
        error: what every write fails with, while it is set.
        admit: what admission makes of a Secret.
        keep: what is stored of a status.
        told: called with the name of each object that comes or changes.
        writes: what was written, in order.
        tokens: when each identity was issued one.
        unreadable: names of identities that are there and in no cache.
        gaps: identities whose token had expired before the next one was written.
        observed: what the observer was told: what happened, why, and whether that is for the log alone.
        ca: the managed cluster's.
        released: up to when inferred deletions are meant.
        hub_replaced: the hub is another one than it was.
        reconciler: for tests that keep one.
    """

    now: Callable[[], datetime]
    granted: timedelta = timedelta(hours=24)
    skew: timedelta = timedelta()
    rounding: timedelta = timedelta()
    crash_at: int | None = None
    error: ApiError | None = None
    told: Callable[[Key], None] = lambda _key: None
    admit: Callable[[Credential], Credential] = lambda stored: stored
    keep: Callable[[Status], Status] = lambda status: status
    writes: list[str] = field(factory=list)
    tokens: dict[str, list[datetime]] = field(factory=lambda: defaultdict(list))
    gaps: list[str] = field(factory=list)
    unreadable: set[str] = field(factory=set)
    reads: list[str] = field(factory=list)
    observed: list[tuple[str, str, bool]] = field(factory=list)
    ca: bytes = b"ca"
    released: datetime | None = None
    hub_replaced: bool = False
    version: int = 10
    identities: Store[ManagedServiceAccount] = field(factory=Store)
    credentials: Store[Credential] = field(factory=Store)
    accounts: Store[ServiceAccount] = field(factory=Store)
    anchors: Store[ConfigMap] = field(factory=Store)
    ingest: CredentialIngest = field(factory=lambda: CredentialIngest(lambda: None))
    reconciler: TokenReconciler = field(init=False)

    def _write(self, what: str) -> str:
        if self.error is not None:
            raise self.error
        if self.crash_at == len(self.writes):
            self.crash_at = None
            raise Network("crashed")
        self.writes.append(what)
        self.version += 1
        return str(self.version)

    async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
        version = self._write("account")
        name = identity.metadata.name
        account = ServiceAccount(replace(builders.account(name).metadata, resource_version=version))
        StoreWriter(self.accounts).put(account)
        self.told(Key(name))
        return account

    async def read_account(self, name: str) -> ServiceAccount:
        raise NotImplementedError

    async def mark_account(self, account: ServiceAccount, identity: ManagedServiceAccount) -> ServiceAccount:
        raise NotImplementedError

    async def delete_account(self, account: ServiceAccount) -> None:
        self._write("delete account")
        StoreWriter(self.accounts).drop(Key(f"{account.metadata.namespace}/{account.metadata.name}"))

    async def request_token(self, account: ServiceAccount, request: Request) -> IssuedToken:
        self._write("token")
        name = account.metadata.name
        self.tokens[name].append(self.now())
        issued = self.now() + self.skew
        expires = issued + self.granted
        payload = {
            "sub": f"system:serviceaccount:{builders.NAMESPACE}:{name}",
            "iat": int(issued.timestamp()),
            "exp": int(expires.timestamp()),
            "aud": ["api"],
            "kubernetes.io": {
                "namespace": builders.NAMESPACE,
                "serviceaccount": {"name": name, "uid": account.metadata.uid},
            },
        }
        return IssuedToken(
            Token(f"{_part({'alg': 'RS256', 'kid': 'k'})}.{_part(payload)}.c2ln"), expires + self.rounding
        )

    async def read_secret(self, name: str) -> StoredSecret:
        self.reads.append(name)
        found = self.credentials.get(f"cluster1/{name}")
        if found is None:
            raise NotFound(name)
        return StoredSecret(found, ("kubectl-edit",))

    async def rehearse_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> None:
        raise NotImplementedError

    async def create_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> Credential:
        return self._secret("secret", identity, content)

    async def patch_secret(
        self, identity: ManagedServiceAccount, stored: Credential, content: SecretContent
    ) -> Credential:
        return self._secret("patch secret", identity, content)

    def _secret(self, what: str, identity: ManagedServiceAccount, content: SecretContent) -> Credential:
        version, name = self._write(what), identity.metadata.name
        old = self.credentials.get(f"cluster1/{name}")
        if old is not None and old.claims is not None and old.claims.expires_at <= self.now() + self.skew:
            self.gaps.append(name)
        if content.token is not None:
            facts = self.ingest.facts(content.token.reveal().encode())
        else:
            assert old is not None
            assert old.token is not None
            facts = old.token
        stored = self.admit(written(identity, content, facts, version))
        StoreWriter(self.credentials).put(stored)
        self.told(Key(name))
        return stored

    async def revoke_secret(self, stored: Credential) -> str:
        version = self._write("revoke secret")
        metadata = replace(stored.metadata, resource_version=version)
        StoreWriter(self.credentials).put(evolve(stored, metadata=metadata, marks=Marks(), token=None))
        return version

    async def delete_secret(self, stored: Credential) -> None:
        raise NotImplementedError

    async def released_at(self) -> datetime | None:
        return self.released

    async def patch_status(self, identity: ManagedServiceAccount, status: Status) -> ManagedServiceAccount:
        metadata = replace(identity.metadata, resource_version=self._write("status"))
        stored = replace(identity, status=self.keep(status), metadata=metadata)
        StoreWriter(self.identities).put(stored)
        self.told(Key(identity.metadata.name))
        return stored

    async def identity_lives(self, name: str) -> bool:
        return name in self.unreadable

    async def delete_identity(self, identity: ManagedServiceAccount) -> None:
        self._write("delete identity")
        StoreWriter(self.identities).drop(Key(f"cluster1/{identity.metadata.name}"))

    def issued(self, _identity: ManagedServiceAccount, reason: str, _message: str, _seconds: float) -> None:
        self.observed.append(("issued", reason, False))

    def repaired(self, _identity: ManagedServiceAccount, reason: str, _message: str) -> None:
        self.observed.append(("repaired", reason, False))

    def adopted(self, _identity: ManagedServiceAccount, reason: str, _message: str) -> None:
        self.observed.append(("adopted", reason, False))

    def limited(self, _identity: ManagedServiceAccount, type_: str, _message: str) -> None:
        self.observed.append(("limited", type_, False))

    def refused(self, _identity: ManagedServiceAccount, trouble: Trouble, *, quietly: bool) -> None:
        self.observed.append(("refused", trouble.reason, quietly))

    def held(self, missing: int, total: int, _until: datetime) -> None:
        self.observed.append(("held", f"{missing} of {total}", False))

    def failed(self, _identity: ManagedServiceAccount, trouble: Trouble, *, quietly: bool) -> None:
        self.observed.append(("failed", trouble.reason, quietly))


async def _no_keys() -> bytes:
    raise Network("none")


def reconciler_of(
    world: World, *, ephemeral: bool = False, fetch_keys: Callable[[], Awaitable[bytes]] = _no_keys
) -> TokenReconciler:
    """One that serves this world alone."""
    cluster = ManagedCluster(
        builders.NAMESPACE,
        fetch_keys,
        ca=lambda: world.ca,
        now=world.now,
        skew=lambda: None,
        interruptions=lambda: 0,
    )
    return TokenReconciler(
        namespace="cluster1",
        caches=Caches(world.identities, world.credentials, world.accounts),
        hub=world,
        managed=world,
        cluster=cluster,
        anchor=Anchor(world.anchors, world.accounts, builders.NAMESPACE),
        ingest=world.ingest,
        freshness=Freshness(),
        observer=world,
        now=world.now,
        hub_now=world.now,
        rng=Random(1),
        ephemeral=ephemeral,
        hub_replaced=lambda: world.hub_replaced or world.identities.rewound,
    )
