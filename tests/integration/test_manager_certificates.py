"""Certificates for agents: real requests, each under its requester's real identity, before the manager with the chart's rights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import subjects
from tests.support import signing_requests
from tests.support.certificate_requests import PATIENCE, Certificates, honest
from tests.support.manager import Membership, Replica, managing
from tests.support.signing_requests import (
    ED25519,
    ORGANISATIONAL_UNIT,
    OTHER_P256,
    P256,
    P384,
    dns_names,
    key_usage,
    part,
    rdn,
    rsa_key,
)

_OCM_NAME = "managed-serviceaccount.addon.open-cluster-management.io"
_USER, _GROUPS = subjects.agent_user("c1"), subjects.agent_groups("c1")
_ANYBODY = "anybody-may-ask"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def manager(ocm: Fleet) -> Iterator[Replica]:
    """With two clusters, the name of one beginning as the other's does; anybody may ask for certificates."""
    verbs = "--verb=create,get,list,watch"
    hub = ocm.hub
    hub.kubectl("create", "clusterrole", _ANYBODY, verbs, "--resource=certificatesigningrequests")
    hub.kubectl(
        *("create", "clusterrolebinding", _ANYBODY, f"--clusterrole={_ANYBODY}"),
        "--group=system:authenticated",
    )
    with managing(hub, "certificates") as replica:
        for name in ("c1", "c10"):
            Membership(ocm, name).accept()
        for name in ("c1", "c10"):
            Membership(ocm, name).wait_installed()
        yield replica
    hub.kubectl("delete", f"clusterrole/{_ANYBODY}", f"clusterrolebinding/{_ANYBODY}")


@pytest.fixture
def certificates(ocm: Fleet) -> Certificates:
    return Certificates(ocm.hub)


@pytest.mark.parametrize(
    ("cluster", "pem", "spec"),
    [
        ("c1", honest("c1", extensions=[dns_names(_OCM_NAME)]), {}),
        ("c10", honest("c10"), {"expirationSeconds": 3600}),
        ("c1", honest("c1", key=rsa_key(), extensions=[key_usage(key_encipherment=True)]), {}),
        ("c1", honest("c1", key=P384), {"usages": ["client auth", "digital signature"]}),
        ("c1", honest("c1", key=ED25519), {}),
        (
            "c1",
            signing_requests.pem(_USER, [*_GROUPS, subjects.AUTHENTICATED]),
            {},
        ),
    ],
    ids=["as OCM asks", "c10", "RSA", "P-384", "Ed25519", "system:authenticated"],
)
def test_what_a_clusters_own_agent_may_ask_for_is_approved_and_signed(
    manager: Replica, certificates: Certificates, cluster: str, pem: bytes, spec: dict[str, Any]
) -> None:
    before = manager.value("msa_csr_decisions_total", decision="approved")
    name = certificates.ask(certificates.registration_agent(cluster), cluster, pem, **spec)
    assert b"BEGIN CERTIFICATE" in certificates.certificate(name)
    assert certificates.decided(name) == ["Approved"]
    certificates.wait_event(name, "Approved")
    assert "approved for the agent of addon" in certificates.described(name)
    assert manager.value("msa_csr_decisions_total", decision="approved") == before + 1


def test_the_holder_is_the_agent_and_renews_its_own_certificate(
    manager: Replica, certificates: Certificates, tmp_path: Path
) -> None:
    first = certificates.ask(certificates.registration_agent("c1"), "c1", honest("c1"))
    agent = certificates.kubeconfig(first, tmp_path / "first")
    who = certificates.whoami(agent)
    assert who["username"] == subjects.agent_user("c1")
    assert set(who["groups"]) == {*subjects.agent_groups("c1"), subjects.AUTHENTICATED}
    second = certificates.ask(agent, "c1", honest("c1", key=OTHER_P256))
    renewed = certificates.kubeconfig(second, tmp_path / "second", OTHER_P256)
    assert certificates.whoami(renewed)["username"] == subjects.agent_user("c1")


@frozen
class Forgery:
    """What is asked for as the agent of c1, but for what is given.

    Attributes:
        who: whose registration agent asks.
        cluster: in the request's label.
        reason: of the check that finds it.
    """

    reason: str
    who: str = "c1"
    cluster: str = "c1"
    pem: bytes = honest("c1")
    spec: dict[str, Any] = field(factory=dict)


_FORGERIES = {
    "another cluster's user": Forgery("WrongCommonName", pem=honest("c10")),
    "another cluster's user, the longer name's": Forgery(
        "WrongCommonName", who="c10", cluster="c10", pem=honest("c1")
    ),
    "for another cluster": Forgery("WrongRequester", who="c10"),
    "for another cluster, the longer name's": Forgery("WrongRequester", cluster="c10", pem=honest("c10")),
    "a cluster that is not there": Forgery("ClusterUnknown", cluster="c100"),
    "one more group": Forgery("WrongOrganizations", pem=signing_requests.pem(_USER, [*_GROUPS, "admins"])),
    "one group only": Forgery("WrongOrganizations", pem=signing_requests.pem(_USER, _GROUPS[:1])),
    "a unit besides": Forgery(
        "ForeignNamePart", pem=honest("c1", more_rdns=[rdn(part(ORGANISATIONAL_UNIT, "x"))])
    ),
    "a server's name": Forgery(
        "SubjectAltName", pem=honest("c1", extensions=[dns_names("kubernetes.default")])
    ),
    "one more name than OCM's": Forgery(
        "SubjectAltName", pem=honest("c1", extensions=[dns_names(_OCM_NAME, "kubernetes.default")])
    ),
    "for servers": Forgery(
        "WrongUsages", spec={"usages": ["digital signature", "client auth", "server auth"]}
    ),
    "for ten years": Forgery("ExpirationOutOfBounds", spec={"expirationSeconds": 315_360_000}),
    "another signer": Forgery("WrongSigner", spec={"signerName": "example.com/signer"}),
    "a short key": Forgery("KeyNotAllowed", pem=honest("c1", key=rsa_key(1024))),
}


@pytest.mark.parametrize("forgery", _FORGERIES.values(), ids=_FORGERIES)
def test_a_forgery_stays_undecided_and_the_check_that_found_it_is_told(
    manager: Replica, certificates: Certificates, forgery: Forgery
) -> None:
    counted = {"decision": "undecided", "reason": forgery.reason}
    before = manager.value("msa_csr_decisions_total", **counted)
    who = certificates.registration_agent(forgery.who)
    name = certificates.ask(who, forgery.cluster, forgery.pem, **forgery.spec)
    certificates.wait_event(name, forgery.reason)
    assert manager.value("msa_csr_decisions_total", **counted) == before + 1
    assert certificates.decided(name) == []


def test_an_undecided_request_is_described_with_its_event_once_however_many_managers_start(
    manager: Replica, ocm: Fleet, certificates: Certificates
) -> None:
    """Names in it as people read them. kubectl finds Events of what has no namespace where theirs is empty as well."""
    named = honest("c1", extensions=[dns_names("kubernetes.default.svc")])
    name = certificates.ask(certificates.registration_agent("c1"), "c1", named)
    certificates.wait_event(name, "SubjectAltName")
    before = certificates.events(name)
    assert [event["involvedObject"].get("namespace", "") for event in before] == [""]
    described = certificates.described(name)
    assert "SubjectAltName" in described
    assert "DNS:kubernetes.default.svc" in described
    with managing(ocm.hub, "started-again") as another:
        undecided = {"decision": "undecided", "reason": "SubjectAltName"}
        assert wait_until(lambda: another.value("msa_csr_decisions_total", **undecided) > 0, PATIENCE)
        told = another.value("msa_csr_decisions_total", decision="undecided")
        assert wait_until(lambda: another.value("msa_events_sent_total") >= told, PATIENCE)
        assert certificates.events(name) == before


def test_somebody_who_is_no_agent_asks_in_vain(manager: Replica, certificates: Certificates) -> None:
    """Of right groups, but a user of the wrong shape; and of the right shape, but no member of the cluster's group."""
    group = subjects.cluster_group("c1")
    for user, groups in (("mallory", (group,)), (f"{group}:agent1:x", (group,)), (f"{group}:agent2", ())):
        who = certificates.hub.kubeconfig_for(user, groups)
        name = certificates.ask(who, "c1", honest("c1"))
        certificates.wait_event(name, "WrongRequester")
        assert certificates.decided(name) == []


def test_another_clusters_agent_of_ours_asks_in_vain(
    manager: Replica, certificates: Certificates, tmp_path: Path
) -> None:
    tenth = certificates.ask(certificates.registration_agent("c10"), "c10", honest("c10"))
    agent = certificates.kubeconfig(tenth, tmp_path / "c10")
    name = certificates.ask(agent, "c1", honest("c1"))
    certificates.wait_event(name, "WrongRequester")
    assert certificates.decided(name) == []


def test_a_request_for_another_addon_is_not_ours_to_judge(
    manager: Replica, certificates: Certificates
) -> None:
    """Nothing is said of it, though one that was made after it is decided."""
    who = certificates.registration_agent("c1")
    foreign = certificates.ask(who, "c1", honest("c1"), addon="another")
    certificates.certificate(certificates.ask(who, "c1", honest("c1")))
    assert certificates.decided(foreign) == []
    assert certificates.reasons(foreign) == []


def test_what_the_api_server_itself_refuses_never_comes_before_the_manager(
    manager: Replica, certificates: Certificates
) -> None:
    """So that it is known on whom we rely for what."""
    who = certificates.registration_agent("c1")
    forged = honest("c1", key=P256, signed_by=OTHER_P256)
    assert "verification failure" in certificates.ask(who, "c1", forged)
    masters = signing_requests.pem(_USER, ["system:masters"])
    assert "system:masters" in certificates.ask(who, "c1", masters)
    assert "expirationSeconds" in certificates.ask(who, "c1", honest("c1"), expirationSeconds=599)
    assert "usages" in certificates.ask(who, "c1", honest("c1"), usages=["client auth", "client auth"])


def test_a_request_of_a_cluster_that_is_accepted_later_is_approved_then(
    manager: Replica, ocm: Fleet, certificates: Certificates
) -> None:
    cluster = Membership(ocm, "late")
    cluster.accept(accepted=False)
    name = certificates.ask(certificates.registration_agent("late"), "late", honest("late"))
    certificates.wait_event(name, "ClusterNotAccepted")
    assert certificates.decided(name) == []
    cluster.accept()
    assert wait_until(lambda: certificates.decided(name) == ["Approved"], PATIENCE)
    assert b"BEGIN CERTIFICATE" in certificates.certificate(name)
