"""What identities hang on at their cluster: two owners, or none."""

from collections.abc import Callable
from datetime import datetime

import anyio
import pytest
from msgspec import Raw
from msgspec.structs import replace

from msa.agent import bodies
from msa.agent.anchor import ConfigMap
from msa.agent.ingest import slim_account
from msa.api import names
from msa.api.core import AccountMeta, ServiceAccount, StoredServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import FieldsEntry, ObjectMeta, OwnerReference
from msa.runtime.result import Key
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

ONE = Key("one")
NEW = ["account", "token", "secret", "status"]


class Anchored(World):
    """A managed cluster whose accounts remember their owners."""

    async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
        account = await super().create_account(identity)
        body = bodies.service_account(identity, self.owner_references)
        return self._keep(account, body.get("metadata", {}).get("ownerReferences", []))

    async def read_account(self, name: str) -> ServiceAccount:
        account = self.accounts.get(f"{builders.NAMESPACE}/{name}")
        assert account is not None
        return account

    async def mark_account(self, account: ServiceAccount, identity: ManagedServiceAccount) -> ServiceAccount:
        self._write("mark account")
        body = bodies.service_account_marks(identity, account, self.owner_references)
        return self._keep(account, body["metadata"]["ownerReferences"])

    @property
    def owner_references(self) -> tuple[OwnerReference, ...]:
        return self.reconciler.anchor.owners

    def _keep(self, account: ServiceAccount, owners: list[OwnerReference]) -> ServiceAccount:
        self.version += 1
        metadata = replace(
            account.metadata, resource_version=str(self.version), owner_references=tuple(owners)
        )
        kept = ServiceAccount(metadata)
        StoreWriter(self.accounts).put(kept)
        return kept

    def _metadata(self, name: str, uid: str) -> ObjectMeta:
        self.version += 1
        return ObjectMeta(
            name=name, namespace=builders.NAMESPACE, uid=uid, resource_version=str(self.version)
        )

    def put_config_map(self, uid: str) -> None:
        """Makes it, or makes it anew."""
        StoreWriter(self.anchors).put(ConfigMap(self._metadata(names.ANCHOR, uid)))

    def put_agent_account(self, uid: str) -> None:
        StoreWriter(self.accounts).put(ServiceAccount(self._metadata(names.AGENT_SERVICE_ACCOUNT, uid)))

    def drop_config_map(self) -> None:
        StoreWriter(self.anchors).drop(Key(f"{builders.NAMESPACE}/{names.ANCHOR}"))

    def drop_account(self, name: str) -> None:
        StoreWriter(self.accounts).drop(Key(f"{builders.NAMESPACE}/{name}"))

    def owners(self, name: str = "one") -> list[str]:
        account = self.accounts.get(f"{builders.NAMESPACE}/{name}")
        return [owner.uid for owner in account.metadata.owner_references] if account is not None else []


@pytest.fixture
def world(now: Callable[[], datetime]) -> Anchored:
    world = Anchored(now)
    StoreWriter(world.identities).put(builders.identity())
    world.reconciler = reconciler_of(world)
    return world


async def test_a_new_account_has_both_owners_at_no_request_more(world: Anchored) -> None:
    world.put_config_map("map")
    world.put_agent_account("account")
    await world.reconciler(ONE)
    assert world.owners() == ["map", "account"]
    assert world.writes == NEW


@pytest.mark.parametrize("there", ["map", "account"])
async def test_while_only_one_owner_was_ever_seen_an_account_has_none(world: Anchored, there: str) -> None:
    """One alone would take it along."""
    if there == "map":
        world.put_config_map("map")
    else:
        world.put_agent_account("account")
    await world.reconciler(ONE)
    await world.reconciler(ONE)
    assert world.owners() == []
    assert world.writes == NEW


@pytest.mark.parametrize("there", [("account",), ("map",), ()], ids=str)
async def test_an_agent_that_starts_while_an_owner_is_missing_knows_it_from_the_accounts_that_hang_on_it(
    world: Anchored, there: tuple[str, ...]
) -> None:
    """The addon may be on its way out: an account without owners would stay behind for ever."""
    held = OwnerReference("v1", "ConfigMap", names.ANCHOR, "map")
    other = OwnerReference("v1", "ServiceAccount", names.AGENT_SERVICE_ACCOUNT, "account")
    before = ServiceAccount(replace(builders.account("older").metadata, owner_references=(held, other)))
    StoreWriter(world.accounts).replace([before], "20")
    world.version = 30
    if "map" in there:
        world.put_config_map("map")
    if "account" in there:
        world.put_agent_account("account")
    await world.reconciler(ONE)
    assert sorted(world.owners()) == (["account", "map"] if there else [])
    assert ("account" in world.writes) == bool(there), "with neither there, the addon is being removed"


async def test_an_account_from_before_is_given_both_in_one_patch_and_keeps_its_token(world: Anchored) -> None:
    """One of the Go addon, or of a version of ours that knew the ConfigMap alone."""
    await world.reconciler(ONE)
    world.put_config_map("map")
    await world.reconciler(ONE)
    assert world.writes == NEW
    world.put_agent_account("account")
    await world.reconciler(ONE)
    await world.reconciler(ONE)
    assert world.owners() == ["map", "account"]
    assert world.writes[4:] == ["mark account"]
    assert not [entry for entry in world.observed if entry[0] == "repaired"], "it is adopted, not repaired"


@pytest.mark.parametrize("anew", ["map", "account"])
async def test_an_owner_that_was_created_anew_is_followed(world: Anchored, anew: str) -> None:
    world.put_config_map("map")
    world.put_agent_account("account")
    await world.reconciler(ONE)
    if anew == "map":
        world.put_config_map("second")
    else:
        world.put_agent_account("second")
    await world.reconciler(ONE)
    assert "second" in world.owners()
    assert len(world.owners()) == 2
    assert world.writes[4:] == ["mark account"]


@pytest.mark.parametrize("gone", ["map", "account"])
async def test_without_one_of_the_owners_work_goes_on_and_nothing_is_patched(
    world: Anchored, gone: str
) -> None:
    """The garbage collector keeps an account for the other one. A new one gets both, as they were, and so shares the fate of the rest."""
    world.put_config_map("map")
    world.put_agent_account("account")
    await world.reconciler(ONE)
    if gone == "map":
        world.drop_config_map()
    else:
        world.drop_account(names.AGENT_SERVICE_ACCOUNT)
    await world.reconciler(ONE)
    assert world.writes == NEW
    StoreWriter(world.identities).put(builders.identity("two", uid="two"))
    await world.reconciler(Key("two"))
    assert world.owners("two") == ["map", "account"]
    assert world.writes[4:] == NEW


async def test_nothing_is_created_any_more_once_both_owners_are_gone(world: Anchored) -> None:
    world.put_config_map("map")
    world.put_agent_account("account")
    await world.reconciler(ONE)
    world.drop_config_map()
    world.drop_account(names.AGENT_SERVICE_ACCOUNT)
    world.drop_account("one")
    for _ in range(3):
        await world.reconciler(ONE)
        await anyio.sleep(100)
    assert world.writes == [*NEW, "status"], "the second status says why"
    assert world.observed[-1] == ("refused", "AddonRemoved", True)
    world.put_config_map("second")
    await anyio.sleep(100)
    await world.reconciler(ONE)
    assert "account" in world.writes[5:]


def test_what_is_kept_of_an_account_is_what_it_is_judged_by() -> None:
    owner = OwnerReference("work.open-cluster-management.io/v1", "AppliedManifestWork", "w", "uid")
    account = builders.account()
    applied = FieldsEntry("installer", "Apply", fields=Raw(b'{"f:metadata":{"f:labels":{"f:app":{}}}}'))
    metadata = AccountMeta(
        name="one",
        managed_fields=(FieldsEntry("kubectl", "Update"), applied),
        owner_references=(owner,),
        annotations={"noise": "x", "meta.helm.sh/release-name": "r", names.ANNOTATION_OWNER_UID: "msa-uid"},
        labels={**(account.metadata.labels or {}), "app.kubernetes.io/managed-by": "Helm", "noise": "x"},
    )
    slim = slim_account(StoredServiceAccount(metadata))
    kept = slim.metadata
    assert slim.appliers == ("installer",)
    assert type(kept) is ObjectMeta, "of managedFields nothing is kept"
    assert kept.owner_references == (owner,)
    assert kept.labels == {names.LABEL_MANAGED: "true", "app.kubernetes.io/managed-by": "Helm"}
    assert kept.annotations == {"meta.helm.sh/release-name": "r"}
    unlabelled = slim_account(StoredServiceAccount(replace(metadata, labels=None))).metadata
    assert unlabelled.annotation(names.ANNOTATION_OWNER_UID) == "msa-uid"
