"""Candidates for approval: what the registration agent of c1 asks for, and the same but for what a test changes."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Final

from msgspec.structs import replace

from msa.api.addon import LABEL_ADDON, LABEL_CLUSTER, ManagedClusterAddOn
from msa.api.certificates import SigningRequest, SigningRequestSpec, SigningRequestStatus
from msa.api.cluster import ClusterSpec, ManagedCluster
from msa.api.meta import ObjectMeta
from msa.policy.approval import Candidate
from tests.support.signing_requests import COMMON_NAME, ORGANISATION, armour, part, pem, rdn, request

USER: Final = "system:open-cluster-management:cluster:c1:addon:managed-serviceaccount:agent:addon-agent"
GROUP: Final = "system:open-cluster-management:cluster:c1:addon:managed-serviceaccount"
FLEET: Final = "system:open-cluster-management:addon:managed-serviceaccount"
EVERYONE: Final = "system:authenticated"
ORGANISATIONS: Final = (GROUP, FLEET)
LABELS: Final = {LABEL_CLUSTER: "c1", LABEL_ADDON: "managed-serviceaccount"}

TENTH_GROUP: Final = "system:open-cluster-management:cluster:c10:addon:managed-serviceaccount"
TENTH_USER: Final = f"{TENTH_GROUP}:agent:addon-agent"
"""Of c10, whose names all begin as c1's do."""


def encoded(text: bytes) -> str:
    return b64encode(text).decode()


def organisations(*values: str) -> bytes:
    return rdn(*(part(ORGANISATION, value) for value in values))


def asked(user: str = USER, groups: tuple[str, ...] = ORGANISATIONS, **more: Any) -> str:
    """`spec.request` of a request for this user in these groups, and whatever `pem` can put in."""
    return encoded(pem(user, groups, **more))


def named(*rdns: bytes) -> str:
    """`spec.request` of a request for a name of these parts."""
    return encoded(armour(request(rdns)))


PEM: Final = pem(USER, ORGANISATIONS)
DER: Final = request((organisations(*ORGANISATIONS), rdn(part(COMMON_NAME, USER))))
CLUSTER: Final = ManagedCluster(ObjectMeta(name="c1"), ClusterSpec(hub_accepts_client=True))
ADDON: Final = ManagedClusterAddOn(ObjectMeta(name="managed-serviceaccount", namespace="c1"))
OPEN: Final = SigningRequestStatus()
LEAVING: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HONEST: Final = SigningRequestSpec(
    request=encoded(PEM),
    signer_name="kubernetes.io/kube-apiserver-client",
    usages=("digital signature", "key encipherment", "client auth"),
    username="system:open-cluster-management:c1:agent1",
    groups=("system:open-cluster-management", "system:open-cluster-management:c1", EVERYONE),
)


def candidate(
    *,
    labels: dict[str, str] | None = LABELS,
    status: SigningRequestStatus = OPEN,
    cluster: ManagedCluster | None = CLUSTER,
    addon: ManagedClusterAddOn | None = ADDON,
    **spec: Any,
) -> Candidate:
    """The registration agent's first request on c1, but for what is given."""
    metadata = ObjectMeta(name="addon-c1-managed-serviceaccount-x7k2p", labels=labels)
    return Candidate(SigningRequest(metadata, replace(HONEST, **spec), status), cluster, addon)
