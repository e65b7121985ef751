"""`hub.ports.Hub` over the hub's API server: one request a method."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from msa.api.addon import ClusterManagementAddOn, ManagedClusterAddOn
from msa.api.certificates import APPROVED, SigningRequest
from msa.api.durations import rfc3339
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body
from msa.hub.objects import Objects, Written, delete
from msa.hub.ports import Kind
from msa.runtime.ports import Now


@frozen
class HubWrites:
    """Writes in the clusters' namespaces, and the statuses of OCM's objects."""

    objects: Mapping[Kind, Objects]
    addons: Objects
    fleet: Objects
    requests: Objects
    now: Now

    async def create(self, kind: Kind, body: Body) -> str:
        namespace = body["metadata"]["namespace"]
        written = await self.objects[kind].within(namespace).create(body, into=Written)
        return written.metadata.resource_version

    async def rewrite(self, kind: Kind, stored: ObjectMeta, body: Body) -> str:
        resource = self.objects[kind].within(stored.namespace)
        written = await resource.json_patch(stored.name, _replacing(stored, body), into=Written)
        return written.metadata.resource_version

    async def delete(self, kind: Kind, stored: ObjectMeta) -> bool:
        return await delete(self.objects[kind], stored)

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


def _replacing(stored: ObjectMeta, body: Body) -> list[dict[str, Any]]:
    """A JSON patch that puts our parts in whole: of lists and maps in them nothing of before is left, as a merge patch would leave it.

    To put in the version that was read makes the server answer with Conflict where that is not the newest.
    """
    metadata = body["metadata"]
    parts = {
        "/metadata/resourceVersion": stored.resource_version,
        "/metadata/labels": {**(stored.labels or {}), **metadata.get("labels", {})},
        "/metadata/annotations": {**(stored.annotations or {}), **metadata.get("annotations", {})},
        "/metadata/ownerReferences": metadata["ownerReferences"],
        **{f"/{name}": part for name, part in body.items() if name not in ("apiVersion", "kind", "metadata")},
    }
    return [{"op": "add", "path": path, "value": value} for path, value in parts.items()]
