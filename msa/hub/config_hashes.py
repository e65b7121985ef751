"""The hashes of configurations in the status of the ClusterManagementAddOn, from where OCM rolls them out. There is one key, its name."""

import anyio
from attrs import frozen

from msa.api.addon import ClusterManagementAddOn, DeploymentConfig
from msa.hub.ports import Hub
from msa.policy.addon_status import changes
from msa.policy.config_hashes import fleet_status
from msa.runtime.freshness import Freshness
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Store


@frozen
class ConfigHashReconciler:
    """Keeps the hashes as the configurations are."""

    fleet: Store[ClusterManagementAddOn]
    configs: Store[DeploymentConfig]
    hub: Hub
    freshness: Freshness

    async def __call__(self, key: Key) -> Result:
        addon = self.fleet.get(key)
        if addon is None or addon.metadata.deletion_timestamp is not None:
            return Done()
        wanted = fleet_status(addon, lambda namespace, name: self.configs.get(f"{namespace}/{name}"))
        if changed := changes(addon.status, wanted):
            version = await self.hub.patch_fleet_status(addon, changed)
            self.freshness.wrote(key, self.fleet, version, anyio.current_time())
        return Done()
