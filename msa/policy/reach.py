"""Which clusters a namespace of the hub reaches: those of the cluster sets bound to it, or what a Placement there picks of them."""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from attrs import frozen

from msa.api import clusterset
from msa.api.cluster import ManagedCluster
from msa.api.clusterset import (
    LabelSelector,
    ManagedClusterSet,
    ManagedClusterSetBinding,
    PlacementDecision,
    Requirement,
)

NOT_BOUND: Final = "NamespaceNotBound"
NOT_DECIDED: Final = "PlacementNotDecided"
UNKNOWN: Final = "ClusterSetsUnknown"
REASONS: Final = frozenset((NOT_BOUND, NOT_DECIDED, UNKNOWN))


@frozen
class Reach:
    """Where a ManagedServiceAccount belongs.

    Attributes:
        clusters: of the bound ones, those that are selected.
        bound: those that its namespace may use.
    """

    clusters: frozenset[str]
    bound: frozenset[str]


@frozen
class Unreached:
    """No clusters can be told.

    Attributes:
        reason: for the condition.
        message: why, and what the user can do.
        stay: the clusters where what is there may stay; None for all, where it is only not known.
    """

    reason: str
    message: str
    stay: frozenset[str] | None = frozenset()


def not_bound(namespace: str, gone: Collection[str] = ()) -> Unreached:
    """Nothing is bound.

    Args:
        namespace: of the identity.
        gone: sets that bindings name and that are not there.
    """
    if gone:
        return Unreached(
            NOT_BOUND,
            f"namespace {namespace} is bound to ManagedClusterSets that do not exist ({', '.join(sorted(gone))}). Create them, or delete the "
            f"bindings and bind another set: clusteradm clusterset bind SET --namespace {namespace}",
        )
    return Unreached(
        NOT_BOUND,
        f"namespace {namespace} does not belong to a managed cluster, and no ManagedClusterSet is bound to it. Create this object in a "
        f"managed cluster's namespace, or bind a set: clusteradm clusterset bind SET --namespace {namespace}",
    )


def not_decided(namespace: str, placement: str, bound: frozenset[str]) -> Unreached:
    """A wrong name must not cost the tokens of a fleet: what is on bound clusters stays."""
    return Unreached(
        NOT_DECIDED,
        f"Placement {namespace}/{placement} has no PlacementDecision yet. Create the Placement, or correct or remove spec.placementRef. "
        "Existing tokens stay in place",
        stay=bound,
    )


def unknown(kind: str) -> Unreached:
    return Unreached(
        UNKNOWN,
        f"the addon manager cannot read {kind} on the hub. Install Open Cluster Management's CRDs, or restore the manager's rights "
        "(helm upgrade). Existing tokens stay in place",
        stay=None,
    )


def bound_sets(
    bindings: Iterable[ManagedClusterSetBinding], named: Callable[[str], ManagedClusterSet | None]
) -> tuple[ManagedClusterSet, ...]:
    """The sets that a namespace may use.

    Args:
        bindings: of the namespace.
        named: finds a set.
    """
    # OCM lets nobody make a binding that is not named like its set; where its webhook is not there, neither is the check of `bind`.
    found = (
        named(binding.spec.cluster_set)
        for binding in bindings
        if binding.metadata.name == binding.spec.cluster_set and binding.metadata.deletion_timestamp is None
    )
    return tuple(item for item in found if item is not None and item.metadata.deletion_timestamp is None)


def members(sets: Iterable[ManagedClusterSet], clusters: Iterable[ManagedCluster]) -> frozenset[str]:
    """The clusters in any of the sets, of those that the hub has accepted and that are not on their way out."""
    chosen = tuple(sets)
    return frozenset(
        cluster.metadata.name
        for cluster in clusters
        if cluster.belongs and any(is_member(cluster, item) for item in chosen)
    )


def may_use(
    cluster: ManagedCluster,
    bindings: Iterable[ManagedClusterSetBinding],
    named: Callable[[str], ManagedClusterSet | None],
) -> bool:
    """Whether the namespace of these bindings may have what is the cluster's.

    Args:
        cluster: that it is about.
        bindings: of the namespace; those that OCM refuses do not count.
        named: finds a set.
    """
    sets = bound_sets((item for item in bindings if not item.is_refused), named)
    return cluster.belongs and any(is_member(cluster, item) for item in sets)


def is_moved(old: ManagedCluster, new: ManagedCluster, sets: Iterable[ManagedClusterSet]) -> bool:
    """Whether it may be in other sets than before. Of its labels some tell of health, and change all the time."""
    before, after = old.metadata.labels or {}, new.metadata.labels or {}
    return before != after and any(before.get(key) != after.get(key) for key in selecting_labels(sets))


def is_member(cluster: ManagedCluster, group: ManagedClusterSet) -> bool:
    selector = group.spec.cluster_selector
    if selector.selector_type == clusterset.BY_LABEL_SELECTOR:
        return selects(selector.label_selector, cluster.metadata.labels or {})
    return cluster.metadata.label(clusterset.LABEL_CLUSTER_SET) == group.metadata.name


def selecting_labels(sets: Iterable[ManagedClusterSet]) -> frozenset[str]:
    """The labels of clusters that decide who is in any of the sets."""
    selectors = [item.spec.cluster_selector.label_selector for item in sets]
    keys = (
        key
        for selector in selectors
        for key in (*selector.match_labels, *(requirement.key for requirement in selector.match_expressions))
    )
    return frozenset((clusterset.LABEL_CLUSTER_SET, *keys))


def picked(decisions: Iterable[PlacementDecision]) -> frozenset[str]:
    """The clusters that a Placement's decisions name."""
    return frozenset(item.cluster_name for each in decisions for item in each.status.decisions)


def selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """metav1.LabelSelector on labels. An operator of a later release selects nothing, as what is not understood must not give access."""
    return selector.match_labels.items() <= labels.items() and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: Requirement, labels: dict[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False
