"""Does the addon manager approve a CertificateSigningRequest: an ordered list of small checks, the first that finds something decides.

Here those of who asks for whom; when none has found anything, the request is opened, for those of `policy.certificate_checks`.

A certificate is who its holder is on the hub, so every field must equal the one value that it may have. Identities are never compared
by prefix: c10's begin as c1's do. What is in doubt is not denied but left undecided: people may still decide.

Pure. The reason that comes out goes unchanged to the Event, the log and the metric.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeAlias

from attrs import frozen

from msa.api import names, subjects
from msa.api.addon import LABEL_ADDON, LABEL_CLUSTER, ManagedClusterAddOn
from msa.api.certificates import CLIENT_SIGNER, SigningRequest, SigningRequestSpec
from msa.api.cluster import ManagedCluster
from msa.api.meta import ObjectMeta
from msa.policy import certificate_checks, signing_request
from msa.policy.certificate_checks import Opened
from msa.policy.doubts import Doubt, Reason, differs
from msa.policy.signing_request import NotPEM

SHORTEST: Final = timedelta(minutes=10)
"""The API's own lower bound."""

LONGEST: Final = timedelta(days=365)

MOST_UNDECIDED: Final = 32
"""Requests of one cluster, the newest, that are judged while none of them is decided."""

USAGES: Final = (
    ["client auth", "digital signature"],
    ["client auth", "digital signature", "key encipherment"],
)
"""Sorted. ECDSA and Ed25519 keys encipher nothing, so Kubernetes' own agents leave that out."""


@frozen
class Candidate:
    """A request, with what the hub knows of whom it is for.

    Attributes:
        cluster: the one that the request's label names.
        addon: ours on that cluster.
    """

    request: SigningRequest
    cluster: ManagedCluster | None
    addon: ManagedClusterAddOn | None

    @property
    def named(self) -> str:
        """The cluster that the request says it is for; nothing is proved by that."""
        return self.request.metadata.label(LABEL_CLUSTER)


Check: TypeAlias = Callable[[Candidate], Doubt | None]


def concerns(request: SigningRequest) -> bool:
    """Whether it is about our addon, as its label says; any other request is not ours to judge."""
    return request.metadata.label(LABEL_ADDON) == names.ADDON


def doubt(candidate: Candidate) -> Doubt | None:
    """The first thing wrong with the request, None where it is to be approved."""
    found = next((found for check in CHECKS if (found := check(candidate)) is not None), None)
    return found or _doubt_of_contents(candidate)


def too_many() -> Doubt:
    """About a request that is not judged, since the same asker has made too many newer ones."""
    wanted = f"at most {MOST_UNDECIDED} undecided requests of a cluster, of which the newest are judged"
    return differs(
        Reason.TOO_MANY, "CertificateSigningRequest", "more", wanted, "delete the older ones, and ask anew"
    )


def _doubt_of_contents(candidate: Candidate) -> Doubt | None:
    field, remedy = "spec.request", "make the request anew"
    try:
        asked = signing_request.read(candidate.request.spec.request)
    except NotPEM as error:
        wanted = (
            "one PEM block CERTIFICATE REQUEST, no headers, nothing before it, nothing but a line feed after"
        )
        return differs(Reason.NOT_PEM, field, str(error), wanted, remedy)
    except ValueError as error:
        wanted = "a PKCS #10 certificate request in DER"
        return differs(Reason.MALFORMED, field, str(error), wanted, remedy)
    return certificate_checks.doubt(Opened(candidate.named, asked))


def _already_decided(candidate: Candidate) -> Doubt | None:
    if not candidate.request.decided:
        return None
    found = ", ".join(condition.type for condition in candidate.request.status.conditions) or "a certificate"
    return differs(Reason.ALREADY_DECIDED, "status", found, "no decision yet", "make a new request")


def _wrong_signer(candidate: Candidate) -> Doubt | None:
    found = candidate.request.spec.signer_name
    if found == CLIENT_SIGNER:
        return None
    return differs(Reason.SIGNER, "spec.signerName", found, CLIENT_SIGNER, "ask that signer")


def _wrong_addon_label(candidate: Candidate) -> Doubt | None:
    if concerns(candidate.request):
        return None
    field, found = f"metadata.labels[{LABEL_ADDON}]", candidate.request.metadata.label(LABEL_ADDON)
    return differs(
        Reason.ADDON_LABEL, field, found, names.ADDON, "label the request with the addon it is for"
    )


def _cluster_unknown(candidate: Candidate) -> Doubt | None:
    if candidate.cluster is not None and candidate.cluster.metadata.name == candidate.named != "":
        return None
    wanted, remedy = (
        "the name of a ManagedCluster",
        "label the request with its cluster, or import that cluster",
    )
    return differs(
        Reason.CLUSTER_UNKNOWN, f"metadata.labels[{LABEL_CLUSTER}]", candidate.named, wanted, remedy
    )


def _cluster_not_accepted(candidate: Candidate) -> Doubt | None:
    if candidate.cluster is not None and candidate.cluster.spec.hub_accepts_client:
        return None
    field = f"spec.hubAcceptsClient of ManagedCluster {candidate.named}"
    return differs(Reason.CLUSTER_NOT_ACCEPTED, field, "false", "true", "accept the cluster")


def _cluster_deleting(candidate: Candidate) -> Doubt | None:
    if candidate.cluster is not None and candidate.cluster.metadata.deletion_timestamp is None:
        return None
    field = f"metadata.deletionTimestamp of ManagedCluster {candidate.named}"
    return differs(
        Reason.CLUSTER_DELETING, field, "a time", "none", "import the cluster anew once it is gone"
    )


def _addon_missing(candidate: Candidate) -> Doubt | None:
    found = candidate.addon.metadata if candidate.addon is not None else ObjectMeta()
    if (found.namespace, found.name) == (candidate.named, names.ADDON):
        return None
    wanted, remedy = f"{candidate.named}/{names.ADDON}", "install the addon on the cluster"
    return differs(
        Reason.ADDON_MISSING, "ManagedClusterAddOn", f"{found.namespace}/{found.name}", wanted, remedy
    )


def _addon_deleting(candidate: Candidate) -> Doubt | None:
    if candidate.addon is not None and candidate.addon.metadata.deletion_timestamp is None:
        return None
    field = f"metadata.deletionTimestamp of ManagedClusterAddOn {candidate.named}/{names.ADDON}"
    return differs(Reason.ADDON_DELETING, field, "a time", "none", "install the addon anew once it is gone")


def _wrong_requester(candidate: Candidate) -> Doubt | None:
    spec, cluster = candidate.request.spec, candidate.named
    if _is_clusters_agent(spec, cluster) or _is_our_agent(spec, cluster):
        return None
    return differs(
        Reason.REQUESTER,
        "spec.username and spec.groups",
        f"{spec.username} in {', '.join(spec.groups)}",
        f"system:open-cluster-management:{cluster}:<agent> in {subjects.cluster_group(cluster)}, or our agent there in both of its groups",
        "have the cluster's own registration agent ask",
    )


def _is_clusters_agent(spec: SigningRequestSpec, cluster: str) -> bool:
    match spec.username.split(":"):
        case ["system", "open-cluster-management", named, agent]:
            return named == cluster and agent != "" and subjects.cluster_group(cluster) in spec.groups
    return False


def _is_our_agent(spec: SigningRequestSpec, cluster: str) -> bool:
    """It renews its own certificate."""
    return spec.username == subjects.agent_user(cluster) and set(subjects.agent_groups(cluster)) <= set(
        spec.groups
    )


def _wrong_usages(candidate: Candidate) -> Doubt | None:
    found = candidate.request.spec.usages
    if sorted(found) in USAGES:
        return None
    wanted = "digital signature, client auth and at most key encipherment besides, each once"
    return differs(Reason.USAGES, "spec.usages", ", ".join(found), wanted, "ask for these")


def _expiration_out_of_bounds(candidate: Candidate) -> Doubt | None:
    found = candidate.request.spec.expiration_seconds
    if found is None or SHORTEST.total_seconds() <= found <= LONGEST.total_seconds():
        return None
    wanted = f"{SHORTEST.total_seconds():.0f} to {LONGEST.total_seconds():.0f}, or none"
    return differs(
        Reason.EXPIRATION, "spec.expirationSeconds", str(found), wanted, "ask for a life in between"
    )


CHECKS: tuple[Check, ...] = (
    _already_decided,  # it is still open
    _wrong_signer,  # the certificate is one for clients of this API
    _wrong_addon_label,  # it is for our addon
    _cluster_unknown,  # on a cluster that exists
    _cluster_not_accepted,  # that the hub has taken in
    _cluster_deleting,  # and that stays
    _addon_missing,  # the addon is wanted there
    _addon_deleting,  # and stays
    _wrong_requester,  # that cluster itself asks
    _wrong_usages,  # for use as a client alone
    _expiration_out_of_bounds,  # and not for ever
)
