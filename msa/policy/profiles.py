"""Which copies of a cluster's credential its ClusterProfiles shall have, and what they shall say of the way to the cluster.

A copy is Secret `<cluster>-<identity>` beside the profile. That name does not tell where the cluster's part of it ends, the controller
does: the profile has the cluster's name.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from attrs import frozen

from msa import pem
from msa.api import names
from msa.api.addon import LABEL_CLUSTER
from msa.api.cluster import ManagedCluster
from msa.api.clusterprofile import (
    EXEC_EXTENSION,
    GROUP,
    KIND,
    LABEL_MANAGER,
    MANAGER,
    ClusterProfile,
    SecretFacts,
)
from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import ObjectMeta, OwnerReference
from msa.policy.notices import Notice
from msa.policy.ownership import is_labelled
from msa.policy.readiness import ended

SECRET_TYPE: Final = "Opaque"  # noqa: S105 - the type of a Secret
LONGEST_NAME: Final = 63
"""Of a copy: its name is a label's value too."""

HUB_NAMESPACE: Final = MANAGER
"""Where OCM up to 1.1 makes the profiles of all clusters, without the label that names the cluster: the hub's own, and nobody's tenant."""

_NAMED: Final = 3
MARKS: Final = (names.ANNOTATION_EXPIRATION, names.ANNOTATION_LAST_REFRESH)
"""Annotations that a copy has from its source."""

Provider = dict[str, Any]


COPY_REFUSED: Final = "ClusterProfileCopyRefused"
"""Condition of a ManagedServiceAccount: some ClusterProfile of its cluster has no copy of its credential."""


class Reason(StrEnum):
    """Why a copy is not made; for Event, log and metric."""

    NAME_TOO_LONG = "ProfileSecretNameTooLong"
    CONFLICT = "ProfileSecretConflict"
    FOREIGN_CLUSTER = "ProfileInForeignCluster"
    NOT_BOUND = "ProfileNamespaceNotBound"
    UNKNOWN = "ProfileClusterSetsUnknown"


@frozen
class Rejection:
    """A copy that is not made.

    Attributes:
        message: what is in the way, and what the user can do.
    """

    reason: Reason
    message: str


@frozen
class Situation:
    """All that is known of one identity and the profiles of its cluster.

    Attributes:
        cluster: name of the cluster, which is the identity's namespace.
        name: of the identity.
        profiles: those of the cluster's name; None while it is not known which there are.
        copies: the Secrets with the copies' name and our label, in all namespaces, whomever they were made for.
        foreign: namespaces of profiles and copies that are other clusters' own.
        unbound: namespaces of profiles and copies that may not use the cluster; None while it is not known which may.
        identity_deleted: that the identity is gone was seen, and is not only inferred.
        cluster_deleted: the same of the cluster.
    """

    cluster: str
    name: str
    identity: FleetIdentity | None
    member: ManagedCluster | None
    source: SecretFacts | None
    profiles: Sequence[ClusterProfile] | None
    copies: Sequence[SecretFacts]
    foreign: frozenset[str] = frozenset()
    unbound: frozenset[str] | None = frozenset()
    identity_deleted: bool = False
    cluster_deleted: bool = False

    @property
    def ours(self) -> tuple[SecretFacts, ...]:
        """The copies that were made for it."""
        return tuple(copy for copy in self.copies if made_for(copy) == self.key)

    @property
    def copy_name(self) -> str:
        return f"{self.cluster}-{self.name}"

    @property
    def key(self) -> str:
        return f"{self.cluster}/{self.name}"


@frozen
class Write:
    """A copy to be made or put right.

    Attributes:
        name: of the copy.
        stored: the copy as it is; None where there is none.
    """

    profile: ClusterProfile
    name: str
    stored: SecretFacts | None

    @property
    def place(self) -> str:
        """`namespace/name` of the copy."""
        return f"{self.profile.metadata.namespace}/{self.name}"

    @property
    def anew(self) -> bool:
        """Whether what is stored cannot be changed, and must go first."""
        return self.stored is not None and (self.stored.immutable or self.stored.type != SECRET_TYPE)


@frozen
class Plan:
    """What is to be written; what goes is told by `policy.copy_losses`."""

    writes: tuple[Write, ...] = ()
    rejections: tuple[Rejection, ...] = ()


def plan(situation: Situation) -> Plan:
    if not _is_wanted(situation) or has_ended(situation.identity) or situation.profiles is None:
        return Plan()
    found = {item.metadata.namespace: item for item in situation.profiles if represents(item)}
    if situation.unbound is None:
        return Plan(rejections=(_unknown(situation),) if found else ())
    barred = situation.foreign | situation.unbound
    targets = {namespace: item for namespace, item in found.items() if namespace not in barred}
    refused = (*_unbound(situation, found.keys() & situation.unbound), *_betrayals(situation, found))
    if targets and len(situation.copy_name) > LONGEST_NAME:
        return Plan(rejections=(*refused, _too_long(situation)))
    source, identity = situation.source, situation.identity
    if source is None or identity is None or not is_source(source, identity):
        return Plan(rejections=refused)  # while the agent repairs it: the token in the copies may still live
    there = {copy.metadata.namespace: copy for copy in situation.copies}
    ours, writes, rejections = situation.ours, [], [*refused]
    for namespace, profile in sorted(targets.items()):
        stored = there.get(namespace)
        if stored is not None and stored not in ours:
            rejections.append(in_the_way(profile, stored))
        elif stored is None or (is_copy_of(stored, profile) and _is_to_be_written(stored, source)):
            writes.append(Write(profile, situation.copy_name, stored))
    return Plan(tuple(writes), tuple(rejections))


def notice(rejections: Sequence[Rejection]) -> Notice | None:
    """What the ManagedServiceAccount says of all of them."""
    if not rejections:
        return None
    message = "; ".join(dict.fromkeys(item.message for item in rejections))
    return Notice(COPY_REFUSED, rejections[0].reason, message)


def has_ended(identity: FleetIdentity | None) -> bool:
    """Whether its condition Ready says that its token can be used no more: a copy of that would look as if it were good."""
    return identity is not None and ended(identity.status.conditions) is not None


def is_asked_for(identity: FleetIdentity) -> bool:
    """Whether the user wants copies of its credential."""
    asked = (identity.metadata.labels or {}).get(names.LABEL_SYNC_TO_PROFILE, "false")
    return asked != "false" and identity.metadata.deletion_timestamp is None


def is_source(secret: SecretFacts, identity: FleetIdentity) -> bool:
    """Whether it is this identity's own credential, and complete."""
    uids = [owner.uid for owner in secret.metadata.owner_references]
    return secret.digest != "" and is_labelled(secret.metadata) and identity.metadata.uid in uids


def made_for(copy: SecretFacts) -> str | None:
    """`cluster/identity` that a Secret is a copy for, by its label and its controller; None where it is none."""
    owner = _controller(copy.metadata)
    if owner is None or names.LABEL_SYNCED_FROM not in (copy.metadata.labels or {}):
        return None
    name = copy.metadata.name.removeprefix(f"{owner.name}-")
    return f"{owner.name}/{name}" if name and name != copy.metadata.name else None


def is_copy_of(copy: SecretFacts, profile: ClusterProfile) -> bool:
    """Whether it was made for this profile, and not for an earlier one of that name."""
    owner = _controller(copy.metadata)
    return owner is not None and owner.uid == profile.metadata.uid


def represents(profile: ClusterProfile) -> bool:
    """Whether OCM made it for the cluster whose name it has, as far as it says itself: anybody may write that."""
    metadata = profile.metadata
    unnamed = metadata.name if metadata.namespace == HUB_NAMESPACE else ""
    return (
        metadata.deletion_timestamp is None
        and metadata.label(LABEL_MANAGER) == MANAGER
        and (metadata.label(LABEL_CLUSTER) or unnamed) == metadata.name
    )


def in_the_way(profile: ClusterProfile, stored: SecretFacts) -> Rejection:
    """Something has a copy's name that is no copy for this profile."""
    place = f"{stored.metadata.namespace}/{stored.metadata.name}"
    said = f"Secret {place} exists and is not the copy for ClusterProfile {profile.metadata.namespace}/{profile.metadata.name}: "
    other = made_for(stored)
    why = (
        f"it belongs to ManagedServiceAccount {other}, whose copy has the same name: rename one of the two"
        if other is not None
        else "it was not created by this addon: delete or rename it, and the copy is created within a minute"
    )
    return Rejection(Reason.CONFLICT, said + why)


def labels(copy_name: str) -> dict[str, str]:
    """Those of a copy that are ours."""
    return {names.LABEL_SYNCED_FROM: copy_name, **names.MANAGED_LABELS}


def _is_wanted(situation: Situation) -> bool:
    identity, member = situation.identity, situation.member
    return identity is not None and is_asked_for(identity) and member is not None and member.belongs


def _controller(metadata: ObjectMeta) -> OwnerReference | None:
    for owner in metadata.owner_references:
        if owner.controller and owner.kind == KIND and owner.api_version.partition("/")[0] == GROUP:
            return owner
    return None


def _is_to_be_written(stored: SecretFacts, source: SecretFacts) -> bool:
    metadata = stored.metadata
    if metadata.deletion_timestamp is not None:
        return False  # somebody holds it by a finalizer: it is made anew when it is gone
    right = (
        stored.type == SECRET_TYPE
        and not stored.immutable
        and stored.keys == names.SECRET_KEYS
        and stored.digest == source.digest
        and labels(metadata.name).items() <= (metadata.labels or {}).items()
        and all(metadata.annotation(mark) == source.metadata.annotation(mark) for mark in MARKS)
    )
    return not right


def _unknown(situation: Situation) -> Rejection:
    return Rejection(
        Reason.UNKNOWN,
        f"the addon manager cannot read ManagedClusterSets or ManagedClusterSetBindings, so it cannot tell where the credential of "
        f"{situation.cluster} may be copied: existing copies stay, no copy is created. Restore the manager's rights: helm upgrade",
    )


def _unbound(situation: Situation, namespaces: Collection[str]) -> tuple[Rejection, ...]:
    """One for all of them: whoever may create ClusterProfiles may create many."""
    if not namespaces:
        return ()
    cluster, chosen = situation.cluster, sorted(namespaces)
    more = f" and {len(chosen) - _NAMED} more" if len(chosen) > _NAMED else ""
    return (
        Rejection(
            Reason.NOT_BOUND,
            f"ClusterProfile {cluster} in namespace {', '.join(chosen[:_NAMED])}{more} gets no copy: no ManagedClusterSet with {cluster} is "
            f"bound there. Bind one: clusteradm clusterset bind SET --namespace {chosen[0]}",
        ),
    )


def _betrayals(situation: Situation, found: Mapping[str, ClusterProfile]) -> tuple[Rejection, ...]:
    barred = situation.foreign - (situation.unbound or frozenset())
    return tuple(_betrayal(situation, found[name]) for name in sorted(found.keys() & barred))


def _betrayal(situation: Situation, profile: ClusterProfile) -> Rejection:
    """The agent of that other cluster may read all Secrets there, and would have the token."""
    place = profile.metadata.namespace
    return Rejection(
        Reason.FOREIGN_CLUSTER,
        f"ClusterProfile {place}/{profile.metadata.name} is in the namespace of managed cluster {place}, whose agent may read Secrets "
        f"there, so the credential of {situation.cluster} is not copied to it: bind the cluster set to another namespace",
    )


def _too_long(situation: Situation) -> Rejection:
    name = situation.copy_name
    return Rejection(
        Reason.NAME_TOO_LONG,
        f"the copy for ClusterProfile {situation.cluster} would be Secret {name!r} of {len(name)} characters; the limit is {LONGEST_NAME}: "
        f"choose a shorter name for this ManagedServiceAccount",
    )


def providers_digest(providers: Sequence[Any]) -> str:
    """SHA-256, hexadecimal, of `accessProviders`, whatever the order of fields in them; "" for none."""
    if not providers:
        return ""
    return hashlib.sha256(msgspec.json.encode(providers, order="deterministic")).hexdigest()


def providers_to_publish(
    profile: ClusterProfile, cluster: ManagedCluster | None
) -> tuple[Provider, ...] | None:
    """The `accessProviders` that a profile shall have; None where nothing is to be written.

    Where somebody else has written any, also some like ours, they are left to him: two who write one list never come to rest.
    """
    access = profile.access
    if not represents(profile) or (access.names and not is_our_access(profile)):
        return None
    wanted = _providers(cluster)
    return wanted if providers_digest(wanted) != access.digest else None


def is_our_access(profile: ClusterProfile) -> bool:
    """Whether its `accessProviders` are what we wrote, and nobody else."""
    access = profile.access
    return access.names == (MANAGER,) and access.publishers == {names.FIELD_MANAGER}


def _providers(cluster: ManagedCluster | None) -> tuple[Provider, ...]:
    if cluster is None or not cluster.belongs or not cluster.spec.managed_cluster_client_configs:
        return ()
    config = cluster.spec.managed_cluster_client_configs[0]
    if not config.url:
        return ()
    extension: Mapping[str, Any] = {
        "name": EXEC_EXTENSION,
        "extension": {"clusterName": cluster.metadata.name},
    }
    trust = {"certificate-authority-data": _readable(config.ca_bundle)} if config.ca_bundle else {}
    return ({"name": MANAGER, "cluster": {"server": config.url, **trust, "extensions": [extension]}},)


def _readable(ca_bundle: str) -> str:
    """The bundle as clients in every language take it. One without any certificate stays: without it they would trust the system's."""
    try:
        bundle = b64decode(ca_bundle)
    except ValueError:
        return ca_bundle
    readable = pem.cleaned(bundle)
    return b64encode(readable).decode() if readable and readable != bundle else ca_bundle
