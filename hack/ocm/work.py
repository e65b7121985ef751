"""A managed cluster's work agent: what the hub's ManifestWorks hold is applied, kept, reported and removed.

What a work has applied stands in its AppliedManifestWork on the managed cluster, which owns all of it but what is to be left behind.
"""

import hashlib

from attrs import frozen

from hack.ocm import kinds
from hack.ocm.api import Api, Body, Object
from hack.ocm.manifests import Applied, Manifests, identity
from hack.ocm.work_status import work_status
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_REMOVAL_SECONDS = 0.2
_RESYNC_SECONDS = 15.0
"""How often applied objects are put right and looked at; Deployments are followed besides."""


@frozen
class WorkAgent:
    """One ManifestWork; the key is its namespace and name."""

    hub: Api
    managed: Api
    works: Store[Object]
    manifests: Manifests

    async def __call__(self, key: Key) -> Result:
        work = self.works.get(key)
        if work is None:
            return Done()
        if work.metadata.deletion_timestamp is not None:
            return await self._remove(work)
        if kinds.WORK_FINALIZER not in work.metadata.finalizers:
            await self._set_finalizers(work, [*work.metadata.finalizers, kinds.WORK_FINALIZER])
            return Done()
        record = await self._record(work)
        listed = work.spec.get("workload", {}).get("manifests", [])
        done = await self.manifests.apply(listed, work.spec.get("deleteOption", {}), _owner(record))
        left = await self._keep_record(record, done)
        status = work_status(work, done)
        if status != work.status:
            await self.hub.patch_status(_path(work), work.metadata.resource_version, status)
        return RequeueAfter(_REMOVAL_SECONDS if left else _RESYNC_SECONDS)

    async def _record(self, work: Object) -> Body:
        """The AppliedManifestWork, made where there is none."""
        hub = hashlib.sha256(self.hub.transport.credential.server.encode()).hexdigest()
        name = f"{hub}-{work.metadata.name}"
        if (stored := await self.managed.get(kinds.APPLIED_WORKS.at("", name))) is not None:
            return stored
        body: Body = {
            "apiVersion": f"{kinds.APPLIED_WORKS.group}/{kinds.APPLIED_WORKS.version}",
            "kind": "AppliedManifestWork",
            "metadata": {"name": name},
            "spec": {"hubHash": hub, "manifestWorkName": work.metadata.name},
        }
        return await self.managed.create(kinds.APPLIED_WORKS.at(""), body)

    async def _keep_record(self, record: Body, done: list[Applied]) -> list[Body]:
        """What is not in the list any more goes: whatever of that is still there. What could not be applied is kept as it is."""
        before = _resources(record)
        now = [_resource(item) for item in done if not item.problem]
        listed = {identity(item.meta) for item in done}
        known = {identity(resource) for resource in now}
        failed = [item for item in before if identity(item) in listed and identity(item) not in known]
        dropped = [item for item in before if identity(item) not in listed]
        left = await self.manifests.remove(dropped, _owner(record))
        if (resources := [*now, *failed, *left]) != before:
            path = kinds.APPLIED_WORKS.at("", record["metadata"]["name"])
            await self.managed.merge(f"{path}/status", {"status": {"appliedResources": resources}})
        return left

    async def _remove(self, work: Object) -> Result:
        if kinds.WORK_FINALIZER not in work.metadata.finalizers:
            return Done()
        record = await self._record(work)
        if await self.manifests.remove(_resources(record)[::-1], _owner(record)):
            return RequeueAfter(_REMOVAL_SECONDS)
        await self.managed.delete(kinds.APPLIED_WORKS.at("", record["metadata"]["name"]))
        rest = [item for item in work.metadata.finalizers if item != kinds.WORK_FINALIZER]
        await self._set_finalizers(work, rest)
        return Done()

    async def _set_finalizers(self, work: Object, finalizers: list[str]) -> None:
        metadata = {"resourceVersion": work.metadata.resource_version, "finalizers": finalizers}
        await self.hub.merge(_path(work), {"metadata": metadata})


def _path(work: Object) -> str:
    return kinds.WORKS.at(work.metadata.namespace, work.metadata.name)


def _owner(record: Body) -> Body:
    return {
        "apiVersion": f"{kinds.APPLIED_WORKS.group}/{kinds.APPLIED_WORKS.version}",
        "kind": "AppliedManifestWork",
        "name": record["metadata"]["name"],
        "uid": record["metadata"]["uid"],
    }


def _resources(record: Body) -> list[Body]:
    return list(record.get("status", {}).get("appliedResources", ()))


def _resource(done: Applied) -> Body:
    kept = {key: done.meta[key] for key in ("group", "version", "resource", "namespace", "name")}
    return kept | {"uid": done.object["metadata"]["uid"]}
