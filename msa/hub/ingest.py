"""Turns objects from the wire into what is kept of them: whatever their writers put there, within the bounds of `hub.bounds`."""

import hashlib
from collections.abc import Callable
from sys import intern
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from msa.api import names
from msa.api.addon import (
    ANNOTATION_INSTALL_NAMESPACE,
    AddOnDeploymentConfig,
    AddonStatus,
    ClusterManagementAddOn,
    DeploymentConfig,
    DeploymentConfigSpec,
    ManagedClusterAddOn,
    StoredClusterAddOn,
)
from msa.api.cluster import ANNOTATION_IMAGE_REGISTRIES, ClientConfig, ManagedCluster
from msa.api.clusterset import (
    BOUND,
    LABEL_PLACEMENT,
    BindingStatus,
    Decision,
    Decisions,
    ManagedClusterSet,
    ManagedClusterSetBinding,
    PlacementDecision,
)
from msa.api.fleet_identity import FanOutStatus, FleetIdentity, StoredFleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.api.rbac import RbacSubject, RoleBinding, StoredRoleBinding
from msa.api.texts import LONGEST, shown
from msa.api.work import APPLIED, FeedbackValue, ManifestCondition, ManifestWork, Work, WorkSpec, WorkStatus
from msa.hub import bounds
from msa.hub.render import spec_digest
from msa.policy.deployment import LARGEST_CONFIG, LARGEST_WORK, spec_hash

R = TypeVar("R")
_MOST_DECISIONS: Final = 1000
"""OCM puts at most 100 into one PlacementDecision."""

_LONGEST_NAME: Final = 253
_LARGEST_SUBJECTS: Final = 16 * 1024
_LARGEST_CA: Final = 256 * 1024
_FEEDBACK: Final = frozenset(("ready", "available", "problem", "progress", "rollout"))
_PLACED: Final = (("Deployment", names.AGENT_DEPLOYMENT), ("ConfigMap", names.ANCHOR))
"""What of a ManifestWork is in the install namespace: of the agent's work, and of the one that identities hang on."""


def keep_cluster(stored: ManagedCluster) -> ManagedCluster:
    """A ManagedCluster: all of its labels, since sets may select by any, and the first way to its API server."""
    metadata = bounds.metadata(stored.metadata, labels=bounds.any_mark, annotations=_is_registries)
    ways = stored.spec.managed_cluster_client_configs[:1]
    known = tuple(way for way in ways if _is_usable(way))
    return ManagedCluster(metadata, replace(stored.spec, managed_cluster_client_configs=known))


def _is_registries(key: str) -> bool:
    return key == ANNOTATION_IMAGE_REGISTRIES


def _is_usable(way: ClientConfig) -> bool:
    return len(way.url) <= LONGEST and len(way.ca_bundle) <= _LARGEST_CA


def keep_addon(stored: StoredClusterAddOn) -> ManagedClusterAddOn:
    """A ManagedClusterAddOn. The cluster's side writes its status: what cannot be read of it counts as absent."""
    metadata = bounds.metadata(stored.metadata, labels=bounds.is_ocms, annotations=_is_install_namespace)
    status = bounds.status(stored.status, AddonStatus)
    is_cut = bounds.size(stored.status) > bounds.LARGE
    return ManagedClusterAddOn(metadata, bounds.cut(stored.spec), status, abridged=is_cut)


def whole_addon(stored: StoredClusterAddOn) -> ManagedClusterAddOn:
    """A ManagedClusterAddOn, to be written back and not to be kept."""
    return ManagedClusterAddOn(stored.metadata, stored.spec, bounds.readable(stored.status, AddonStatus))


def _is_install_namespace(key: str) -> bool:
    return key == ANNOTATION_INSTALL_NAMESPACE


def keep_set(stored: ManagedClusterSet) -> ManagedClusterSet:
    """A ManagedClusterSet, which only the hub's administrators write."""
    return ManagedClusterSet(_plain_metadata(stored.metadata), stored.spec)


def keep_set_binding(stored: ManagedClusterSetBinding) -> ManagedClusterSetBinding:
    """A ManagedClusterSetBinding, and of its status whether OCM refuses it."""
    said = tuple(bounds.cut(item) for item in stored.status.conditions if item.type == BOUND)[:1]
    return ManagedClusterSetBinding(
        _plain_metadata(stored.metadata), bounds.cut(stored.spec), BindingStatus(said)
    )


def keep_decision(stored: PlacementDecision) -> PlacementDecision:
    """A PlacementDecision, which whoever has a namespace may write there: as many names as are looked at, each text once."""
    metadata = bounds.metadata(stored.metadata, labels=_is_placement, annotations=bounds.no_mark)
    named = stored.status.decisions[:_MOST_DECISIONS]
    decisions = (Decision(intern(item.cluster_name[:_LONGEST_NAME])) for item in named)
    return PlacementDecision(metadata, Decisions(tuple(decisions)))


def _is_placement(key: str) -> bool:
    return key == LABEL_PLACEMENT


def _plain_metadata(stored: ObjectMeta) -> ObjectMeta:
    return bounds.metadata(stored, labels=bounds.no_mark, annotations=bounds.no_mark)


def keep_fleet(stored: ClusterManagementAddOn) -> ClusterManagementAddOn:
    """The ClusterManagementAddOn, of which there is one."""
    return ClusterManagementAddOn(_plain_metadata(stored.metadata), stored.status)


def keep_work(stored: ManifestWork) -> Work:
    """What is kept of a ManifestWork.

    Raises:
        ValueError: it cannot be read.
    """
    status, spec = bounds.status(stored.status, WorkStatus), bytes(stored.spec)
    manifests = status.resource_status.manifests
    failed = (failure for manifest in manifests if (failure := _failure(manifest)))
    return Work(
        metadata=bounds.metadata(stored.metadata, labels=bounds.is_ocms, annotations=bounds.is_ocms),
        digest=_digest(spec),
        conditions=tuple(replace(item, message="") for item in status.conditions if item.type == APPLIED)[:1],
        feedback=_feedback(manifests),
        failed=tuple(failed)[: bounds.ITEMS],
        carries_anchor=f'"name":"{names.ANCHOR}"'.encode() in spec,
        namespace=_installed_in(stored.spec),
    )


def _installed_in(spec: Raw) -> str:
    """Where what shows the install namespace is applied; "" where nothing does, and of a spec that is not ours for its size."""
    if bounds.size(spec) > LARGEST_WORK:
        return ""
    read: WorkSpec = bounds.decoded(spec, WorkSpec, WorkSpec())
    found = (item.metadata for item in read.workload.manifests if (item.kind, item.metadata.name) in _PLACED)
    return intern(next((item.namespace[:_LONGEST_NAME] for item in found), ""))


def _digest(spec: bytes) -> str:
    """Of its meaning; of more than we would write, of its bytes, since that is not ours."""
    if len(spec) > LARGEST_WORK:
        return hashlib.sha256(spec).hexdigest()
    return _read(lambda: spec_digest(msgspec.json.decode(spec, type=dict[str, Any])))


def keep_config(stored: AddOnDeploymentConfig) -> DeploymentConfig:
    """What is kept of an AddOnDeploymentConfig.

    Raises:
        ValueError: it cannot be read.
    """
    content = bytes(stored.spec)
    metadata = _plain_metadata(stored.metadata)
    if len(content) > LARGEST_CONFIG:
        problem = f"the spec has {len(content)} bytes; it may have {LARGEST_CONFIG}"
        return DeploymentConfig(metadata, DeploymentConfigSpec(), "", problem)
    spec = _read(lambda: msgspec.json.decode(content, type=DeploymentConfigSpec))
    return DeploymentConfig(metadata, spec, _read(lambda: spec_hash(content)))


def keep_identity(stored: StoredFleetIdentity) -> FleetIdentity:
    """What is kept of a ManagedServiceAccount, of which a hub may have tens of thousands: no marks but ours, each text once.

    A status that cannot be read counts as empty: a tenant may have written it.
    """
    read = _status_of(stored)
    status = read if read is not None else FanOutStatus()
    if bounds.size(stored.status) > bounds.LARGE:
        status = bounds.cut(status)
    conditions = tuple(_shared(condition) for condition in status.conditions)
    return FleetIdentity(
        _marked(stored.metadata),
        bounds.cut(stored.spec),
        replace(status, conditions=conditions),
        abridged=read is None or conditions != read.conditions,
    )


def whole_identity(stored: StoredFleetIdentity) -> FleetIdentity | None:
    """All of a ManagedServiceAccount, to be written back and not to be kept; None where its status cannot be read."""
    status = _status_of(stored)
    return FleetIdentity(stored.metadata, stored.spec, status) if status is not None else None


def _status_of(stored: StoredFleetIdentity) -> FanOutStatus | None:
    read: FanOutStatus | None = bounds.decoded(stored.status, FanOutStatus, None)
    return read


def _marked(stored: ObjectMeta) -> ObjectMeta:
    """A tenant may have as many finalizers as there is room for: of too many only ours counts."""
    finalizers = stored.finalizers
    if len(finalizers) > bounds.ITEMS:
        finalizers = tuple(item for item in finalizers if item == names.FAN_OUT_FINALIZER)[:1]
    return replace(
        stored,
        name=intern(stored.name),
        namespace=intern(stored.namespace),
        labels=bounds.marks(stored.labels, _is_ours) or None,
        annotations=bounds.marks(stored.annotations, _is_ours) or None,
        owner_references=(),
        finalizers=finalizers,
    )


def _is_ours(key: str) -> bool:
    return key.startswith(f"{names.GROUP}/")


def _shared(condition: Condition) -> Condition:
    texts = {
        name: intern(shown(getattr(condition, name))) for name in ("type", "status", "reason", "message")
    }
    return replace(condition, **texts)


def _read(read: Callable[[], R]) -> R:
    """A managed cluster's own agent may write its ManifestWork: nothing in it may bring the manager down."""
    try:
        return read()
    except RecursionError:
        raise ValueError("its spec is nested too deeply") from None


def keep_binding(stored: StoredRoleBinding) -> RoleBinding:
    """A RoleBinding; of subjects that cannot be read nothing is kept, so that they are written anew."""
    metadata = bounds.metadata(stored.metadata, labels=bounds.is_ocms, annotations=bounds.is_ocms)
    return RoleBinding(metadata, stored.role_ref, _subjects(stored.subjects))


def _subjects(stored: Raw) -> tuple[RbacSubject, ...]:
    if bounds.size(stored) > _LARGEST_SUBJECTS:
        return ()
    read: tuple[RbacSubject, ...] = bounds.decoded(stored, tuple[RbacSubject, ...], ())
    return read


def _feedback(manifests: tuple[ManifestCondition, ...]) -> dict[str, int | str]:
    for manifest in manifests:
        meta = manifest.resource_meta
        if (meta.kind, meta.name) == ("Deployment", names.AGENT_DEPLOYMENT):
            values = manifest.status_feedback.values
            return {value.name: _plain(value) for value in values if value.name in _FEEDBACK}
    return {}


def _plain(value: FeedbackValue) -> int | str:
    field = value.field_value
    return field.integer if field.integer is not None else shown(field.string or "")


def _failure(manifest: ManifestCondition) -> str:
    for condition in manifest.conditions:
        if condition.type == APPLIED and condition.status == "False":
            meta = manifest.resource_meta
            return shown(f"{meta.kind} {meta.name}: {condition.message}")
    return ""
