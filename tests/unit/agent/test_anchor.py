"""What identities go with on their cluster."""

from collections.abc import Callable
from datetime import datetime

import anyio
import pytest
from msgspec.structs import replace

from msa.agent import bodies
from msa.agent.anchor import Anchor, ConfigMap
from msa.agent.ingest import slim_account
from msa.api import names
from msa.api.core import ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import ObjectMeta, OwnerReference
from msa.runtime.result import Key
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

ONE = Key("one")
FOREIGN = OwnerReference("v1", "Pod", "somebody", "pod-uid", controller=True)


class Anchored(World):
    """A managed cluster whose accounts remember their owners."""

    async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
        account = await super().create_account(identity)
        body = bodies.service_account(identity, self.reference)
        return self._keep(account, body.get("metadata", {}).get("ownerReferences", []))

    async def read_account(self, name: str) -> ServiceAccount:
        account = self.accounts.get(f"{builders.NAMESPACE}/{name}")
        assert account is not None
        return account

    async def mark_account(self, account: ServiceAccount, identity: ManagedServiceAccount) -> ServiceAccount:
        self._write("mark account")
        body = bodies.service_account_marks(identity, account, self.reference)
        return self._keep(account, body["metadata"]["ownerReferences"])

    @property
    def reference(self) -> OwnerReference | None:
        return Anchor(self.anchors, builders.NAMESPACE).reference

    def _keep(self, account: ServiceAccount, owners: list[OwnerReference]) -> ServiceAccount:
        self.version += 1
        metadata = replace(
            account.metadata, resource_version=str(self.version), owner_references=tuple(owners)
        )
        kept = ServiceAccount(metadata)
        StoreWriter(self.accounts).put(kept)
        return kept

    def drop_anchor(self, uid: str) -> None:
        """Makes it, or makes it anew."""
        self.version += 1
        metadata = ObjectMeta(
            name=names.ANCHOR, namespace=builders.NAMESPACE, uid=uid, resource_version=str(self.version)
        )
        StoreWriter(self.anchors).put(ConfigMap(metadata))

    def lift_anchor(self) -> None:
        StoreWriter(self.anchors).drop(Key(f"{builders.NAMESPACE}/{names.ANCHOR}"))

    def owners(self) -> list[str]:
        account = self.accounts.get(f"{builders.NAMESPACE}/one")
        return [owner.uid for owner in account.metadata.owner_references] if account is not None else []


@pytest.fixture
def world(now: Callable[[], datetime]) -> Anchored:
    world = Anchored(now)
    StoreWriter(world.identities).put(builders.identity())
    return world


async def test_a_new_account_belongs_to_the_anchor_at_no_request_more(world: Anchored) -> None:
    world.drop_anchor("first")
    await reconciler_of(world)(ONE)
    assert world.owners() == ["first"]
    assert world.writes == ["account", "token", "secret", "status"]


async def test_an_account_from_before_there_was_one_is_given_to_it_once_and_keeps_its_token(
    world: Anchored,
) -> None:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    assert world.owners() == []
    world.drop_anchor("first")
    await reconciler(ONE)
    await reconciler(ONE)
    assert world.owners() == ["first"]
    assert world.writes[4:] == ["mark account"]


async def test_an_anchor_made_anew_is_followed_since_an_owner_that_is_not_there_means_deletion(
    world: Anchored,
) -> None:
    world.drop_anchor("first")
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    world.drop_anchor("second")
    await reconciler(ONE)
    assert world.owners() == ["second"]


async def test_nothing_is_made_any_more_once_the_anchor_is_lifted(world: Anchored) -> None:
    world.drop_anchor("first")
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    world.lift_anchor()
    StoreWriter(world.accounts).drop(Key(f"{builders.NAMESPACE}/one"))
    for _ in range(3):
        await reconciler(ONE)
        await anyio.sleep(100)
    assert world.writes == ["account", "token", "secret", "status", "status"], "the second status says why"
    assert world.observed[-1] == ("refused", "AddonRemoved", True)
    world.drop_anchor("second")
    await anyio.sleep(100)
    await reconciler(ONE)
    assert world.owners() == ["second"]


def test_owners_of_an_account_that_was_handed_over_stay() -> None:
    account = builders.account()
    handed_over = ServiceAccount(replace(account.metadata, owner_references=(FOREIGN,)))
    body = bodies.service_account_marks(
        builders.identity(), handed_over, OwnerReference("v1", "ConfigMap", names.ANCHOR, "first")
    )
    assert body["metadata"]["ownerReferences"] == [
        FOREIGN,
        OwnerReference("v1", "ConfigMap", names.ANCHOR, "first"),
    ]


def test_of_an_accounts_owners_only_the_anchor_is_kept_in_memory() -> None:
    anchor = OwnerReference("v1", "ConfigMap", names.ANCHOR, "first")
    account = builders.account()
    kept = slim_account(ServiceAccount(replace(account.metadata, owner_references=(FOREIGN, anchor))))
    assert kept.metadata.owner_references == (anchor,)
