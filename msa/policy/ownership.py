"""What is ours to change, proved on the object alone; never by a ManagedServiceAccount's status, which a tenant may write."""

from collections.abc import Iterable
from typing import Final

import msgspec
from attrs import frozen
from msgspec import Raw

from msa.api import names
from msa.api.core import Credential, Marks, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import FieldsEntry, ObjectMeta

OWNERS: Final = (("ConfigMap", names.ANCHOR), ("ServiceAccount", names.AGENT_SERVICE_ACCOUNT))
"""Kind and name of the two objects that each of our ServiceAccounts hangs on."""

MARKS: Final = frozenset(
    (
        "addonmanager.kubernetes.io/mode",
        "app.kubernetes.io/managed-by",
        "applyset.kubernetes.io/part-of",
        "apps.open-cluster-management.io/hosting-subscription",
        "argocd.argoproj.io/instance",
        "argocd.argoproj.io/tracking-id",
        "config.k8s.io/owning-inventory",
        "configmanagement.gke.io/managed",
        "helm.toolkit.fluxcd.io/name",
        "kapp.k14s.io/app",
        "kubectl.kubernetes.io/last-applied-configuration",
        "kustomize.toolkit.fluxcd.io/name",
        "meta.helm.sh/release-name",
        "objectset.rio.cattle.io/id",
        "olm.owner",
    )
)
"""Labels and annotations by which programs mark what they apply other than server-side: we set none of them."""

_APPLY: Final = "Apply"
_ATTACHED: Final = frozenset(("f:secrets", "f:imagePullSecrets"))
_ATTACHED_ANNOTATIONS: Final = "f:openshift.io/"
"""What clusters attach to every account; OpenShift's controller of pull secrets does so server-side."""

SHARED_ACCOUNTS: Final = frozenset(("default", "builder", "deployer", "pipeline"))
"""Kubernetes and OpenShift create them in every namespace, for pods that ask for no other: they are not adopted."""


@frozen
class Refusal:
    """Something is in the way that is not ours.

    Attributes:
        reason: for condition, Event, log and metric.
        message: what is in the way, and what the user can do.
    """

    reason: str
    message: str


def refused_name(identity: ManagedServiceAccount) -> Refusal | None:
    """The agent's own ServiceAccount is never projected: whoever may make an identity would have the agent's rights."""
    if identity.metadata.name != names.AGENT_SERVICE_ACCOUNT:
        return None
    return Refusal(
        "ReservedName",
        f"{identity.metadata.name!r} is the addon agent's own ServiceAccount: choose another name for this ManagedServiceAccount",
    )


def is_labelled(metadata: ObjectMeta) -> bool:
    """Whether it has the label of everything that the addon made."""
    return metadata.label(names.LABEL_MANAGED) == "true"


def owns_account(identity: ManagedServiceAccount, account: ServiceAccount) -> bool:
    """Our label, or, where it was lost, our annotation with this identity's UID; and nobody else's mark."""
    owner = account.metadata.annotation(names.ANNOTATION_OWNER_UID)
    made = is_labelled(account.metadata) or owner == identity.metadata.uid != ""
    return made and not claims_of_others(account)


def may_delete(account: ServiceAccount) -> bool:
    """Whether it was made for an identity, whichever, and nobody else's since."""
    metadata = account.metadata
    made = is_labelled(metadata) or metadata.annotation(names.ANNOTATION_OWNER_UID) != ""
    return made and metadata.name != names.AGENT_SERVICE_ACCOUNT and not claims_of_others(account)


def appliers(entries: Iterable[FieldsEntry]) -> tuple[str, ...]:
    """Field managers that apply an account as theirs, server-side: whatever the program, it leaves that trace (docs/adr/0011).

    Not so whoever writes a label or an annotation (`kubectl label`, `annotate`, `edit`, `patch`), nor what clusters attach to every account.
    """
    found = (
        entry.manager
        for entry in entries
        if entry.operation == _APPLY and entry.manager != names.FIELD_MANAGER and _claims(entry.fields)
    )
    return tuple(sorted(set(found)))


def _claims(fields: Raw) -> bool:
    """Whether these are more than a cluster attaches; a tree that cannot be read is."""
    try:
        tree = msgspec.json.decode(fields, type=dict[str, Raw])
        metadata = msgspec.json.decode(tree.pop("f:metadata", b"{}"), type=dict[str, Raw])
        annotations = msgspec.json.decode(metadata.pop("f:annotations", b"{}"), type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True
    written = (key for key in annotations if key != "." and not key.startswith(_ATTACHED_ANNOTATIONS))
    return bool(tree.keys() - _ATTACHED or metadata or tuple(written))


def claims_of_others(account: ServiceAccount) -> tuple[str, ...]:
    """What shows that somebody else has, or applies, an object of ours too: it is not ours from then on, whatever its label.

    Another owner would keep it when the addon leaves, or delete it while its identity lives; and another applier, such as OCM with an
    addon of that name, gives it rights that are not meant for the identity.
    """
    metadata = account.metadata
    others = tuple(
        f"ownerReference to {owner.kind} {owner.name}"
        for owner in metadata.owner_references
        if (owner.kind, owner.name) not in OWNERS
    )
    marks = ((metadata.labels or {}).keys() | (metadata.annotations or {}).keys()) & MARKS
    return (*others, *sorted(marks), *(f"applied by {manager}" for manager in account.appliers))


def refused_account(account: ServiceAccount) -> Refusal:
    namespace, name = account.metadata.namespace, account.metadata.name
    if claims := claims_of_others(account):
        return Refusal(
            "ServiceAccountConflict",
            f"ServiceAccount {namespace}/{name} on the managed cluster belongs to another program as well ({', '.join(claims)[:300]}). "
            f"The agent issues no token for it, removes the token from this Secret, and does not delete the ServiceAccount. "
            f"Choose another name for this ManagedServiceAccount",
        )
    adopt = f"kubectl label -n {namespace} serviceaccount {name} {names.LABEL_MANAGED}=true"
    remedy = (
        "Choose another name for this ManagedServiceAccount: this account belongs to the cluster's own pods"
        if name in SHARED_ACCOUNTS
        else f"Delete or rename it, or adopt it: {adopt}"
    )
    return Refusal(
        "ServiceAccountConflict",
        f"ServiceAccount {namespace}/{name} on the managed cluster was not created by this addon and is left alone. {remedy}",
    )


def terminating_account(account: ServiceAccount) -> Refusal:
    namespace, name = account.metadata.namespace, account.metadata.name
    return Refusal(
        "ServiceAccountTerminating",
        f"ServiceAccount {namespace}/{name} on the managed cluster is being deleted, and its finalizers are not removed yet: "
        f"{', '.join(account.metadata.finalizers)[:300]}. The agent creates a new one, with a new token, when it is gone",
    )


def owns_secret(identity: ManagedServiceAccount, credential: Credential) -> bool:
    """An ownerReference to this identity, or, where it was lost, our label; which a copy for a ClusterProfile has, too."""
    is_copy = names.LABEL_SYNCED_FROM in (credential.metadata.labels or {})
    return identity.metadata.uid in credential.owners or (is_labelled(credential.metadata) and not is_copy)


def is_handed_over(identity: ManagedServiceAccount, credential: Credential) -> bool:
    """Whether its adoption was asked for: it has our label, and no agent has ever noted anything on it."""
    return credential.marks == Marks() and identity.metadata.uid not in credential.owners


def was_revoked(identity: ManagedServiceAccount, credential: Credential) -> bool:
    """Whether the agent itself took its token away, with what it had noted of that."""
    owned = identity.metadata.uid in credential.owners
    return owned and credential.token is None and credential.marks == Marks()


def refused_secret(identity: ManagedServiceAccount) -> Refusal:
    namespace, name = identity.metadata.namespace, identity.metadata.name
    adopt = (
        f"kubectl label -n {namespace} secret {name} {names.LABEL_SYNCED_FROM}- {names.LABEL_MANAGED}=true"
    )
    return Refusal(
        "SecretConflict",
        f"Secret {namespace}/{name} on the hub is not owned by this ManagedServiceAccount and is left alone. Choose another name for this "
        f"ManagedServiceAccount, delete the Secret, or adopt it (adopting replaces all its keys and deletes those other than token and "
        f"ca.crt: back them up first): {adopt}",
    )
