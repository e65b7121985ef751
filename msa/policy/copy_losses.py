"""What takes copies of credentials away from ClusterProfiles, and how soon. Pure.

An object that is there and says so, or whose deletion was seen, acts at once: a right that was withdrawn, a token that can be used no
more. What is only missing may be the work of a partial list or of a restored hub. A copy is owned by its profile: once that is really
gone, Kubernetes' garbage collector deletes the copy, and OCM deletes the profile with its cluster.
"""

from collections.abc import Collection, Mapping
from enum import Enum, StrEnum
from typing import Final

from msa.api.clusterprofile import SecretFacts
from msa.policy.profiles import Situation, has_ended, is_asked_for, is_copy_of, represents


class Loss(StrEnum):
    """Why a copy is out of place."""

    NOT_ASKED_FOR = (
        "its ManagedServiceAccount asks for no copies, is being deleted, or was seen being deleted"
    )
    ENDED = "its token can be used no more"
    DETACHED = "its cluster is not accepted, is being deleted, or was seen being deleted"
    FOREIGN = "its namespace is that of another cluster"
    OTHER_PROFILE = (
        "its ClusterProfile is being deleted, is another one of that name, or does not represent the cluster"
    )
    NOT_BOUND = "no ManagedClusterSet with its cluster is bound to its namespace"
    IDENTITY_MISSING = "its ManagedServiceAccount is missing"
    CLUSTER_MISSING = "its cluster is missing"
    PROFILE_MISSING = "its ClusterProfile is missing"


class Removal(Enum):
    """How soon a copy is deleted for that."""

    AT_ONCE = "what is there says so, or it was seen"
    CHECKED = "at once where it was seen why; else after a minute and a fresh read of the hub, and held where most copies are concerned"
    NEVER = "the garbage collector deletes it with its profile"


REMOVALS: Final[Mapping[Loss, Removal]] = {
    Loss.NOT_ASKED_FOR: Removal.AT_ONCE,
    Loss.ENDED: Removal.AT_ONCE,
    Loss.DETACHED: Removal.AT_ONCE,
    Loss.FOREIGN: Removal.AT_ONCE,
    Loss.OTHER_PROFILE: Removal.AT_ONCE,
    Loss.NOT_BOUND: Removal.CHECKED,
    Loss.IDENTITY_MISSING: Removal.CHECKED,
    Loss.CLUSTER_MISSING: Removal.NEVER,
    Loss.PROFILE_MISSING: Removal.NEVER,
}


def losses(situation: Situation, copy: SecretFacts) -> frozenset[Loss]:
    """All that takes it away."""
    found = {
        **_of_the_credential(situation),
        **_of_the_cluster(situation),
        **_of_the_place(situation, copy),
    }
    return frozenset(loss for loss, holds in found.items() if holds)


def removal_of(found: Collection[Loss]) -> Removal:
    """The soonest of all; of none, never."""
    wanted = {REMOVALS[loss] for loss in found}
    return next((removal for removal in Removal if removal in wanted), Removal.NEVER)


def _of_the_credential(situation: Situation) -> dict[Loss, bool]:
    identity = situation.identity
    if identity is None:
        return {
            Loss.NOT_ASKED_FOR: situation.identity_deleted,
            Loss.IDENTITY_MISSING: not situation.identity_deleted,
        }
    return {Loss.NOT_ASKED_FOR: not is_asked_for(identity), Loss.ENDED: has_ended(identity)}


def _of_the_cluster(situation: Situation) -> dict[Loss, bool]:
    if situation.member is None:
        gone = situation.cluster_deleted
        return {Loss.DETACHED: gone, Loss.CLUSTER_MISSING: not gone}
    return {Loss.DETACHED: not situation.member.belongs}


def _of_the_place(situation: Situation, copy: SecretFacts) -> dict[Loss, bool]:
    namespace = copy.metadata.namespace
    found = [item for item in situation.profiles or () if item.metadata.namespace == namespace]
    return {
        Loss.FOREIGN: namespace in situation.foreign,
        Loss.NOT_BOUND: namespace in (situation.unbound or ()),
        Loss.PROFILE_MISSING: not found,
        Loss.OTHER_PROFILE: any(not represents(item) or not is_copy_of(copy, item) for item in found),
    }
