"""Shall the agent be on this cluster: decided from what OCM says of the cluster and of the addon there. Pure.

Of an object that is merely missing nothing follows: a list may be empty or partial, the server another one. If it was deleted, the
hub's garbage collector deletes what it owned, the agent's ManifestWork among it; the manager need not.
"""

from enum import Enum
from typing import TypeAlias

from attrs import frozen

from msa.api.addon import ClusterManagementAddOn, ManagedClusterAddOn
from msa.api.cluster import ManagedCluster
from msa.policy.registration import is_ours


class Part(Enum):
    """What a situation consists of; the value names it in a sentence."""

    ADDON = "the ManagedClusterAddOn"
    FLEET = "the ClusterManagementAddOn"
    CLUSTER = "the ManagedCluster"


@frozen
class Situation:
    """What the hub knows of one cluster, None for what is not there.

    Attributes:
        addon: ours on that cluster.
        fleet: the addon as a whole.
        deleted: which of what is not there was seen being deleted.
    """

    cluster: ManagedCluster | None
    addon: ManagedClusterAddOn | None
    fleet: ClusterManagementAddOn | None
    deleted: frozenset[Part] = frozenset()


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
    for part, stored, why in (
        (Part.ADDON, addon, "the addon is removed from the cluster"),
        (Part.FLEET, fleet, "the addon is removed from the fleet"),
        (Part.CLUSTER, cluster, "the cluster is removed"),
    ):
        if part in situation.deleted if stored is None else stored.metadata.deletion_timestamp is not None:
            return Withdraw(why)
    if addon is None or fleet is None or cluster is None:
        missing = Part.ADDON if addon is None else Part.FLEET if fleet is None else Part.CLUSTER
        return LeaveAlone(f"{missing.value} is missing, and nobody saw it being deleted")
    if not cluster.spec.hub_accepts_client:
        return Withdraw("the cluster is not accepted")
    if not is_ours(addon):
        return LeaveAlone("OCM has not made the addon the fleet's yet")
    return Install(cluster, addon)
