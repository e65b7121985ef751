"""`hub.ports.Hub` over the hub's API server: one request a method."""

from collections.abc import Callable, Mapping

from attrs import frozen

from msa.api.addon import ClusterManagementAddOn, ManagedClusterAddOn, StoredClusterAddOn
from msa.api.certificates import APPROVED, SigningRequest
from msa.api.durations import rfc3339
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body
from msa.hub.ingest import whole_addon
from msa.hub.objects import Objects, Written, create, delete, rewrite
from msa.hub.ports import Kind
from msa.runtime.ports import ListWatch, Now


@frozen
class HubWrites:
    """Writes in the clusters' namespaces, and the statuses of OCM's objects.

    Attributes:
        listed_addons: ours in one namespace, to be listed: of these the manager may get none.
    """

    objects: Mapping[Kind, Objects]
    addons: Objects
    fleet: Objects
    requests: Objects
    listed_addons: Callable[[str], ListWatch[StoredClusterAddOn]]
    now: Now

    async def create(self, kind: Kind, body: Body) -> str:
        return await create(self.objects[kind], body)

    async def rewrite(self, kind: Kind, stored: ObjectMeta, body: Body) -> str:
        return await rewrite(self.objects[kind], stored, body)

    async def delete(self, kind: Kind, stored: ObjectMeta) -> bool:
        return await delete(self.objects[kind], stored)

    async def whole_addon(self, addon: ManagedClusterAddOn) -> ManagedClusterAddOn | None:
        page = await self.listed_addons(addon.metadata.namespace).list(limit=1)
        return whole_addon(page.items[0]) if page.items else None

    async def patch_addon_status(self, addon: ManagedClusterAddOn, changes: Body) -> str:
        return await _patch_status(self.addons.within(addon.metadata.namespace), addon.metadata, changes)

    async def patch_fleet_status(self, fleet: ClusterManagementAddOn, changes: Body) -> str:
        return await _patch_status(self.fleet, fleet.metadata, changes)

    async def approve(self, request: SigningRequest) -> None:
        moment = rfc3339(self.now())
        condition = {
            "type": APPROVED,
            "status": "True",
            "reason": "AutoApproved",
            "message": "every field is what the addon's agent on this cluster may ask for",
            "lastUpdateTime": moment,
            "lastTransitionTime": moment,
        }
        body = {
            "metadata": {"resourceVersion": request.metadata.resource_version},
            "status": {"conditions": [condition]},
        }
        await self.requests.patch(request.metadata.name, body, into=Written, subresource="approval")


async def _patch_status(resource: Objects, stored: ObjectMeta, changes: Body) -> str:
    body = {"metadata": {"resourceVersion": stored.resource_version}, "status": changes}
    written = await resource.patch(stored.name, body, into=Written, subresource="status")
    return written.metadata.resource_version
