"""Shall the agent be on this cluster: decided from what OCM says of the cluster and of the addon there. Pure."""

from typing import TypeAlias

from attrs import frozen

from msa.api.addon import ClusterManagementAddOn, ManagedClusterAddOn
from msa.api.cluster import ManagedCluster
from msa.policy.registration import is_ours


@frozen
class Situation:
    """What the hub knows of one cluster, None for what is not there.

    Attributes:
        addon: ours on that cluster.
        fleet: the addon as a whole.
    """

    cluster: ManagedCluster | None
    addon: ManagedClusterAddOn | None
    fleet: ClusterManagementAddOn | None


@frozen
class Install:
    """The agent belongs there."""

    cluster: ManagedCluster
    addon: ManagedClusterAddOn


@frozen
class Withdraw:
    """The agent, and its rights, must go."""

    why: str


@frozen
class LeaveAlone:
    """It is not for us to say."""

    why: str


Verdict: TypeAlias = Install | Withdraw | LeaveAlone


def verdict(situation: Situation) -> Verdict:
    """What is to be done on one cluster."""
    cluster, addon, fleet = situation.cluster, situation.addon, situation.fleet
    if addon is None or addon.metadata.deletion_timestamp is not None:
        return Withdraw("the addon is removed from the cluster")
    if fleet is None or fleet.metadata.deletion_timestamp is not None:
        return Withdraw("the addon is removed from the fleet")
    if cluster is None or cluster.metadata.deletion_timestamp is not None:
        return Withdraw("the cluster is removed")
    if not cluster.spec.hub_accepts_client:
        return Withdraw("the cluster is not accepted")
    if not is_ours(addon):
        return LeaveAlone("OCM has not made the addon the fleet's yet")
    return Install(cluster, addon)
