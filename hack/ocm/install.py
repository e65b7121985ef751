"""OCM on the hub, as far as the addon meets it: admission of clusters, install strategy, configurations, and the end of a cluster."""

from attrs import define
from msgspec import to_builtins

from hack.ocm import configs, kinds
from hack.ocm.admission import Admission
from hack.ocm.api import Api, Body, Kind, Object
from hack.ocm.conditions import condition, merged
from hack.ocm.loops import Loops
from hack.ocm.tokens import TokenInfrastructure
from msa.api import names
from msa.kube.discovery import served
from msa.runtime.errors import AlreadyExists
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Change, Store

_CLEANUP_SECONDS = 0.2
"""OCM looks every 5 s."""


async def served_version(api: Api) -> str:
    """Of OCM's addon API, the newest that the hub serves."""
    plurals = await served(api.transport, kinds.ADDON_GROUP, "v1beta1")
    return "v1beta1" if "managedclusteraddons" in plurals else "v1alpha1"


async def run(api: Api) -> None:
    """Runs for ever."""
    version, loops = await served_version(api), Loops()
    addons, fleet = kinds.addons(version), kinds.fleet_addons(version)
    seen_clusters = loops.follow(api, kinds.CLUSTERS.selected())
    seen_addons = loops.follow(api, addons.selected(name=names.ADDON))
    seen_fleet = loops.follow(api, fleet.selected(name=names.ADDON))
    stores = _Stores(seen_clusters.store, seen_addons.store, seen_fleet.store)
    clusters = loops.control(api, "cluster", _Clusters(api, version, addons, stores, Admission(api)), 8)
    fleets = loops.control(api, "fleet", _Fleet(api, version, fleet, stores))

    def fleet_changed(_change: Change[Object]) -> None:
        fleets.add(Key(names.ADDON))
        for cluster in stores.clusters.keys():  # noqa: SIM118 - a Store is no dict
            clusters.add(cluster)

    seen_clusters.subscribe(lambda change: clusters.add(change.key))
    seen_addons.subscribe(lambda change: _add_namespace(clusters, change))
    seen_fleet.subscribe(fleet_changed)
    await loops.run()


def _add_namespace(clusters: WorkQueue, change: Change[Object]) -> None:
    clusters.add(Key(change.latest.metadata.namespace))


@define
class _Stores:
    clusters: Store[Object]
    addons: Store[Object]
    fleet: Store[Object]


@define
class _Fleet:
    """OCM's part of the ClusterManagementAddOn's status."""

    api: Api
    version: str
    kind: Kind
    stores: _Stores

    async def __call__(self, key: Key) -> Result:
        addon = self.stores.fleet.get(key)
        if addon is None or addon.metadata.deletion_timestamp is not None:
            return Done()
        wanted = configs.fleet_status(addon.spec, addon.status, self.version)
        changes = {name: part for name, part in wanted.items() if part != addon.status.get(name, [])}
        await self.api.patch_status(
            self.kind.at("", addon.metadata.name), addon.metadata.resource_version, changes
        )
        return Done()


@define
class _Clusters:
    """One managed cluster and the addon there; the key is the cluster's name."""

    api: Api
    version: str
    addons: Kind
    stores: _Stores
    admission: Admission

    async def __call__(self, key: Key) -> Result:
        cluster, addon = self.stores.clusters.get(key), self.stores.addons.get(f"{key}/{names.ADDON}")
        fleet = self.stores.fleet.get(names.ADDON)
        if cluster is None:
            return Done()
        if cluster.metadata.deletion_timestamp is not None:
            return await self._remove(cluster)
        if not cluster.spec.get("hubAcceptsClient"):
            return Done()
        await self._accept(cluster)
        if addon is None and _installs(fleet):
            await self._install(key, fleet)
        elif addon is not None and fleet is not None and addon.metadata.deletion_timestamp is None:
            if all(owner.uid != fleet.metadata.uid for owner in addon.metadata.owner_references):
                return await self._own(addon, fleet)
            await self._configure(addon, fleet)
            await TokenInfrastructure(self.api, self.addons, self.version).ensure(addon)
        return Done()

    async def _accept(self, cluster: Object) -> None:
        metadata = cluster.metadata
        if kinds.CLUSTER_FINALIZER not in metadata.finalizers:
            await self._set_finalizers(cluster, [*metadata.finalizers, kinds.CLUSTER_FINALIZER])
        await self.admission.admit(metadata.name)

    async def _install(self, cluster: str, fleet: Object | None) -> None:
        if fleet is None:
            return
        owner = _owner(fleet, self.version)
        body: Body = {
            "apiVersion": f"{kinds.ADDON_GROUP}/{self.version}",
            "kind": "ManagedClusterAddOn",
            "metadata": {"name": names.ADDON, "namespace": cluster, "ownerReferences": [owner]},
            "spec": {},
        }
        try:
            await self.api.create(self.addons.at(cluster), body)
        except AlreadyExists:
            return  # the cache is behind

    async def _own(self, addon: Object, fleet: Object) -> Result:
        """Whoever made it, it goes with the ClusterManagementAddOn."""
        metadata, owner = addon.metadata, _owner(fleet, self.version)
        others = [to_builtins(item) for item in metadata.owner_references if item.kind != owner["kind"]]
        changes = {"resourceVersion": metadata.resource_version, "ownerReferences": [*others, owner]}
        await self.api.merge(self.addons.at(metadata.namespace, metadata.name), {"metadata": changes})
        return Done()

    async def _configure(self, addon: Object, fleet: Object) -> None:
        references = configs.cluster_references(addon.spec, addon.status, fleet.status, self.version)
        said = condition("Configured", "True", "ConfigurationsConfigured", "Configurations configured")
        wanted: Body = {
            "configReferences": references,
            "conditions": merged(addon.status.get("conditions", []), [said]),
        }
        changes = {name: part for name, part in wanted.items() if part != addon.status.get(name, [])}
        path = self.addons.at(addon.metadata.namespace, addon.metadata.name)
        await self.api.patch_status(path, addon.metadata.resource_version, changes)

    async def _remove(self, cluster: Object) -> Result:
        """First the addons, then the ManifestWorks, then the cluster's rights: each when nothing is left of the one before."""
        name = cluster.metadata.name
        if kinds.CLUSTER_FINALIZER not in cluster.metadata.finalizers:
            return Done()
        for kind in (self.addons, kinds.WORKS):
            if await self._delete_all(kind, name):
                return RequeueAfter(_CLEANUP_SECONDS)
        await self.admission.dismiss(name)
        rest = [item for item in cluster.metadata.finalizers if item != kinds.CLUSTER_FINALIZER]
        await self._set_finalizers(cluster, rest)
        return Done()

    async def _delete_all(self, kind: Kind, namespace: str) -> bool:
        """Whether there were any left."""
        found = (await self.api.get(kind.at(namespace)) or {}).get("items", [])
        for metadata in (item["metadata"] for item in found):
            if "deletionTimestamp" not in metadata:
                await self.api.delete(kind.at(namespace, metadata["name"]))
        return bool(found)

    async def _set_finalizers(self, cluster: Object, finalizers: list[str]) -> None:
        version = cluster.metadata.resource_version
        body = {"metadata": {"resourceVersion": version, "finalizers": finalizers}}
        await self.api.merge(kinds.CLUSTERS.at("", cluster.metadata.name), body)


def _owner(fleet: Object, version: str) -> Body:
    return {
        "apiVersion": f"{kinds.ADDON_GROUP}/{version}",
        "kind": "ClusterManagementAddOn",
        "name": fleet.metadata.name,
        "uid": fleet.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _installs(fleet: Object | None) -> bool:
    return (
        fleet is not None
        and fleet.metadata.deletion_timestamp is None
        and fleet.spec.get("installStrategy", {}).get("type") == "Placements"
    )
