"""The manager, with the chart's rights, under what one cluster may do to it: its memory, and the requests of others meanwhile."""

import os
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api.addon import LABEL_ADDON, LABEL_CLUSTER
from msa.api.certificates import CLIENT_SIGNER
from tests.support.certificate_requests import USAGES, Certificates, honest
from tests.support.manager import Membership, Replica, managing
from tests.support.raw_client import RawClient

_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_HOSTILE = "hostile-may-ask"
_LARGE = 1_040_000
"""Bytes behind the PEM block, which an API server lets pass: 1.4 MB in base64."""
_MANY = 260
_MOST_GROWTH_MB = 60

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def manager(ocm: Fleet) -> Iterator[Replica]:
    hub = ocm.hub
    verbs = "--verb=create,get,list,watch"
    hub.kubectl("create", "clusterrole", _HOSTILE, verbs, "--resource=certificatesigningrequests")
    hub.kubectl(
        *("create", "clusterrolebinding", _HOSTILE, f"--clusterrole={_HOSTILE}"),
        "--group=system:authenticated",
    )
    with managing(hub, "hostile") as replica:
        for name in ("c1", "c2"):
            Membership(ocm, name).accept()
        for name in ("c1", "c2"):
            Membership(ocm, name).wait_installed()
        yield replica
    hub.kubectl("delete", f"clusterrole/{_HOSTILE}", f"clusterrolebinding/{_HOSTILE}")
    hub.kubectl("delete", "csr", "-l", f"{LABEL_CLUSTER}=c2", "--wait=false")


def test_260_requests_of_1_4_mb_take_no_memory_and_another_cluster_is_served_meanwhile(
    ocm: Fleet, manager: Replica, tmp_path: Path
) -> None:
    certificates = Certificates(ocm.hub)
    attacker = RawClient.of(certificates.registration_agent("c2"), tmp_path)
    before = _resident_mb(manager)
    body = _request("c2", honest("c2") + b"A" * _LARGE)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: attacker.ask("create", _REQUESTS, body).code, range(_MANY)))
    assert answers == [201] * _MANY
    start = time.monotonic()
    name = certificates.ask(certificates.registration_agent("c1"), "c1", honest("c1"))
    assert wait_until(lambda: certificates.decided(name) == ["Approved"], 20.0)
    waited = time.monotonic() - start
    assert wait_until(
        lambda: manager.value("msa_csr_decisions_total", decision="undecided") >= _MANY, 120.0
    ), manager.value("msa_csr_decisions_total", decision="undecided")
    grown = _resident_mb(manager) - before
    assert grown < _MOST_GROWTH_MB, f"from {before:.0f} MB by {grown:.0f} MB; c1 waited for {waited:.1f} s"


def test_updates_of_the_cluster_judge_none_of_its_requests_again(ocm: Fleet, manager: Replica) -> None:
    assert manager.value("msa_csr_decisions_total", decision="undecided") >= _MANY
    before = _reconciles(manager)
    for number in range(30):
        ocm.hub.kubectl("annotate", "--overwrite", "managedcluster", "c2", f"example.com/beat={number}")
    assert _reconciles(manager) - before < 30


def test_a_manager_that_starts_beside_them_takes_no_more(ocm: Fleet, manager: Replica) -> None:
    manager.stop()
    manager.start()
    manager.wait_ready()
    assert wait_until(lambda: _reconciles(manager) >= _MANY, 60.0)
    assert _resident_mb(manager) < 66 + _MOST_GROWTH_MB + 40


def _request(cluster: str, pem: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {
            "generateName": f"addon-{cluster}-managed-serviceaccount-",
            "labels": {LABEL_CLUSTER: cluster, LABEL_ADDON: "managed-serviceaccount"},
        },
        "spec": {"request": b64encode(pem).decode(), "signerName": CLIENT_SIGNER, "usages": list(USAGES)},
    }


def _reconciles(manager: Replica) -> float:
    return manager.value("controller_runtime_reconcile_total", controller="certificatesigningrequest")


def _resident_mb(manager: Replica) -> float:
    assert manager._child is not None
    pages = int(Path(f"/proc/{manager._child.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
