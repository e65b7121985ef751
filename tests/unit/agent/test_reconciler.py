"""The reconciler with scripted clusters, on virtual time: what it asks of them, and when."""

import contextlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import anyio
import pytest
from attrs import define, field
from msgspec.structs import replace

from msa.agent.cluster import ManagedCluster
from msa.agent.ingest import CredentialIngest, digest
from msa.agent.ports import SecretContent, StoredSecret
from msa.agent.reconciler import Caches, TokenReconciler
from msa.api import names
from msa.api.core import Credential, IssuedToken, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.api.meta import ObjectMeta
from msa.api.token import Token
from msa.policy.rotation import Request
from msa.runtime.errors import ApiError, Network
from msa.runtime.freshness import Freshness
from msa.runtime.result import Key, RequeueAfter
from msa.runtime.store import Store, StoreWriter
from tests.support import builders

ONE = Key("one")


def _part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@define
class World:
    """Both clusters and their caches; every write shows in the cache at once. Fails once, at the write that is told."""

    now: Callable[[], datetime]
    granted: timedelta = timedelta(hours=24)
    skew: timedelta = timedelta()
    rounding: timedelta = timedelta()
    crash_at: int | None = None
    error: ApiError | None = None
    writes: list[str] = field(factory=list)
    version: int = 10
    identities: Store[ManagedServiceAccount] = field(factory=Store)
    credentials: Store[Credential] = field(factory=Store)
    accounts: Store[ServiceAccount] = field(factory=Store)
    ingest: CredentialIngest = field(factory=lambda: CredentialIngest(lambda: None))

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
        account = ServiceAccount(replace(builders.account().metadata, resource_version=version))
        StoreWriter(self.accounts).put(account)
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
        issued = self.now() + self.skew
        expires = issued + self.granted
        payload = {
            "sub": f"system:serviceaccount:{builders.NAMESPACE}:one",
            "iat": int(issued.timestamp()),
            "exp": int(expires.timestamp()),
            "aud": ["api"],
            "kubernetes.io": {
                "namespace": builders.NAMESPACE,
                "serviceaccount": {"name": "one", "uid": account.metadata.uid},
            },
        }
        return IssuedToken(
            Token(f"{_part({'alg': 'RS256', 'kid': 'k'})}.{_part(payload)}.c2ln"), expires + self.rounding
        )

    async def read_secret(self, name: str) -> StoredSecret:
        raise NotImplementedError

    async def create_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> str:
        return self._secret("secret", identity, content)

    async def patch_secret(
        self, identity: ManagedServiceAccount, stored: Credential, content: SecretContent
    ) -> str:
        return self._secret("patch secret", identity, content)

    def _secret(self, what: str, identity: ManagedServiceAccount, content: SecretContent) -> str:
        assert content.token is not None
        version = self._write(what)
        metadata = ObjectMeta(
            name="one",
            namespace="cluster1",
            resource_version=version,
            labels={names.LABEL_MANAGED: "true"},
        )
        facts = self.ingest.facts(content.token.reveal().encode())
        keys = frozenset((names.SECRET_KEY_TOKEN, names.SECRET_KEY_CA))
        StoreWriter(self.credentials).put(
            Credential(
                metadata,
                owners=(identity.metadata.uid,),
                marks=content.marks,
                type="Opaque",
                immutable=False,
                keys=keys,
                token=facts,
                ca_digest=digest(b"ca"),
            )
        )
        return version

    async def delete_secret(self, stored: Credential) -> None:
        raise NotImplementedError

    async def patch_status(self, identity: ManagedServiceAccount, status: Status) -> str:
        version = self._write("status")
        StoreWriter(self.identities).put(
            replace(identity, status=status, metadata=replace(identity.metadata, resource_version=version))
        )
        return version

    async def delete_identity(self, identity: ManagedServiceAccount) -> None:
        self._write("delete identity")
        StoreWriter(self.identities).drop(Key("cluster1/one"))

    def issued(self, *_: object) -> None:
        """An observer that nobody asks."""

    repaired = refused = failed = issued


async def _no_keys() -> bytes:
    raise Network("none")


def _reconciler(world: World, *, ephemeral: bool = False) -> TokenReconciler:
    cluster = ManagedCluster(
        builders.NAMESPACE,
        _no_keys,
        ca=lambda: b"ca",
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
        ingest=world.ingest,
        freshness=Freshness(),
        observer=world,
        now=world.now,
        hub_now=world.now,
        rng=Random(1),
        ephemeral=ephemeral,
    )


@pytest.fixture
def world(now: Callable[[], datetime]) -> World:
    world = World(now)
    StoreWriter(world.identities).put(builders.identity())
    return world


async def _live(world: World, reconciler: TokenReconciler, seconds: float) -> None:
    """Looks at the identity whenever it asked to be looked at, and once more after each look, as its own events would."""
    end = anyio.current_time() + seconds
    while anyio.current_time() < end:
        try:
            result = await reconciler(ONE)
        except ApiError:
            await anyio.sleep(1)
            continue
        wait = result.seconds if isinstance(result, RequeueAfter) else seconds
        await anyio.sleep(min(wait, end - anyio.current_time()))


async def test_a_new_identity_costs_four_requests_and_the_next_look_none(world: World) -> None:
    reconciler = _reconciler(world)
    await reconciler(ONE)
    assert world.writes == ["account", "token", "secret", "status"]
    result = await reconciler(ONE)
    assert world.writes == ["account", "token", "secret", "status"]
    assert isinstance(result, RequeueAfter)
    assert 0.7 * 86400 <= result.seconds <= 0.8 * 86400


async def test_an_answer_that_is_a_second_off_the_tokens_own_expiry_needs_no_repair(world: World) -> None:
    """The API server looks at its clock once for the token and once for the answer."""
    world.rounding = timedelta(seconds=1)
    reconciler = _reconciler(world)
    await reconciler(ONE)
    await reconciler(ONE)
    assert world.writes == ["account", "token", "secret", "status"]


async def test_a_rotation_costs_three_requests_and_comes_at_its_time(world: World) -> None:
    reconciler = _reconciler(world)
    await _live(world, reconciler, 86400 * 0.85)
    assert world.writes == ["account", "token", "secret", "status", "token", "patch secret", "status"]


@pytest.mark.parametrize("write", range(4))
async def test_wherever_the_agent_crashes_a_new_one_ends_in_the_same_state(world: World, write: int) -> None:
    world.crash_at = write
    with contextlib.suppress(ApiError):
        await _reconciler(world)(ONE)
    world.error = None
    await _reconciler(world)(ONE)
    await anyio.sleep(400)
    await _reconciler(world)(ONE)
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    assert {condition.type: condition.status for condition in identity.status.conditions} == {
        "Ready": "True",
        "TokenReported": "True",
        "SecretCreated": "True",
    }
    assert world.writes.count("account") == 1
    assert len(world.credentials) == 1


async def test_clocks_that_are_far_apart_lead_to_no_storm_of_tokens(world: World) -> None:
    """The managed cluster's clock is two days behind and nobody noticed: each new token seems expired at once."""
    world.skew = -timedelta(days=2)
    await _live(world, _reconciler(world), 3600)
    assert world.writes.count("token") == 1
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    assert "ClockSkew" in {condition.reason for condition in identity.status.conditions}


async def test_an_hour_of_skew_either_way_costs_no_token_more(now: Callable[[], datetime]) -> None:
    for hours in (-1, 1):
        world = World(now, skew=timedelta(hours=hours))
        StoreWriter(world.identities).put(builders.identity())
        await _live(world, _reconciler(world), 86400 * 0.6)
        assert world.writes.count("token") == 1


async def test_an_unreachable_cluster_is_asked_less_and_less_and_reported_once(world: World) -> None:
    class Down(World):
        async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
            asked.append(anyio.current_time())
            raise Network("down")

    asked: list[float] = []
    down = Down(world.now)
    StoreWriter(down.identities).put(builders.identity())
    await _live(down, _reconciler(down), 3600)
    assert 8 < len(asked) < 80
    assert down.writes == ["status"]


async def test_an_ephemeral_identity_is_deleted_at_its_time_and_never_early(world: World) -> None:
    created = world.now().astimezone(UTC)
    brief = builders.identity()
    spec = replace(brief.spec, ttl_seconds_after_creation=100)
    StoreWriter(world.identities).put(
        replace(
            brief,
            spec=spec,
            metadata=replace(brief.metadata, creation_timestamp=created, resource_version="8"),
        )
    )
    reconciler = _reconciler(world, ephemeral=True)
    await _live(world, reconciler, 99.9)
    assert "delete identity" not in world.writes
    await _live(world, reconciler, 1)
    await reconciler(ONE)
    assert world.writes[-2:] == ["delete identity", "delete account"]
