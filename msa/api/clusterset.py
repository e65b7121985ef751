"""cluster.open-cluster-management.io: which clusters belong together, and which a namespace may use, as wire types."""

from typing import Final

from msgspec import Struct

from msa.api.meta import Condition, ObjectMeta

SETS_VERSION: Final = "v1beta2"
DECISIONS_VERSION: Final = "v1beta1"
LABEL_CLUSTER_SET: Final = "cluster.open-cluster-management.io/clusterset"
LABEL_PLACEMENT: Final = "cluster.open-cluster-management.io/placement"
BY_LABEL_SELECTOR: Final = "LabelSelector"
BOUND: Final = "Bound"
"""Condition of a binding: OCM has found its set."""


class Requirement(Struct, frozen=True, gc=False, rename="camel"):
    """metav1.LabelSelectorRequirement."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Struct, frozen=True, rename="camel"):
    """metav1.LabelSelector: all of it must hold; an empty one selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()


class ClusterSelector(Struct, frozen=True, rename="camel"):
    """Who is a member: by the label that names one set, or, for sets of the type LabelSelector, by a selector."""

    selector_type: str = "ExclusiveClusterSetLabel"
    label_selector: LabelSelector = LabelSelector()


class ClusterSetSpec(Struct, frozen=True, rename="camel"):
    cluster_selector: ClusterSelector = ClusterSelector()


class ManagedClusterSet(Struct, frozen=True, rename="camel"):
    metadata: ObjectMeta
    spec: ClusterSetSpec = ClusterSetSpec()


class BindingSpec(Struct, frozen=True, gc=False, rename="camel"):
    cluster_set: str = ""


class BindingStatus(Struct, frozen=True, gc=False, rename="camel"):
    conditions: tuple[Condition, ...] = ()


class ManagedClusterSetBinding(Struct, frozen=True, gc=False, rename="camel"):
    """That a namespace may use a set. Whoever makes it must have the permission `bind` on the set, which OCM checks."""

    metadata: ObjectMeta
    spec: BindingSpec = BindingSpec()
    status: BindingStatus = BindingStatus()

    @property
    def is_refused(self) -> bool:
        """Whether OCM says that it binds nothing; one that OCM has not judged yet is as good as bound."""
        return any(item.type == BOUND and item.status == "False" for item in self.status.conditions)


class Decision(Struct, frozen=True, gc=False, rename="camel"):
    cluster_name: str = ""


class Decisions(Struct, frozen=True, gc=False, rename="camel"):
    decisions: tuple[Decision, ...] = ()


class PlacementDecision(Struct, frozen=True, gc=False, rename="camel"):
    """Some of the clusters that a Placement has picked; there may be several of these."""

    metadata: ObjectMeta
    status: Decisions = Decisions()
