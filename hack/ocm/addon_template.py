"""OCM's addon manager for an addon that it deploys by itself, from an AddOnTemplate: its registration, rights, ManifestWork and health.

It runs as the ServiceAccount of OCM's manager with OCM's rights: what else it needs, it must be granted. What it makes has the
ManagedClusterAddOn as its owner, and goes with it.
"""

import hashlib
from typing import Any, Final

import msgspec
from attrs import define, frozen

from hack.ocm import kinds, template_status
from hack.ocm.api import Api, Body, Object
from hack.ocm.conditions import condition, merged, stands
from hack.ocm.configs import Named, default_configs
from hack.ocm.install import served_version
from hack.ocm.loops import Loops
from hack.ocm.registrations import default_subject, requested, subjects
from hack.ocm.template_approval import Approvals
from hack.ocm.template_objects import Target, deployments, render
from msa.api import names
from msa.runtime.errors import AlreadyExists, ApiError
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Change, Store

_BINDING: Final = f"open-cluster-management:{names.ADDON}:clusterrole:agent"
_MANAGER: Final = "addon-manager"
_REGISTRIES: Final = "open-cluster-management.io/image-registries"
_HASHES: Final = "open-cluster-management.io/config-spec-hash"
_APPLIED: Final = "RegistrationApplied"
_RETRY_SECONDS: Final = 1.0


async def run(api: Api) -> None:
    """Runs for ever."""
    version, loops = await served_version(api), Loops()
    mine = f"{kinds.LABEL_ADDON}={names.ADDON}"
    clusters = loops.follow(api, kinds.CLUSTERS.selected())
    addons = loops.follow(api, kinds.addons(version).selected(name=names.ADDON))
    fleet = loops.follow(api, kinds.fleet_addons(version).selected(name=names.ADDON))
    templates = loops.follow(api, kinds.TEMPLATES.selected())
    configs = loops.follow(api, kinds.CONFIGS.selected())
    works = loops.follow(api, kinds.WORKS.selected(labels=mine))
    requests = loops.follow(api, kinds.SIGNING_REQUESTS.selected(labels=mine))
    used = Configs(templates.store, configs.store)
    template_addons = TemplateAddons(api, version, clusters.store, addons.store, used)
    deployed = loops.control(api, "template", template_addons)
    hashed = loops.control(api, "hashes", FleetHashes(api, version, fleet.store, used), 1)
    approved = loops.control(api, "approval", Approvals(api, addons.store, requests.store))

    def all_changed(_change: Change[Object]) -> None:
        hashed.add(Key(names.ADDON))
        for cluster in clusters.store.keys():  # noqa: SIM118 - a Store is no dict
            deployed.add(cluster)

    def addon_changed(change: Change[Object]) -> None:
        deployed.add(Key(change.latest.metadata.namespace))
        for request in requests.store.keys():  # noqa: SIM118 - a Store is no dict
            approved.add(request)

    for followed in (fleet, templates, configs):
        followed.subscribe(all_changed)
    clusters.subscribe(lambda change: deployed.add(change.key))
    works.subscribe(lambda change: deployed.add(Key(change.latest.metadata.namespace)))
    requests.subscribe(lambda change: approved.add(change.key))
    addons.subscribe(addon_changed)
    await loops.run()


@frozen
class Configs:
    """What addons are configured by."""

    templates: Store[Object]
    configs: Store[Object]

    def spec(self, references: list[Body], kind: tuple[str, str]) -> Body:
        """Of the first that is referred to, with its hash; {} for none."""
        for item in references:
            named = Named.of(item, item.get("desiredConfig", {}))
            if named.kind == kind and item["desiredConfig"].get("specHash"):
                return self._spec(named)
        return {}

    def hashed(self, part: Any) -> Any:
        """A copy of a part of a status, each reference in it with the hash of what it refers to."""
        match part:
            case list():
                return [self.hashed(item) for item in part]
            case {"desiredConfig": {"name": _} as desired}:
                spec = msgspec.json.encode(self._spec(Named.of(part, desired)), order="sorted")
                return part | {"desiredConfig": desired | {"specHash": hashlib.sha256(spec).hexdigest()}}
            case dict():
                return {key: self.hashed(value) for key, value in part.items()}
            case _:
                return part

    def _spec(self, named: Named) -> Body:
        store = self.templates if named.kind == kinds.TEMPLATES.resource else self.configs
        found = store.get(f"{named.namespace}/{named.name}" if named.namespace else named.name)
        return found.spec if found is not None else {}


@define
class FleetHashes:
    """The hashes in the status of a ClusterManagementAddOn with a template; the key is its name."""

    api: Api
    version: str
    fleet: Store[Object]
    configs: Configs

    async def __call__(self, key: Key) -> Result:
        addon = self.fleet.get(key)
        if addon is None or kinds.TEMPLATES.resource not in {
            item.kind for item in default_configs(addon.spec)
        }:
            return Done()
        changes = {
            name: wanted
            for name, part in addon.status.items()
            if (wanted := self.configs.hashed(part)) != part
        }
        path = kinds.fleet_addons(self.version).at("", key)
        await self.api.patch_status(path, addon.metadata.resource_version, changes)
        return Done()


@define
class TemplateAddons:
    """One cluster's addon, where it comes from a template; the key is the cluster's name."""

    api: Api
    version: str
    clusters: Store[Object]
    addons: Store[Object]
    configs: Configs

    async def __call__(self, key: Key) -> Result:
        cluster, addon = self.clusters.get(key), self.addons.get(f"{key}/{names.ADDON}")
        if cluster is None or addon is None or addon.metadata.deletion_timestamp is not None:
            return Done()
        references = addon.status.get("configReferences", [])
        template = self.configs.spec(references, kinds.TEMPLATES.resource)
        if not template:
            return Done()
        target = Target(
            key,
            msgspec.json.decode(cluster.metadata.annotation(_REGISTRIES) or "{}").get("registries", []),
            self.configs.spec(references, kinds.CONFIGS.resource),
        )
        said = [await self._granted(addon, template)]
        if cluster.metadata.deletion_timestamp is None and stands(addon.status["conditions"], _APPLIED):
            said += template_status.health(await self._deploy(addon, render(template, target)))
        first = deployments(template["agentSpec"]["workload"]["manifests"])[0]
        status: Body = {
            "supportedConfigs": [
                {"group": kinds.ADDON_GROUP, "resource": kind.plural}
                for kind in (kinds.CONFIGS, kinds.TEMPLATES)
            ],
            "namespace": target.namespace or first["metadata"]["namespace"],
            "registrations": requested(addon, default_subject(key), self.version),
            "healthCheck": {"mode": "Customized"},
            "configReferences": self._with_own_hashes(addon),
            "conditions": merged(addon.status["conditions"], said),
        }
        changes = {name: part for name, part in status.items() if part != addon.status.get(name)}
        path = kinds.addons(self.version).at(key, names.ADDON)
        await self.api.patch_status(path, addon.metadata.resource_version, changes)
        return RequeueAfter(_RETRY_SECONDS) if stands(said, _APPLIED, "False") else Done()

    def _with_own_hashes(self, addon: Object) -> list[Body]:
        """The others are copied from the ClusterManagementAddOn."""
        own = {Named.of(item, item) for item in addon.spec.get("configs", ())}
        return [
            self.configs.hashed(item) if Named.of(item, item.get("desiredConfig", {})) in own else item
            for item in addon.status["configReferences"]
        ]

    async def _granted(self, addon: Object, template: Body) -> Body:
        """The condition that says whether the agent has its rights on the hub."""
        who = subjects(addon)
        if not who:
            return condition(_APPLIED, "False", "PermissionConfigPending", "registration subject not ready")
        try:
            for registration in template.get("registration", ()):
                for permission in registration.get("kubeClient", {}).get("hubPermissions", ()):
                    await self._bind(addon, permission["currentCluster"]["clusterRoleName"], who)
        except ApiError as error:
            return condition(
                _APPLIED, "False", "SetPermissionFailed", f"Failed to set permission for hub agent: {error}"
            )
        message = "Registration of the addon agent is configured"
        return condition(_APPLIED, "True", "SetPermissionApplied", message)

    async def _bind(self, addon: Object, role: str, who: list[Body]) -> None:
        """OCM's manager may create and update such, not patch them."""
        namespace = addon.metadata.namespace
        labels = {kinds.LABEL_ADDON: names.ADDON, "open-cluster-management.io/addon-template-name": ""}
        body: Body = {
            "metadata": {"name": _BINDING, "labels": labels, "ownerReferences": [self._owner(addon)]},
            "roleRef": {"apiGroup": kinds.ROLES.group, "kind": "ClusterRole", "name": role},
            "subjects": who,
        }
        try:
            await self.api.create(kinds.ROLE_BINDINGS.at(namespace), body)
        except AlreadyExists:
            await self.api.update(kinds.ROLE_BINDINGS.at(namespace, _BINDING), body)

    async def _deploy(self, addon: Object, objects: list[Body]) -> Body:
        """The ManifestWork as it is after that."""
        owner = self._owner(addon) | {"controller": True, "blockOwnerDeletion": True}
        metadata = {
            "name": names.DEPLOY_WORK,
            "labels": {kinds.LABEL_ADDON: names.ADDON},
            "annotations": {_HASHES: template_status.hashes(addon)},
            "ownerReferences": [owner],
        }
        body: Body = {
            "apiVersion": f"{kinds.WORKS.group}/{kinds.WORKS.version}",
            "kind": "ManifestWork",
            "metadata": metadata,
            "spec": template_status.work_spec(objects),
        }
        return await self.api.apply(
            kinds.WORKS.at(addon.metadata.namespace, names.DEPLOY_WORK), body, _MANAGER
        )

    def _owner(self, addon: Object) -> Body:
        return {
            "apiVersion": f"{kinds.ADDON_GROUP}/{self.version}",
            "kind": "ManagedClusterAddOn",
            "name": addon.metadata.name,
            "uid": addon.metadata.uid,
        }
