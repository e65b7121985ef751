"""The predecessor's manager: everything of a cluster as it wants it, at every change of any of it. The key is the cluster's name."""

from attrs import frozen

from hack.ocm import kinds
from hack.ocm.api import Api, Body, Kind, Object
from hack.ocm.conditions import condition, merged, stands
from hack.ocm.loops import Loops
from hack.predecessor import manifests
from msa.api import names
from msa.runtime.errors import AlreadyExists
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Change, Store


@frozen
class AddonManager:
    """One cluster.

    Attributes:
        image: of the agents.
    """

    hub: Api
    addons: Store[Object]
    works: Store[Object]
    image: str

    async def __call__(self, key: Key) -> Result:
        addon = self.addons.get(f"{key}/{names.ADDON}")
        if addon is None or addon.metadata.deletion_timestamp is not None:
            return Done()
        await self._put(kinds.ROLES, manifests.role(addon), ("rules",))
        await self._bind(manifests.role_binding(addon))
        await self._register(addon)
        await self._put(kinds.WORKS, manifests.work(addon, self.image), ("spec",))
        await self._delete_others(key)
        return Done()

    async def _put(self, kind: Kind, body: Body, parts: tuple[str, ...]) -> None:
        """Creates it, or writes the parts that differ."""
        metadata = body["metadata"]
        path = kind.at(metadata["namespace"], metadata["name"])
        stored = await self.hub.get(path)
        if stored is None:
            try:
                await self.hub.create(kind.at(metadata["namespace"]), body)
            except AlreadyExists:
                return
        elif changed := {part: body[part] for part in parts if not _covers(stored.get(part), body[part])}:
            await self.hub.update(path, stored | changed)

    async def _bind(self, body: Body) -> None:
        """What a RoleBinding binds cannot be changed: one of something else is deleted, and made anew."""
        metadata = body["metadata"]
        path = kinds.ROLE_BINDINGS.at(metadata["namespace"], metadata["name"])
        stored = await self.hub.get(path)
        if stored is not None and stored["roleRef"] != body["roleRef"]:
            await self.hub.delete(path)
        await self._put(kinds.ROLE_BINDINGS, body, ("subjects",))

    async def _register(self, addon: Object) -> None:
        before = addon.status.get("conditions", [])
        said = [
            condition("RegistrationApplied", "True", "SetPermissionApplied", "Registration is configured")
        ]
        work = self.works.get(f"{addon.metadata.namespace}/{names.DEPLOY_WORK}")
        if work is not None and stands(work.status.get("conditions", ()), "Applied"):
            said.append(condition("ManifestApplied", "True", "AddonManifestApplied", "manifests are applied"))
        status = {
            "conditions": merged(before, said),
            "healthCheck": {"mode": "Lease"},
            "namespace": manifests.namespace_of(addon),
            "registrations": manifests.registrations(addon),
            "supportedConfigs": [{"group": kinds.ADDON_GROUP, "resource": "addondeploymentconfigs"}],
        }
        changed = {name: part for name, part in status.items() if addon.status.get(name) != part}
        path = kinds.addons("v1alpha1").at(addon.metadata.namespace, addon.metadata.name)
        await self.hub.patch_status(path, addon.metadata.resource_version, changed)

    async def _delete_others(self, cluster: str) -> None:
        """Works with OCM's label of the addon that it does not render, as the framework of OCM's addons does."""
        for work in self.works.values():
            metadata = work.metadata
            if (metadata.namespace, metadata.label(kinds.LABEL_ADDON)) != (cluster, names.ADDON):
                continue
            if metadata.name != names.DEPLOY_WORK and metadata.deletion_timestamp is None:
                await self.hub.delete(kinds.WORKS.at(cluster, metadata.name), uid=metadata.uid)


@frozen
class Approver:
    """One signing request of the addon: approved. The key is its name."""

    hub: Api
    requests: Store[Object]

    async def __call__(self, key: Key) -> Result:
        request = self.requests.get(key)
        if request is not None and not request.status.get("conditions"):
            path = f"{kinds.SIGNING_REQUESTS.at('', key)}/approval"
            said = [condition("Approved", "True", "AutoApproved")]
            version = request.metadata.resource_version
            body = {"metadata": {"resourceVersion": version}, "status": {"conditions": said}}
            await self.hub.merge(path, body)
        return Done()


async def run(hub: Api, image: str) -> None:
    """Runs for ever."""
    loops = Loops()
    addons = loops.follow(hub, kinds.addons("v1alpha1").selected(name=names.ADDON))
    works = loops.follow(hub, kinds.WORKS.selected())
    roles = loops.follow(hub, kinds.ROLES.selected(name=names.AGENT_ROLE))
    bindings = loops.follow(hub, kinds.ROLE_BINDINGS.selected(name=names.AGENT_ROLE))
    requests = loops.follow(hub, kinds.SIGNING_REQUESTS.selected(labels=f"{kinds.LABEL_ADDON}={names.ADDON}"))
    clusters = loops.control(hub, "predecessor", AddonManager(hub, addons.store, works.store, image))
    approvals = loops.control(hub, "predecessor-approval", Approver(hub, requests.store))

    def changed(change: Change[Object]) -> None:
        clusters.add(Key(change.latest.metadata.namespace))

    for informer in (addons, works, roles, bindings):
        informer.subscribe(changed)
    requests.subscribe(lambda change: approvals.add(change.key))
    await loops.run()


def _covers(stored: object, wanted: object) -> bool:
    """Whether what is stored says all that is wanted: API servers add defaults."""
    match wanted:
        case dict():
            return isinstance(stored, dict) and all(
                _covers(stored.get(key), part) for key, part in wanted.items()
            )
        case list():
            return (
                isinstance(stored, list)
                and len(stored) == len(wanted)
                and all(_covers(*pair) for pair in zip(stored, wanted, strict=True))
            )
        case _:
            return stored == wanted
