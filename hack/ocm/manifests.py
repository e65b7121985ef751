"""Objects that a work agent applies on its cluster, and takes away again."""

from contextlib import suppress
from typing import Final

import anyio
from attrs import field, frozen

from hack.ocm.api import Api, Body, Discovery
from msa.runtime.errors import ApiError, Conflict

MANAGER: Final = "work-agent"
_ORDER: Final = (
    {"PriorityClass", "Namespace", "CustomResourceDefinition", "StorageClass", "PersistentVolume"},
    {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
    {"NetworkPolicy", "ResourceQuota", "LimitRange", "PodDisruptionBudget", "ServiceAccount"},
    {"Secret", "ConfigMap", "PersistentVolumeClaim"},
    {"Service"},
)
"""OCM's: what others need comes first. Whatever is not named comes last."""

_PAUSES: Final = (0.01, 0.05, 0.25)
"""Seconds between attempts that somebody else's writes made fail: client-go's DefaultBackoff."""


@frozen
class Applied:
    """What became of one manifest.

    Attributes:
        meta: the entry's resourceMeta.
        problem: "" where it was applied.
        object: as the server has it now.
    """

    meta: Body
    problem: str
    object: Body


@frozen
class Manifests:
    """Objects of one cluster."""

    api: Api
    discovery: Discovery = field(init=False)

    @discovery.default
    def _discovery(self) -> Discovery:
        return Discovery(self.api)

    async def apply(self, manifests: list[Body], option: Body, owner: Body) -> list[Applied]:
        """Applies all, in OCM's order; the answers are in the list's own order.

        Args:
            manifests: the objects.
            option: the work's deleteOption: what it says is to be left behind gets no owner.
            owner: the reference that the others get.
        """
        ordered = sorted(enumerate(manifests), key=lambda item: _rank(item[1]))
        applied = {number: await self._apply_one(number, item, option, owner) for number, item in ordered}
        return [applied[number] for number in sorted(applied)]

    async def _apply_one(self, ordinal: int, manifest: Body, option: Body, owner: Body) -> Applied:
        group, _, version = manifest["apiVersion"].rpartition("/")
        meta: Body = {"ordinal": ordinal, "group": group, "version": version, "kind": manifest["kind"]}
        meta["name"] = manifest["metadata"]["name"]
        try:
            resource, namespaced = await self.discovery.find(manifest["apiVersion"], manifest["kind"])
            namespace = manifest["metadata"].get("namespace", "") if namespaced else ""
            meta |= {"resource": resource.plural, "namespace": namespace}
            return Applied(meta, "", await self._applied(meta, manifest, owner, wanted=owned(meta, option)))
        except (LookupError, ApiError) as error:
            return Applied(meta, str(error), {})

    async def _applied(self, meta: Body, manifest: Body, owner: Body, *, wanted: bool) -> Body:
        """Again where somebody else writes it at the same time, as the work agent does, which reports no such conflict."""
        for pause in _PAUSES:
            with suppress(Conflict):
                return await self._apply_once(meta, manifest, owner, wanted=wanted)
            await anyio.sleep(pause)
        return await self._apply_once(meta, manifest, owner, wanted=wanted)

    async def _apply_once(self, meta: Body, manifest: Body, owner: Body, *, wanted: bool) -> Body:
        applied = await self.api.apply(path_of(meta), manifest, MANAGER)
        return await self._own(meta, applied, owner, wanted=wanted)

    async def _own(self, meta: Body, stored: Body, owner: Body, *, wanted: bool) -> Body:
        """Adds the owner to those that the object has, or takes it away: several works may own one object."""
        owners = stored["metadata"].get("ownerReferences", [])
        others = [reference for reference in owners if reference["uid"] != owner["uid"]]
        if (len(others) < len(owners)) == wanted:
            return stored
        return await self._set_owners(meta, stored, [*others, owner] if wanted else others)

    async def _set_owners(self, meta: Body, stored: Body, owners: list[Body]) -> Body:
        version = stored["metadata"]["resourceVersion"]
        changes = {"metadata": {"resourceVersion": version, "ownerReferences": owners}}
        return await self.api.merge(path_of(meta), changes)

    async def remove(self, resources: list[Body], owner: Body) -> list[Body]:
        """Deletes what of these is still that very object and has this owner; those that are still there.

        What another work owns, too, merely loses this owner.
        """
        left = []
        for resource in resources:
            stored = await self.api.get(path_of(resource))
            if stored is None or stored["metadata"]["uid"] != resource["uid"]:
                continue
            owners = stored["metadata"].get("ownerReferences", [])
            others = [reference for reference in owners if reference["uid"] != owner["uid"]]
            if len(others) == len(owners):
                continue
            if any(reference["kind"] == owner["kind"] for reference in others):
                await self._set_owners(resource, stored, others)
                continue
            left.append(resource)
            if "deletionTimestamp" not in stored["metadata"]:
                await self.api.delete(path_of(resource), uid=resource["uid"])
        return left


def identity(meta: Body) -> tuple[str, str, str, str]:
    """What an entry, a rule or a configuration is about."""
    return meta.get("group", ""), meta.get("resource", ""), meta.get("namespace", ""), meta["name"]


def owned(meta: Body, option: Body) -> bool:
    """Whether the work owns an object, and takes it along."""
    match option.get("propagationPolicy"):
        case "Orphan":
            return False
        case "SelectivelyOrphan":
            rules = option.get("selectivelyOrphans", {}).get("orphaningRules", ())
            return identity(meta) not in {identity(rule) for rule in rules}
        case _:
            return True


def path_of(meta: Body) -> str:
    root = f"/apis/{meta['group']}/{meta['version']}" if meta.get("group") else f"/api/{meta['version']}"
    within = f"/namespaces/{meta['namespace']}" if meta.get("namespace") else ""
    return f"{root}{within}/{meta['resource']}/{meta['name']}"


def _rank(manifest: Body) -> int:
    return next((rank for rank, of_rank in enumerate(_ORDER) if manifest["kind"] in of_rank), len(_ORDER))
