"""Turns objects from the wire into what is kept of them. A ManifestWork carries some 10 KB, of which a digest is enough."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from msa.api import names
from msa.api.addon import AddOnDeploymentConfig, DeploymentConfig, DeploymentConfigSpec
from msa.api.rbac import RbacSubject, Role, RoleBinding, Rule, StoredRole, StoredRoleBinding
from msa.api.work import APPLIED, FeedbackValue, ManifestCondition, ManifestWork, Work
from msa.hub.render import spec_digest
from msa.policy.deployment import spec_hash

R = TypeVar("R")


def keep_work(stored: ManifestWork) -> Work:
    """What is kept of a ManifestWork.

    Raises:
        ValueError: it cannot be read.
    """
    digest = _read(lambda: spec_digest(msgspec.json.decode(stored.spec, type=dict[str, Any])))
    manifests = stored.status.resource_status.manifests
    return Work(
        metadata=stored.metadata,
        digest=digest,
        conditions=stored.status.conditions,
        feedback=_feedback(manifests),
        failed=tuple(failure for manifest in manifests if (failure := _failure(manifest))),
    )


def keep_config(stored: AddOnDeploymentConfig) -> DeploymentConfig:
    """What is kept of an AddOnDeploymentConfig.

    Raises:
        ValueError: it cannot be read.
    """
    spec = _read(lambda: msgspec.json.decode(stored.spec, type=DeploymentConfigSpec))
    return DeploymentConfig(stored.metadata, spec, _read(lambda: spec_hash(bytes(stored.spec))))


def _read(read: Callable[[], R]) -> R:
    """A managed cluster's own agent may write its ManifestWork: nothing in it may bring the manager down."""
    try:
        return read()
    except RecursionError:
        raise ValueError("its spec is nested too deeply") from None


def keep_role(stored: StoredRole) -> Role:
    """A Role; of rules that cannot be read nothing is kept, so that they are written anew."""
    return Role(stored.metadata, _list_of(stored.rules, Rule))


def keep_binding(stored: StoredRoleBinding) -> RoleBinding:
    """A RoleBinding, as above."""
    return RoleBinding(stored.metadata, stored.role_ref, _list_of(stored.subjects, RbacSubject))


def _list_of(stored: msgspec.Raw, of: type[R]) -> tuple[R, ...]:
    try:
        return msgspec.json.decode(stored, type=tuple[of, ...])  # type: ignore[valid-type]  # a type made at run time
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
