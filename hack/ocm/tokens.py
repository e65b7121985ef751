"""What OCM makes on the hub for an agent that registers with the driver token: an account, and the right to ask for its tokens."""

from attrs import frozen

from hack.ocm import kinds
from hack.ocm.api import Api, Body, Kind, Object
from hack.ocm.conditions import condition, merged, stands
from hack.ocm.registrations import registered
from msa.api import names
from msa.runtime.errors import AlreadyExists

ACCOUNT = f"{names.ADDON}-agent"
READY = "TokenInfrastructureReady"
_RBAC = "rbac.authorization.k8s.io"
_ROLE = f"{ACCOUNT}-token"


@frozen
class TokenInfrastructure:
    """Goes with the ManagedClusterAddOn that it was made for."""

    api: Api
    addons: Kind
    version: str

    async def ensure(self, addon: Object) -> None:
        found = registered(addon)
        stored = addon.status.get("conditions", [])
        if found is None or found.driver != "token" or stands(stored, READY):
            return
        for kind, body in self._objects(addon):
            try:
                await self.api.create(kind.at(addon.metadata.namespace), body)
            except AlreadyExists:
                continue
        said = condition(
            READY, "True", READY, f"ServiceAccount {addon.metadata.namespace}/{ACCOUNT} is ready"
        )
        path = self.addons.at(addon.metadata.namespace, addon.metadata.name)
        changes: Body = {"conditions": merged(stored, [said])}
        await self.api.patch_status(path, addon.metadata.resource_version, changes)

    def _objects(self, addon: Object) -> list[tuple[Kind, Body]]:
        owner = {
            "apiVersion": f"{kinds.ADDON_GROUP}/{self.version}",
            "kind": "ManagedClusterAddOn",
            "name": addon.metadata.name,
            "uid": addon.metadata.uid,
        }
        rule = {
            "apiGroups": [""],
            "resources": ["serviceaccounts/token"],
            "resourceNames": [ACCOUNT],
            "verbs": ["create"],
        }
        group = f"system:open-cluster-management:{addon.metadata.namespace}"
        marks = {"ownerReferences": [owner]}
        return [
            (kinds.SERVICE_ACCOUNTS, {"metadata": marks | {"name": ACCOUNT}}),
            (kinds.ROLES, {"metadata": marks | {"name": _ROLE}, "rules": [rule]}),
            (
                kinds.ROLE_BINDINGS,
                {
                    "metadata": marks | {"name": _ROLE},
                    "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": _ROLE},
                    "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": group}],
                },
            ),
        ]
