"""A managed cluster's registration agent, as far as it says whether an addon is available: by the Lease that the addon's agent renews."""

from datetime import UTC, datetime, timedelta

from attrs import frozen

from hack.ocm import kinds
from hack.ocm.api import Api, Body, Object
from hack.ocm.conditions import condition, merged
from msa.api import names
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store


@frozen
class LeaseHealth:
    """Turns a Lease into the condition Available; the key is the addon's name.

    Attributes:
        patience: how old a renewal may be; OCM's is five times 60 s.
    """

    cluster: str
    version: str
    hub: Api
    addons: Store[Object]
    leases: Store[Object]
    patience: timedelta

    async def __call__(self, key: Key) -> Result:
        addon = self.addons.get(f"{self.cluster}/{key}")
        if addon is None or addon.metadata.deletion_timestamp is not None:
            return Done()
        if addon.status.get("healthCheck", {}).get("mode") == "Customized":
            return Done()
        namespace = addon.status.get("namespace") or names.DEFAULT_INSTALL_NAMESPACE
        left = self._left(self.leases.get(f"{namespace}/{key}"))
        stored = addon.status.get("conditions", [])
        wanted = merged(stored, [_available(key, left)])
        if wanted != stored:
            path = kinds.addons(self.version).at(self.cluster, key)
            await self.hub.patch_status(path, addon.metadata.resource_version, {"conditions": wanted})
        return RequeueAfter(left) if left is not None and left > 0 else Done()

    def _left(self, lease: Object | None) -> float | None:
        """Seconds until it is too old; None where there is none."""
        if lease is None or "renewTime" not in lease.spec:
            return None
        renewed = datetime.fromisoformat(lease.spec["renewTime"])
        return (renewed + self.patience - datetime.now(UTC)).total_seconds()


def _available(addon: str, left: float | None) -> Body:
    if left is None:
        why, message = "ManagedClusterAddOnLeaseNotFound", f"The status of {addon} add-on is unknown."
        return condition("Available", "Unknown", why, message)
    if left > 0:
        message = f"{addon} add-on is available."
        return condition("Available", "True", "ManagedClusterAddOnLeaseUpdated", message)
    message = f"{addon} add-on is not available."
    return condition("Available", "False", "ManagedClusterAddOnLeaseUpdateStopped", message)
