"""The addon leaves the hub in order, within a bound, and whatever the hub answers without an error."""

from typing import Any

import anyio
from attrs import define, field

from msa.api.addon import ManagedClusterAddOn
from msa.api.fleet_identity import FanOutStatus, FleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.hub.leave import Leave
from msa.runtime.errors import ApiError, Forbidden
from msa.runtime.result import Key
from msa.runtime.store import Store, StoreWriter

BOUND = 60.0


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
    """

    garbage_collector: float = 1.0
    manager: float | None = 2.0
    hooks: bool = False
    refusal: ApiError | None = None
    there: bool = True
    tasks: Any = None
    addons: Store[ManagedClusterAddOn] = field(factory=Store)
    identities: Store[FleetIdentity] = field(factory=Store)
    said: list[str] = field(factory=list)

    async def has_applied_hooks(self) -> bool:
        return self.hooks

    async def follow(self) -> None:
        StoreWriter(self.addons).put(
            ManagedClusterAddOn(ObjectMeta(namespace="c1", name="a", resource_version="1"))
        )
        StoreWriter(self.identities).put(_identity("TokenFresh"))

    async def delete_addon(self) -> bool:
        if self.refusal is not None:
            raise self.refusal
        self.tasks.start_soon(self._collect)
        return self.there

    async def _collect(self) -> None:
        await anyio.sleep(self.garbage_collector)
        StoreWriter(self.addons).drop(Key("c1/a"))
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
        "waiting for 0 ManagedClusterAddOns to be deleted and for 1 ManagedServiceAccount to report AddonRemoved",
        "the addon is removed from all clusters, and no ManagedServiceAccount is Ready any more",
    ]
    assert 3.0 <= took <= 6.0, "with the seconds that Events take"


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
