"""How the addon's agent registers on the hub, and whom its rights are given to.

OCM's side of the cluster says by which driver: with `csr` the agent is the user that we choose, with `token` a ServiceAccount that the
cluster's side names. What a cluster's side says is never trusted further than to be exactly what the contract gives for this very cluster.
"""

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from msa.api import addon as api
from msa.api import names, subjects
from msa.api.addon import (
    ConfigGroupResource,
    DeploymentConfig,
    KubeClient,
    ManagedClusterAddOn,
    Registration,
    Subject,
)
from msa.api.certificates import CLIENT_SIGNER
from msa.api.work import Work

KUBE_CLIENT: Final = "kubeClient"
SUPPORTED_CONFIGS: Final = (ConfigGroupResource(api.GROUP, api.DEPLOYMENT_CONFIGS),)


@frozen
class Obstacle:
    """Why nobody is given any rights yet.

    Attributes:
        reason: of the condition RegistrationApplied.
        refused: it is not a matter of waiting: somebody must change something.
        granted: the agent that runs has its rights meanwhile, as it was registered before.
    """

    reason: str
    message: str
    refused: bool
    granted: bool = False


def subject(addon: ManagedClusterAddOn, granted: str = "") -> Subject | Obstacle:
    """Who gets the agent's rights in the cluster's namespace.

    A manager of the Go addon that still runs beside us in an upgrade writes `status.registrations` as well, and for a moment they may be
    empty, or name its subject: what was granted to the agent by its driver stays until the cluster's side says otherwise.

    Args:
        addon: with the stored status.
        granted: the user that has the rights now, "" for nobody.
    """
    ours, expected = _chosen_subject(addon), Subject(subjects.token_user(addon.metadata.namespace))
    by, named = driver(addon), _stored_subject(addon)
    if by != api.DRIVER_TOKEN and (by or granted != expected.user):
        return ours
    # The cluster's side sets the driver first, and only after that its subject over ours.
    if named in (Subject(), ours):
        message, registered = "registration subject not ready", granted == ours.user
        return (
            expected
            if granted == expected.user
            else Obstacle("PermissionConfigPending", message, refused=False, granted=registered)
        )
    if named == expected:
        return named
    groups = ", ".join(group[:200] for group in named.groups[:5])
    return Obstacle(
        "SetPermissionFailed",
        f"status.registrations names user {named.user[:200]!a} and groups {groups!a}; with the driver token it may only be user "
        f"{expected.user} and no group: nobody is given the agent's rights. Remove that entry from the status, and see who wrote it",
        refused=True,
    )


def registrations(addon: ManagedClusterAddOn, version: str) -> tuple[Registration, ...]:
    """`status.registrations` as this API version spells it. The driver, and a subject that the cluster's side set, stay."""
    chosen = driver(addon)
    who = _stored_subject(addon) if chosen == api.DRIVER_TOKEN else _chosen_subject(addon)
    if version == api.V1ALPHA1:
        return (Registration(signer_name=CLIENT_SIGNER, subject=who),)
    return (Registration(type=KUBE_CLIENT, kube_client=KubeClient(who, chosen)),)


def driver(addon: ManagedClusterAddOn) -> str:
    """csr, token, or "" while the cluster's side has not said."""
    if addon.status.kube_client_driver:
        return addon.status.kube_client_driver
    stored = _kube_client(addon)
    return stored.kube_client.driver if stored is not None and stored.kube_client is not None else ""


def install_namespace(addon: ManagedClusterAddOn, config: DeploymentConfig | None, running: str) -> str:
    """Where the agent is installed on the managed cluster.

    The first that names another namespace than the default: the configuration, the annotation, the spec. The API server writes the
    default into all three, so the default there is nobody's wish. Else a running agent stays where it is: moved, it would create all
    ServiceAccounts anew, and whatever was granted to them would be lost.

    Args:
        addon: with the annotation and the spec.
        config: None where none is in use.
        running: where an agent runs already, see `running_in`; "" for nowhere.
    """
    asked = (
        config.spec.agent_install_namespace if config is not None else "",
        addon.metadata.annotation(api.ANNOTATION_INSTALL_NAMESPACE),
        addon.spec.install_namespace,
    )
    explicit = (name for name in asked if name not in ("", names.DEFAULT_INSTALL_NAMESPACE))
    return next(explicit, running or names.DEFAULT_INSTALL_NAMESPACE)


def running_in(addon: ManagedClusterAddOn, works: Iterable[Work | None]) -> str:
    """Where the agent is by now: as the status says or, where a hub was restored without it, the first of the ManifestWorks.

    The cluster's side may write both: what cannot be a namespace is ignored. A work that is being deleted takes the agent with it.

    Args:
        addon: with the stored status.
        works: ours for that cluster, None for one that is not there.
    """
    standing = (work for work in works if work is not None and work.metadata.deletion_timestamp is None)
    said = (addon.status.namespace, *(work.namespace for work in standing))
    return next((name for name in said if names.NAMESPACE_NAME.fullmatch(name)), "")


def is_ours(addon: ManagedClusterAddOn) -> bool:
    """Whether OCM made it from our ClusterManagementAddOn."""
    return any(
        owner.api_version.partition("/")[0] == api.GROUP
        and owner.kind == api.CLUSTER_MANAGEMENT_ADDON
        and owner.name == names.ADDON
        for owner in addon.metadata.owner_references
    )


def _kube_client(addon: ManagedClusterAddOn) -> Registration | None:
    """The registration for the hub's own API, in either spelling."""
    for stored in addon.status.registrations:
        if stored.type == KUBE_CLIENT or stored.signer_name == CLIENT_SIGNER:
            return stored
    return None


def _stored_subject(addon: ManagedClusterAddOn) -> Subject:
    stored = _kube_client(addon)
    if stored is None:
        return Subject()
    return stored.kube_client.subject if stored.kube_client is not None else stored.subject


def _chosen_subject(addon: ManagedClusterAddOn) -> Subject:
    """Who the agent is with the driver csr, as we write it."""
    cluster = addon.metadata.namespace
    return Subject(subjects.agent_user(cluster), subjects.agent_groups(cluster))
