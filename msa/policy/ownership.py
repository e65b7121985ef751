"""What is ours to change, proved on the object alone; never by a ManagedServiceAccount's status, which a tenant may write."""

from attrs import frozen

from msa.api import names
from msa.api.core import Credential, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import ObjectMeta


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
    """Our label, or, where it was lost, our annotation with this identity's UID."""
    owner = account.metadata.annotation(names.ANNOTATION_OWNER_UID)
    return is_labelled(account.metadata) or owner == identity.metadata.uid != ""


def refused_account(namespace: str, name: str) -> Refusal:
    return Refusal(
        "ServiceAccountConflict",
        f"ServiceAccount {namespace}/{name} on the managed cluster was not made by this addon and is left alone: delete or rename it, "
        f"or have it taken over with: kubectl label -n {namespace} serviceaccount {name} {names.LABEL_MANAGED}=true",
    )


def owns_secret(identity: ManagedServiceAccount, credential: Credential) -> bool:
    """An ownerReference to this identity, or, where it was lost, our label; which a copy for a ClusterProfile has, too."""
    is_copy = names.LABEL_SYNCED_FROM in (credential.metadata.labels or {})
    return identity.metadata.uid in credential.owners or (is_labelled(credential.metadata) and not is_copy)


def refused_secret(identity: ManagedServiceAccount) -> Refusal:
    namespace, name = identity.metadata.namespace, identity.metadata.name
    return Refusal(
        "SecretConflict",
        f"Secret {namespace}/{name} on the hub was not made for this ManagedServiceAccount and is left alone: delete or rename it, "
        f"or have it taken over with: kubectl label -n {namespace} secret {name} {names.LABEL_SYNCED_FROM}- {names.LABEL_MANAGED}=true",
    )
