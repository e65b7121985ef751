"""Turns objects from the wire into what is kept of them. A ManifestWork carries some 10 KB, of which a digest is enough."""

from collections.abc import Callable
from sys import intern
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from msa.api import names
from msa.api.addon import AddOnDeploymentConfig, DeploymentConfig, DeploymentConfigSpec
from msa.api.fleet_identity import FanOutStatus, FleetIdentity, StoredFleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.api.rbac import RbacSubject, RoleBinding, StoredRoleBinding
from msa.api.work import APPLIED, FeedbackValue, ManifestCondition, ManifestWork, Work
from msa.hub.render import spec_digest
from msa.policy.deployment import spec_hash

R = TypeVar("R")
_STATUS = msgspec.json.Decoder(FanOutStatus)


def keep_work(stored: ManifestWork) -> Work:
    """What is kept of a ManifestWork.

    Raises:
        ValueError: it cannot be read.
    """
    spec = _read(lambda: msgspec.json.decode(stored.spec, type=dict[str, Any]))
    digest = _read(lambda: spec_digest(spec))
    manifests = stored.status.resource_status.manifests
    return Work(
        metadata=stored.metadata,
        digest=digest,
        conditions=stored.status.conditions,
        feedback=_feedback(manifests),
        failed=tuple(failure for manifest in manifests if (failure := _failure(manifest))),
        carries_anchor=f'"name":"{names.ANCHOR}"'.encode() in bytes(stored.spec),
    )


def keep_config(stored: AddOnDeploymentConfig) -> DeploymentConfig:
    """What is kept of an AddOnDeploymentConfig.

    Raises:
        ValueError: it cannot be read.
    """
    spec = _read(lambda: msgspec.json.decode(stored.spec, type=DeploymentConfigSpec))
    return DeploymentConfig(stored.metadata, spec, _read(lambda: spec_hash(bytes(stored.spec))))


def keep_identity(stored: StoredFleetIdentity) -> FleetIdentity:
    """What is kept of a ManagedServiceAccount, of which a hub may have tens of thousands: no marks but ours, each text once.

    A status that cannot be read counts as empty: a tenant may have written it.
    """
    try:
        status = _STATUS.decode(stored.status)
    except (msgspec.MsgspecError, RecursionError):
        status = FanOutStatus()
    conditions = tuple(_shared(condition) for condition in status.conditions)
    return FleetIdentity(_marked(stored.metadata), stored.spec, replace(status, conditions=conditions))


def _marked(stored: ObjectMeta) -> ObjectMeta:
    return replace(
        stored,
        name=intern(stored.name),
        namespace=intern(stored.namespace),
        labels=_ours(stored.labels),
        annotations=_ours(stored.annotations),
        owner_references=(),
    )


def _ours(marks: dict[str, str] | None) -> dict[str, str] | None:
    prefix = f"{names.GROUP}/"
    return {
        intern(key): intern(value) for key, value in (marks or {}).items() if key.startswith(prefix)
    } or None


def _shared(condition: Condition) -> Condition:
    texts = {name: intern(getattr(condition, name)) for name in ("type", "status", "reason", "message")}
    return replace(condition, **texts)


def _read(read: Callable[[], R]) -> R:
    """A managed cluster's own agent may write its ManifestWork: nothing in it may bring the manager down."""
    try:
        return read()
    except RecursionError:
        raise ValueError("its spec is nested too deeply") from None


def keep_binding(stored: StoredRoleBinding) -> RoleBinding:
    """A RoleBinding; of subjects that cannot be read nothing is kept, so that they are written anew."""
    return RoleBinding(stored.metadata, stored.role_ref, _subjects(stored.subjects))


def _subjects(stored: msgspec.Raw) -> tuple[RbacSubject, ...]:
    try:
        return msgspec.json.decode(stored, type=tuple[RbacSubject, ...])
    except msgspec.MsgspecError:
        return ()


def _feedback(manifests: tuple[ManifestCondition, ...]) -> dict[str, int | str]:
    for manifest in manifests:
        meta = manifest.resource_meta
        if (meta.kind, meta.name) == ("Deployment", names.AGENT_DEPLOYMENT):
            return {value.name: _plain(value) for value in manifest.status_feedback.values}
    return {}


def _plain(value: FeedbackValue) -> int | str:
    field = value.field_value
    return field.integer if field.integer is not None else field.string or ""


def _failure(manifest: ManifestCondition) -> str:
    for condition in manifest.conditions:
        if condition.type == APPLIED and condition.status == "False":
            return f"{manifest.resource_meta.kind} {manifest.resource_meta.name}: {condition.message}"
    return ""
