"""Who asks for whom: requests are forged here field by field, and each is left undecided by the check that is meant to find it.

What the forged requests of `test_certificate_checks` have inside, these have around it.
"""

from typing import Final

import msgspec
import pytest
from msgspec.structs import replace

from msa.api.addon import LABEL_ADDON, LABEL_CLUSTER, ManagedClusterAddOn
from msa.api.certificates import SigningRequest, SigningRequestStatus
from msa.api.cluster import ClusterSpec
from msa.api.meta import Condition, ObjectMeta
from msa.policy import approval
from msa.policy.approval import Candidate
from msa.policy.doubts import Reason
from tests.support.candidates import (
    ADDON,
    CLUSTER,
    DER,
    EVERYONE,
    FLEET,
    GROUP,
    LABELS,
    LEAVING,
    ORGANISATIONS,
    PEM,
    TENTH_GROUP,
    TENTH_USER,
    USER,
    asked,
    candidate,
    encoded,
    named,
    organisations,
)
from tests.support.signing_requests import (
    BITS,
    CHALLENGE_PASSWORD,
    COMMON_NAME,
    ED25519,
    EXTENSION_REQUEST,
    OCTETS,
    OID,
    ORGANISATION,
    P384,
    PRINTABLE,
    SEQUENCE,
    SET,
    UTF8,
    armour,
    attribute,
    dns_names,
    key_usage,
    part,
    pem,
    rdn,
    rsa_key,
    tlv,
)

OURS: Final = "system:open-cluster-management:c1"
MAY_SIGN: Final = key_usage(key_encipherment=False)
SERVER_NAME: Final = dns_names("kubernetes.default.svc")
PASSWORD: Final = attribute(CHALLENGE_PASSWORD, tlv(UTF8, b"secret"))


def decided_as(kind: str) -> SigningRequestStatus:
    return SigningRequestStatus((Condition(kind, "True"),))


NO_ENCIPHERMENT: Final = ("client auth", "digital signature")
LONG: Final = "c" * 63
LONG_GROUP: Final = f"system:open-cluster-management:cluster:{LONG}:addon:managed-serviceaccount"

TO_BE_APPROVED = {
    "the registration agent's first request": candidate(),
    "the renewal by our agent itself": candidate(username=USER, groups=(GROUP, FLEET, EVERYONE)),
    "an RSA key of 2048 bits": candidate(request=asked(key=rsa_key())),
    "a P-384 key": candidate(request=asked(key=P384)),
    "an Ed25519 key": candidate(request=asked(key=ED25519), usages=NO_ENCIPHERMENT),
    "system:authenticated as an organisation besides": candidate(
        request=asked(groups=(*ORGANISATIONS, EVERYONE))
    ),
    "organisations each in a part of the name of its own": candidate(
        request=named(organisations(FLEET), rdn(part(COMMON_NAME, USER)), organisations(GROUP))
    ),
    "names of the type PrintableString": candidate(
        request=named(
            rdn(*(part(ORGANISATION, group, PRINTABLE) for group in ORGANISATIONS)),
            rdn(part(COMMON_NAME, USER, PRINTABLE)),
        )
    ),
    "usages without key encipherment": candidate(usages=NO_ENCIPHERMENT),
    "usages in another order": candidate(usages=("client auth", "key encipherment", "digital signature")),
    "the key usage extension": candidate(request=asked(extensions=[key_usage(key_encipherment=False)])),
    "the key usage extension with key encipherment": candidate(
        request=asked(extensions=[key_usage(key_encipherment=True)])
    ),
    "the key usage extension, not critical": candidate(
        request=asked(extensions=[key_usage(key_encipherment=True, critical=False)])
    ),
    "the name that OCM's registration agent puts there for every addon": candidate(
        request=asked(extensions=[dns_names("managed-serviceaccount.addon.open-cluster-management.io")])
    ),
    "no line feed after the PEM block": candidate(request=encoded(PEM.rstrip())),
    "a life of ten minutes": candidate(expiration_seconds=600),
    "a life of a year": candidate(expiration_seconds=365 * 86400),
    "a cluster with a name as long as can be": candidate(
        labels=LABELS | {LABEL_CLUSTER: LONG},
        cluster=replace(CLUSTER, metadata=ObjectMeta(name=LONG)),
        addon=ManagedClusterAddOn(ObjectMeta(name="managed-serviceaccount", namespace=LONG)),
        request=asked(f"{LONG_GROUP}:agent:addon-agent", (LONG_GROUP, FLEET)),
        username=f"system:open-cluster-management:{LONG}:agent1",
        groups=(f"system:open-cluster-management:{LONG}",),
    ),
}

CIRCUMSTANCES = {
    "approved already": (Reason.ALREADY_DECIDED, candidate(status=decided_as("Approved"))),
    "denied already": (Reason.ALREADY_DECIDED, candidate(status=decided_as("Denied"))),
    "failed already": (Reason.ALREADY_DECIDED, candidate(status=decided_as("Failed"))),
    "with its certificate already": (
        Reason.ALREADY_DECIDED,
        candidate(status=SigningRequestStatus(certificate="LS0t")),
    ),
    "to the signer of kubelets": (
        Reason.SIGNER,
        candidate(signer_name="kubernetes.io/kube-apiserver-client-kubelet"),
    ),
    "to a signer of somebody's own": (
        Reason.SIGNER,
        candidate(signer_name="example.com/kube-apiserver-client"),
    ),
    "to no signer": (Reason.SIGNER, candidate(signer_name="")),
    "labelled with another addon": (
        Reason.ADDON_LABEL,
        candidate(labels=LABELS | {LABEL_ADDON: "managed-serviceaccount-2"}),
    ),
    "without the addon's label": (Reason.ADDON_LABEL, candidate(labels={LABEL_CLUSTER: "c1"})),
    "without labels": (Reason.ADDON_LABEL, candidate(labels=None)),
    "without the cluster's label": (
        Reason.CLUSTER_UNKNOWN,
        candidate(labels={LABEL_ADDON: "managed-serviceaccount"}),
    ),
    "labelled with a cluster that does not exist": (Reason.CLUSTER_UNKNOWN, candidate(cluster=None)),
    "labelled with another cluster than the one looked at": (
        Reason.CLUSTER_UNKNOWN,
        candidate(cluster=replace(CLUSTER, metadata=ObjectMeta(name="c10"))),
    ),
    "with an empty label and a cluster without a name": (
        Reason.CLUSTER_UNKNOWN,
        candidate(labels=LABELS | {LABEL_CLUSTER: ""}, cluster=replace(CLUSTER, metadata=ObjectMeta())),
    ),
    "for a cluster that the hub has not accepted": (
        Reason.CLUSTER_NOT_ACCEPTED,
        candidate(cluster=replace(CLUSTER, spec=ClusterSpec())),
    ),
    "for a cluster that is being deleted": (
        Reason.CLUSTER_DELETING,
        candidate(cluster=replace(CLUSTER, metadata=ObjectMeta(name="c1", deletion_timestamp=LEAVING))),
    ),
    "for a cluster without the addon": (Reason.ADDON_MISSING, candidate(addon=None)),
    "for a cluster without the addon while c10 has it": (
        Reason.ADDON_MISSING,
        candidate(addon=ManagedClusterAddOn(replace(ADDON.metadata, namespace="c10"))),
    ),
    "for a cluster with another addon": (
        Reason.ADDON_MISSING,
        candidate(addon=ManagedClusterAddOn(replace(ADDON.metadata, name="work-manager"))),
    ),
    "for an addon that is being deleted": (
        Reason.ADDON_DELETING,
        candidate(addon=ManagedClusterAddOn(replace(ADDON.metadata, deletion_timestamp=LEAVING))),
    ),
    "for client and server use": (
        Reason.USAGES,
        candidate(usages=("digital signature", "key encipherment", "client auth", "server auth")),
    ),
    "for use as a server": (
        Reason.USAGES,
        candidate(usages=("digital signature", "key encipherment", "server auth")),
    ),
    "for use without client auth": (
        Reason.USAGES,
        candidate(usages=("digital signature", "key encipherment")),
    ),
    "for use without digital signature": (
        Reason.USAGES,
        candidate(usages=("key encipherment", "client auth")),
    ),
    "for any use": (Reason.USAGES, candidate(usages=("digital signature", "client auth", "any"))),
    "for signing certificates": (
        Reason.USAGES,
        candidate(usages=("digital signature", "client auth", "cert sign")),
    ),
    "for one use twice": (Reason.USAGES, candidate(usages=(*NO_ENCIPHERMENT, "client auth"))),
    "for no use": (Reason.USAGES, candidate(usages=())),
    "for a life under ten minutes": (Reason.EXPIRATION, candidate(expiration_seconds=599)),
    "for a life over a year": (Reason.EXPIRATION, candidate(expiration_seconds=365 * 86400 + 1)),
    "for no life": (Reason.EXPIRATION, candidate(expiration_seconds=0)),
    "for a life that is over": (Reason.EXPIRATION, candidate(expiration_seconds=-3600)),
}


def by(username: str, *groups: str) -> tuple[Reason, Candidate]:
    return Reason.REQUESTER, candidate(username=username, groups=groups)


REQUESTERS = {
    "by c10's registration agent": by(
        "system:open-cluster-management:c10:agent1", "system:open-cluster-management:c10"
    ),
    "by c10's registration agent, for c1's group too": by("system:open-cluster-management:c10:agent1", OURS),
    "by c1's registration agent, for c10": (
        Reason.REQUESTER,
        candidate(
            labels=LABELS | {LABEL_CLUSTER: "c10"},
            cluster=replace(CLUSTER, metadata=ObjectMeta(name="c10")),
            addon=ManagedClusterAddOn(replace(ADDON.metadata, namespace="c10")),
            request=asked(TENTH_USER, (TENTH_GROUP, FLEET)),
        ),
    ),
    "by an agent of c1 outside of its group": by("system:open-cluster-management:c1:agent1", EVERYONE),
    "by an agent of c1 in c10's group": by(
        "system:open-cluster-management:c1:agent1", "system:open-cluster-management:c10"
    ),
    "by a user with the name of c1's group": by(OURS, OURS),
    "by an agent of c1 without a name": by(f"{OURS}:", OURS),
    "by a user with a part too many": by(f"{OURS}:agent1:more", OURS),
    "by a user in other letters": by("System:open-cluster-management:c1:agent1", OURS),
    "by a user with a space before": by(" system:open-cluster-management:c1:agent1", OURS),
    "by a user of another system": by("system:open-cluster-managemen:c1:agent1", OURS),
    "by a user with another first part": by("tenant:open-cluster-management:c1:agent1", OURS),
    "by an administrator": by("kubernetes-admin", "system:masters", OURS),
    "by nobody": by("", OURS),
    "by our agent on c10": by(TENTH_USER, TENTH_GROUP, FLEET),
    "by our agent on c10 in c1's groups": by(TENTH_USER, *ORGANISATIONS),
    "by our agent on c1 without its cluster's group": by(USER, FLEET, EVERYONE),
    "by our agent on c1 without the addon's group": by(USER, GROUP, EVERYONE),
    "by another addon's agent on c1": by(
        "system:open-cluster-management:cluster:c1:addon:work-manager:agent:work-manager",
        OURS,
        *ORGANISATIONS,
    ),
    "by another agent of our addon on c1": by(f"{GROUP}:agent:other", OURS, *ORGANISATIONS),
    "by a ServiceAccount of c1's namespace": by(
        "system:serviceaccount:c1:managed-serviceaccount-agent", OURS
    ),
}


def holding(text: bytes | str) -> tuple[Reason, Candidate]:
    return Reason.NOT_PEM, candidate(request=text if isinstance(text, str) else encoded(text))


ENVELOPES = {
    "with nothing in it": holding(""),
    "with text that is no base64": holding("-----BEGIN CERTIFICATE REQUEST-----"),
    "with characters that are no ASCII": holding("ÄÖÜ="),
    "with a character between that is no base64": holding(f"{encoded(PEM)[:40]}!{encoded(PEM)[40:]}"),
    "with DER instead of PEM": holding(DER),
    "labelled a certificate": holding(armour(DER, "CERTIFICATE")),
    "labelled in the old way": holding(armour(DER, "NEW CERTIFICATE REQUEST")),
    "with a private key": holding(armour(b"key", "PRIVATE KEY")),
    "with a second block": holding(PEM + pem("system:admin", ("system:masters",))),
    "with text before the block": holding(b"Certificate Request:\n" + PEM),
    "with text after the block": holding(PEM + b"trailing"),
    "with an empty line after the block": holding(PEM + b"\n"),
    "with a NUL after the block": holding(PEM + b"\0"),
    "with headers in the block": holding(PEM.replace(b"-----\nMII", b"-----\nProc-Type: 4\n\nMII", 1)),
    "with Windows' line ends": holding(PEM.replace(b"\n", b"\r\n")),
    "with a block that is no base64": holding(PEM.replace(b"\n-----END", b"=A\n-----END")),
    "with an empty block": holding(armour(b"")),
    "with more than any key takes": holding(pem(USER, ORGANISATIONS, attributes=[PASSWORD] * 400)),
}


def made_of(der: bytes) -> tuple[Reason, Candidate]:
    return Reason.MALFORMED, candidate(request=encoded(armour(der)))


MALFORMED = {
    "of other bytes": made_of(b"not DER at all"),
    "cut short": made_of(DER[:-1]),
    "with a byte after it": made_of(DER + b"\0"),
    "of an empty sequence": made_of(tlv(SEQUENCE)),
    "with two values in one attribute": (
        Reason.MALFORMED,
        candidate(
            request=asked(
                attributes=[attribute(EXTENSION_REQUEST, tlv(SEQUENCE, MAY_SIGN), tlv(SEQUENCE, SERVER_NAME))]
            )
        ),
    ),
    "with no value in an attribute": (
        Reason.MALFORMED,
        candidate(request=asked(attributes=[attribute(EXTENSION_REQUEST)])),
    ),
    "with a set of extensions": (
        Reason.MALFORMED,
        candidate(request=asked(attributes=[attribute(EXTENSION_REQUEST, tlv(SET, SERVER_NAME))])),
    ),
    "with an extension that has a fourth part": (
        Reason.MALFORMED,
        candidate(request=asked(extensions=[tlv(SEQUENCE, MAY_SIGN[2:], tlv(BITS, b"\0"))])),
    ),
    "with an extension whose identifier goes on for ever": (
        Reason.MALFORMED,
        candidate(
            request=asked(extensions=[tlv(SEQUENCE, tlv(OID, b"\xff" * 3000 + b"\x7f"), tlv(OCTETS, b""))])
        ),
    ),
}


FORGERIES = CIRCUMSTANCES | REQUESTERS | ENVELOPES | MALFORMED


@pytest.mark.parametrize("honest", TO_BE_APPROVED.values(), ids=list(TO_BE_APPROVED))
def test_an_honest_request_is_approved(honest: Candidate) -> None:
    assert approval.doubt(honest) is None


@pytest.mark.parametrize(("reason", "forged"), FORGERIES.values(), ids=list(FORGERIES))
def test_a_forged_request_stays_undecided_by_the_check_that_is_meant_to_find_it(
    reason: Reason, forged: Candidate
) -> None:
    found = approval.doubt(forged)
    assert found is not None
    assert found.reason is reason


@pytest.mark.parametrize("forged", [forged for _, forged in FORGERIES.values()], ids=list(FORGERIES))
def test_a_doubt_says_what_was_found_and_what_is_wanted_in_plain_letters(forged: Candidate) -> None:
    found = approval.doubt(forged)
    assert found is not None
    assert found.message.isascii()
    assert found.message.isprintable()
    assert ": found " in found.message
    assert ", wanted " in found.message
    assert len(found.message) <= 1024, "an Event's message holds no more"


@pytest.mark.parametrize("check", approval.CHECKS)
def test_each_check_alone_keeps_some_forgery_out(
    check: approval.Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approval, "CHECKS", tuple(other for other in approval.CHECKS if other is not check))
    assert None in {approval.doubt(forged) for _, forged in FORGERIES.values()}


@pytest.mark.parametrize(
    ("labels", "ours"),
    [
        (LABELS, True),
        ({LABEL_ADDON: "managed-serviceaccount"}, True),
        ({LABEL_ADDON: "managed-serviceaccount-2"}, False),
        ({LABEL_CLUSTER: "c1"}, False),
        (None, False),
    ],
)
def test_only_requests_with_our_addons_label_are_ours_to_judge(
    labels: dict[str, str] | None, ours: bool
) -> None:
    assert approval.concerns(candidate(labels=labels).request) is ours


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({}, None),
        (
            {"conditions": [{"type": "Approved", "status": "True", "lastTransitionTime": None}]},
            Reason.ALREADY_DECIDED,
        ),
    ],
)
def test_a_request_is_judged_as_the_api_server_sends_it(
    status: dict[str, object], reason: Reason | None
) -> None:
    stored = {
        "metadata": {
            "name": "addon-c1-managed-serviceaccount-x7k2p",
            "labels": LABELS,
            "managedFields": [{}],
        },
        "spec": {
            "request": encoded(PEM),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["digital signature", "key encipherment", "client auth"],
            "username": "system:open-cluster-management:c1:agent1",
            "groups": ["system:open-cluster-management:c1", EVERYONE],
            "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=00"]},
        },
        "status": status,
    }
    read = msgspec.json.decode(msgspec.json.encode(stored), type=SigningRequest)
    found = approval.doubt(Candidate(read, CLUSTER, ADDON))
    assert (found.reason if found is not None else None) is reason
