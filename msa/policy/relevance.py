"""Of each kind the parts that decisions depend on: what is equal in these need not be looked at again. Pure."""

from attrs import evolve
from msgspec.structs import replace

from msa.api.addon import DeploymentConfig, ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.cluster import ManagedCluster
from msa.api.core import Secret
from msa.api.meta import Condition, ObjectMeta
from msa.api.rbac import RoleBinding
from msa.api.work import APPLIED, Work
from msa.policy.addon_status import OURS


def of_cluster(cluster: ManagedCluster) -> object:
    """For the addon there."""
    return of_cluster_for_requests(cluster), cluster.metadata.annotations


def of_cluster_for_requests(cluster: ManagedCluster) -> object:
    """For the approval of its agent's certificate."""
    return cluster.metadata.uid, cluster.spec.hub_accepts_client, _is_going(cluster.metadata)


def of_addon(addon: ManagedClusterAddOn) -> object:
    """For the addon itself: of its conditions only ours, the others tell of health and change often."""
    ours = _verdicts(tuple(item for item in addon.status.conditions if item.type in OURS))
    return _undated(addon.metadata), addon.spec, replace(addon.status, conditions=()), ours


def of_addon_for_requests(addon: ManagedClusterAddOn) -> object:
    """For the approval of its agent's certificate."""
    return _is_going(addon.metadata)


def of_addon_for_identities(addon: ManagedClusterAddOn) -> object:
    """For the ManifestWork of what identities hang on."""
    metadata = addon.metadata
    return metadata.uid, metadata.owner_references, _is_going(metadata), addon.status.namespace


def of_work(work: Work) -> object:
    """For the addon that it deploys."""
    return (
        _undated(work.metadata),
        evolve(work, metadata=ObjectMeta(), conditions=()),
        _verdicts(work.conditions),
    )


def of_identities_work(work: Work) -> object:
    """For the ManifestWork itself, of what identities hang on: what its cluster says of it is no reason to write it."""
    return _undated(work.metadata), work.digest


def of_identities_work_for_addon(work: Work | None) -> object:
    """For the addon beside it, whose status says only why the cluster's side has not applied it; None for no trouble."""
    for item in work.conditions if work is not None else ():
        if work is not None and item.type == APPLIED and item.observed_generation == work.metadata.generation:
            return None if item.status == "True" else work.failed
    return None


def of_binding(binding: RoleBinding) -> object:
    """For the addon whose agent it gives rights."""
    return _undated(binding.metadata), binding.role_ref, binding.subjects


def of_config(config: DeploymentConfig) -> object:
    """For the addons that use it."""
    return config.metadata.uid, config.metadata.generation, config.spec_hash


def of_pull_secret(secret: Secret) -> object:
    """For the addons that it is copied to."""
    return secret.type, secret.data


def of_request(request: SigningRequest) -> object:
    """For its own approval: nobody can change its spec."""
    return request.metadata.uid, request.metadata.labels, request.decided


def _undated(metadata: ObjectMeta) -> object:
    return replace(metadata, resource_version="", deletion_timestamp=None), _is_going(metadata)


def _verdicts(conditions: tuple[Condition, ...]) -> object:
    return tuple(_verdict(item) for item in conditions)


def _verdict(condition: Condition) -> object:
    return (
        condition.type,
        condition.status,
        condition.reason,
        condition.message,
        condition.observed_generation,
    )


def _is_going(metadata: ObjectMeta) -> bool:
    return metadata.deletion_timestamp is not None
