"""Which version of a configuration is meant to be in use: its hash, written where OCM's rollout takes it from.

OCM finds out which configurations are in use where and carries their hashes from the fleet's addon to each cluster's as its rollout
proceeds; the addon's own manager puts the hashes in: for the whole fleet into the status of the ClusterManagementAddOn, and for what
one cluster's addon asks for in its own spec into that one's status.
"""

from attrs import frozen
from msgspec.structs import replace

from msa.api import addon as api
from msa.api.addon import (
    ClusterManagementAddOn,
    ConfigReference,
    ConfigReferent,
    DeploymentConfig,
    FleetStatus,
    ManagedClusterAddOn,
)
from msa.policy.deployment import Lookup


def fleet_status(addon: ClusterManagementAddOn, lookup: Lookup) -> FleetStatus:
    """The fleet's status with the hash of each configuration as it is now; equal to the stored one when nothing has changed."""
    status = addon.status
    return replace(
        status,
        default_config_references=_hashed(status.default_config_references, lookup),
        defaultconfig_references=_hashed(status.defaultconfig_references, lookup),
        install_progressions=tuple(
            replace(progression, config_references=_hashed(progression.config_references, lookup))
            for progression in status.install_progressions
        ),
    )


def cluster_references(addon: ManagedClusterAddOn, lookup: Lookup) -> tuple[ConfigReference, ...]:
    """One cluster's references with the hashes of what its own spec asks for; those of the fleet are left to OCM's rollout."""
    own = {_Name.of_config(config) for config in addon.spec.configs}
    return tuple(
        _with_generation(_rehashed(reference, lookup), lookup) if _Name.of(reference) in own else reference
        for reference in addon.status.config_references
    )


def uses(addon: ManagedClusterAddOn, namespace: str, name: str) -> bool:
    """Whether a configuration is in use on that cluster, or asked for there."""
    used = [_referent(reference) for reference in addon.status.config_references]
    names = {(found.namespace, found.name) for found in used}
    return (namespace, name) in names | {(asked.namespace, asked.name) for asked in addon.spec.configs}


@frozen
class _Name:
    group: str
    resource: str
    namespace: str
    name: str

    @classmethod
    def of_config(cls, config: api.AddonConfig) -> "_Name":
        return cls(config.group, config.resource, config.namespace, config.name)

    @classmethod
    def of(cls, reference: ConfigReference) -> "_Name":
        referent = _referent(reference)
        return cls(reference.group, reference.resource, referent.namespace, referent.name)


def _referent(reference: ConfigReference) -> ConfigReferent:
    """Which object is meant, in either spelling."""
    return reference.desired_config or ConfigReferent(reference.name, reference.namespace)


def _hashed(references: tuple[ConfigReference, ...], lookup: Lookup) -> tuple[ConfigReference, ...]:
    return tuple(_rehashed(reference, lookup) for reference in references)


def _rehashed(reference: ConfigReference, lookup: Lookup) -> ConfigReference:
    config = _config(reference, lookup)
    if config is None:
        return reference  # what is not there has no hash; when it comes, it gets one
    return replace(reference, desired_config=replace(_referent(reference), spec_hash=config.spec_hash))


def _with_generation(reference: ConfigReference, lookup: Lookup) -> ConfigReference:
    config = _config(reference, lookup)
    return replace(reference, last_observed_generation=config.metadata.generation) if config else reference


def _config(reference: ConfigReference, lookup: Lookup) -> DeploymentConfig | None:
    if (reference.group, reference.resource) != (api.GROUP, api.DEPLOYMENT_CONFIGS):
        return None
    referent = _referent(reference)
    config = lookup(referent.namespace, referent.name)
    return config if config is not None and not config.problem else None
