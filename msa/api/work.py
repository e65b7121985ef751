"""work.open-cluster-management.io/v1 ManifestWork: what the hub has applied on a managed cluster, as wire type and as what is kept."""

from typing import Final

from attrs import frozen
from msgspec import Raw, Struct

from msa.api.meta import Condition, ObjectMeta

GROUP: Final = "work.open-cluster-management.io"
APPLIED: Final = "Applied"

ANNOTATION_CONFIG_HASHES: Final = "open-cluster-management.io/config-spec-hash"
"""On a ManifestWork: JSON, `resource.group/namespace/name` of each configuration to the hash that it was rendered from."""


class FieldValue(Struct, frozen=True, gc=False, rename="camel"):
    type: str = ""
    integer: int | None = None
    string: str | None = None


class FeedbackValue(Struct, frozen=True, gc=False, rename="camel"):
    """One value that the cluster's side reports of an applied object."""

    name: str = ""
    field_value: FieldValue = FieldValue()


class StatusFeedback(Struct, frozen=True, gc=False):
    values: tuple[FeedbackValue, ...] = ()


class ResourceMeta(Struct, frozen=True, gc=False):
    kind: str = ""
    name: str = ""


class ManifestCondition(Struct, frozen=True, gc=False, rename="camel"):
    """How one of the objects fares."""

    resource_meta: ResourceMeta = ResourceMeta()
    conditions: tuple[Condition, ...] = ()
    status_feedback: StatusFeedback = StatusFeedback()


class ResourceStatus(Struct, frozen=True, gc=False):
    manifests: tuple[ManifestCondition, ...] = ()


class WorkStatus(Struct, frozen=True, gc=False, rename="camel"):
    conditions: tuple[Condition, ...] = ()
    resource_status: ResourceStatus = ResourceStatus()


class ManifestMeta(Struct, frozen=True, gc=False):
    name: str = ""
    namespace: str = ""


class Manifest(Struct, frozen=True, gc=False):
    """One of the objects to be applied, as far as which it is."""

    kind: str = ""
    metadata: ManifestMeta = ManifestMeta()


class Workload(Struct, frozen=True, gc=False):
    manifests: tuple[Manifest, ...] = ()


class WorkSpec(Struct, frozen=True, gc=False):
    """What is read of a spec."""

    workload: Workload = Workload()


class ManifestWork(Struct, frozen=True, gc=False):
    """As it comes over the wire. Its cluster may write anything into it."""

    metadata: ObjectMeta
    spec: Raw = Raw(b"{}")
    status: Raw = Raw(b"{}")


@frozen
class Work:
    """What is kept of a ManifestWork.

    Attributes:
        digest: of its spec's meaning.
        feedback: of the agent's Deployment, by name.
        failed: kind and name of objects that could not be applied, with the reason.
        carries_anchor: it lists the ConfigMap that identities hang on.
        namespace: where it installs the agent, or that ConfigMap; "" where it does neither.
    """

    metadata: ObjectMeta
    digest: str
    conditions: tuple[Condition, ...]
    feedback: dict[str, int | str]
    failed: tuple[str, ...]
    carries_anchor: bool = False
    namespace: str = ""
