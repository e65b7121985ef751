"""The RoleBinding that the manager creates for each cluster, as a plain value, and whether a stored one is just that."""

from typing import Any

from msa.api import addon as addon_api
from msa.api import names, rbac
from msa.api.addon import ManagedClusterAddOn, Subject
from msa.api.meta import ObjectMeta
from msa.api.rbac import RbacSubject, RoleBinding
from msa.policy.rights import AGENT_ROLE_REF

Body = dict[str, Any]


def role_binding(addon: ManagedClusterAddOn, subject: Subject) -> Body:
    return {
        "apiVersion": f"{rbac.GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": names.AGENT_ROLE,
            "namespace": addon.metadata.namespace,
            "labels": {addon_api.LABEL_ADDON: names.ADDON},
            "ownerReferences": [owner(addon)],
        },
        "roleRef": AGENT_ROLE_REF,
        "subjects": _subjects(subject),
    }


def is_role_binding(stored: RoleBinding, addon: ManagedClusterAddOn, subject: Subject) -> bool:
    return (
        stored.role_ref == AGENT_ROLE_REF
        and stored.subjects == _subjects(subject)
        and is_marked(stored.metadata, addon)
    )


def granted_user(stored: RoleBinding | None, addon: ManagedClusterAddOn) -> str:
    """Who has the agent's rights by our RoleBinding; "" for nobody, or not one user alone."""
    if stored is None or len(stored.subjects) != 1:
        return ""
    user = stored.subjects[0].name
    return user if is_role_binding(stored, addon, Subject(user)) else ""


def is_marked(stored: ObjectMeta, addon: ManagedClusterAddOn) -> bool:
    """Whether it has our label and goes with this addon."""
    return stored.label(addon_api.LABEL_ADDON) == names.ADDON and any(
        owner.uid == addon.metadata.uid for owner in stored.owner_references
    )


def is_ours(stored: ObjectMeta) -> bool:
    """Whether it was made for our addon, by us or by the addon that we replace."""
    return stored.label(addon_api.LABEL_ADDON) == names.ADDON or any(
        (owner.kind, owner.name) == (addon_api.MANAGED_CLUSTER_ADDON, names.ADDON)
        for owner in stored.owner_references
    )


def owner(addon: ManagedClusterAddOn) -> Body:
    """So that nothing outlives the addon, whoever is there to delete it."""
    return {
        "apiVersion": f"{addon_api.GROUP}/{addon_api.V1ALPHA1}",
        "kind": addon_api.MANAGED_CLUSTER_ADDON,
        "name": addon.metadata.name,
        "uid": addon.metadata.uid,
    }


def _subjects(subject: Subject) -> tuple[RbacSubject, ...]:
    """The agent's user alone, never a group: others may be put into it."""
    return (RbacSubject("User", rbac.GROUP, subject.user),)
