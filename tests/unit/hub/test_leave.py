"""The addon leaves the hub in order, within a bound, and whatever the hub answers without an error."""

from typing import Any

import anyio
from attrs import define, field

from msa.api import names
from msa.api.addon import ManagedClusterAddOn
from msa.api.fleet_identity import FanOutStatus, FleetIdentity
from msa.api.meta import Condition, ObjectMeta, OwnerReference
from msa.hub.leave import Leave
from msa.runtime.errors import ApiError, Forbidden
from msa.runtime.result import Key
from msa.runtime.store import Store, StoreWriter

BOUND = 60.0
OWNER = OwnerReference(kind="ClusterManagementAddOn", name=names.ADDON, uid="fleet")


def _identity(reason: str, version: int = 1) -> FleetIdentity:
    conditions = (Condition("TokenReported", "True", "TokenReported"), Condition("Ready", "True", reason))
    metadata = ObjectMeta(namespace="c1", name="robot", uid="u", resource_version=str(version))
    return FleetIdentity(metadata, status=FanOutStatus(conditions=conditions))


@define
class Hub:
    """With the addon on one cluster, and one identity there; OCM and the manager take their seconds.

    Attributes:
        garbage_collector: seconds until the ManagedClusterAddOn is gone.
        manager: seconds until Ready says so; None where no manager lives.
        refusal: what it answers to deletions, with `only_there` of ManagedClusterAddOns alone.
    """

    garbage_collector: float = 1.0
    manager: float | None = 2.0
    hooks: bool = False
    refusal: ApiError | None = None
    only_there: bool = False
    there: bool = True
    owner: OwnerReference = OWNER
    clusters: tuple[str, ...] = ("c1",)
    at_once: int = 0
    most: int = 0
    tasks: Any = None
    addons: Store[ManagedClusterAddOn] = field(factory=Store)
    identities: Store[FleetIdentity] = field(factory=Store)
    said: list[str] = field(factory=list)

    async def has_applied_hooks(self) -> bool:
        return self.hooks

    async def follow(self) -> None:
        for cluster in self.clusters:
            metadata = ObjectMeta(
                namespace=cluster, name="a", resource_version="1", owner_references=(self.owner,)
            )
            StoreWriter(self.addons).put(ManagedClusterAddOn(metadata))
        StoreWriter(self.identities).put(_identity("TokenFresh"))

    async def delete_addon(self) -> bool:
        if self.refusal is not None and not self.only_there:
            raise self.refusal
        self.tasks.start_soon(self._collect)
        return self.there

    async def delete_from_cluster(self, addon: ManagedClusterAddOn) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await anyio.sleep(0.01)
        self.at_once -= 1
        if self.refusal is not None:
            raise self.refusal
        StoreWriter(self.addons).drop(Key(f"{addon.metadata.namespace}/a"))

    async def _collect(self) -> None:
        await anyio.sleep(self.garbage_collector)
        for cluster in self.clusters:
            StoreWriter(self.addons).drop(Key(f"{cluster}/a"))
        if self.manager is not None:
            await anyio.sleep(self.manager)
            StoreWriter(self.identities).put(_identity("AddonRemoved", 2))


async def _leave(hub: Hub) -> float:
    """The seconds that it took."""
    start = anyio.current_time()
    async with anyio.create_task_group() as hub.tasks:
        await Leave(hub, hub.addons, hub.identities, hub.said.append)(BOUND)
        hub.tasks.cancel_scope.cancel()
    return anyio.current_time() - start


async def test_it_deletes_the_addon_and_waits_until_the_manager_has_reported() -> None:
    hub = Hub()
    took = await _leave(hub)
    assert hub.said == [
        "deleted ClusterManagementAddOn managed-serviceaccount",
        "waiting for 1 ManagedClusterAddOn to be deleted and for 1 ManagedServiceAccount to report AddonRemoved",
        "the addon is removed from all clusters, and no ManagedServiceAccount is Ready any more",
    ]
    assert 3.0 <= took <= 6.0, "with the seconds that Events take"


async def test_many_clusters_do_not_wait_for_the_garbage_collector_and_are_not_deleted_all_at_once() -> None:
    hub = Hub(garbage_collector=300.0, manager=None, clusters=tuple(f"c{number}" for number in range(100)))
    await _leave(hub)
    assert len(hub.addons) == 0
    assert hub.most == 16


async def test_what_does_not_belong_to_the_clustermanagementaddon_alone_is_left_to_the_garbage_collector() -> (
    None
):
    hub = Hub(owner=OwnerReference(kind="Fleet", name="mine", uid="x"))
    await _leave(hub)
    assert hub.most == 0
    assert "waiting for 1 ManagedClusterAddOn to be deleted" in hub.said[1]
    assert hub.said[-1].startswith("the addon is removed")


async def test_where_it_may_not_delete_them_it_waits_for_the_garbage_collector() -> None:
    hub = Hub(refusal=Forbidden("no right", code=403), only_there=True)
    await _leave(hub)
    assert hub.said[-1].startswith("the addon is removed")


async def test_progress_is_told_every_five_seconds_at_most() -> None:
    hub = Hub(owner=OwnerReference(), garbage_collector=2.0, manager=20.0)
    await _leave(hub)
    assert [line.split(" to ")[0] for line in hub.said if line.startswith("waiting")] == [
        "waiting for 1 ManagedClusterAddOn",
        "waiting for 0 ManagedClusterAddOns",
    ]


async def test_without_a_manager_it_ends_when_the_time_is_over_and_says_what_is_left() -> None:
    hub = Hub(manager=None)
    assert await _leave(hub) == BOUND
    assert hub.said[-2] == "not finished after 60 s; the removal goes on"
    assert hub.said[-1].startswith("Ready does not report AddonRemoved in c1/robot")


async def test_a_deleted_addon_is_no_reason_not_to_wait_for_the_report() -> None:
    hub = Hub(there=False)
    await _leave(hub)
    assert hub.said[0] == "ClusterManagementAddOn managed-serviceaccount was deleted already"
    assert hub.said[-1].startswith("the addon is removed")


async def test_where_the_hub_refuses_it_says_so_and_ends() -> None:
    hub = Hub(refusal=Forbidden("no right to delete", code=403))
    assert await _leave(hub) < 1.0
    assert hub.said == ["gave up: the hub refuses: Forbidden: no right to delete"]


async def test_hooks_that_were_applied_without_helm_delete_nothing() -> None:
    """As by `helm template | kubectl apply`: all tokens of the fleet would be dead."""
    hub = Hub(hooks=True, refusal=Forbidden("must not be asked"))
    await _leave(hub)
    (line,) = hub.said
    assert line.startswith("nothing was deleted: ")
    assert "helm template --no-hooks" in line


async def test_events_do_not_make_it_last_longer_than_it_may() -> None:
    hub = Hub(manager=BOUND - 2.0)
    assert await _leave(hub) == BOUND
    assert hub.said[-1].startswith("the addon is removed")
