"""Shall the agent be on this cluster: decided from what OCM says of the cluster and of the addon there. Pure."""

from datetime import datetime, timedelta
from typing import Final, TypeAlias

from attrs import frozen

from msa.api.addon import ClusterManagementAddOn, ManagedClusterAddOn
from msa.api.cluster import ManagedCluster
from msa.api.work import Work
from msa.policy.registration import is_ours

PATIENCE: Final = timedelta(minutes=5)
"""How long a cluster may take to remove the agent before its rights go all the same: it may be gone for good."""


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


def grace(work: Work | None, now: datetime) -> timedelta:
    """How much longer an agent that must go keeps its rights: until its cluster has removed it, but not for ever.

    Args:
        work: what deploys it, on its way out; None where it is gone.
        now: by the hub's clock, as the time of the deletion is.
    """
    if work is None:
        return timedelta()
    deleted = work.metadata.deletion_timestamp or now
    return max(deleted + PATIENCE - now, timedelta())
