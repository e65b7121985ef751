"""What of the hub reaches a cluster's work and goes from it again: the pull Secret, mirrors, and the cluster's acceptance."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.support.chart_hub import apply, body
from tests.support.manager import PATIENCE, Membership, Replica, managing

_IMAGE = f"{names.IMAGE}:v9"
_REGISTRIES = "open-cluster-management.io/image-registries"
_PULL = ("pull", names.HUB_NAMESPACE)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def hub_secret(ocm: Fleet) -> Iterator[None]:
    apply(ocm.hub, _credentials("first"))
    yield
    ocm.hub.kubectl("delete", "secret", _PULL[0], "-n", _PULL[1], "--ignore-not-found")


def _credentials(password: str) -> dict[str, Any]:
    text = json.dumps({"auths": {"registry.example.com": {"auth": b64encode(password.encode()).decode()}}})
    data = {".dockerconfigjson": b64encode(text.encode()).decode()}
    return body("v1", "Secret", *_PULL, type="kubernetes.io/dockerconfigjson", data=data)


@pytest.fixture(scope="module")
def manager(ocm: Fleet) -> Iterator[Replica]:
    flags = (f"--agent-image-name={_IMAGE}", "--agent-image-pull-secret=pull")
    with managing(ocm.hub, "deployment", *flags) as replica:
        yield replica


def _accepted(ocm: Fleet, name: str) -> Membership:
    cluster = Membership(ocm, name)
    cluster.accept()
    cluster.wait_installed()
    return cluster


def _copied(cluster: Membership) -> Any:
    """What the cluster is given of the Secret."""
    secret = cluster.manifest("Secret", names.PULL_SECRET)
    return {part: secret.get(part) for part in ("type", "data")}


def _content(secret: dict[str, Any]) -> Any:
    return {part: secret[part] for part in ("type", "data")}


@pytest.mark.usefixtures("hub_secret", "manager")
def test_the_pull_secret_is_copied_and_kept_current(ocm: Fleet) -> None:
    cluster = _accepted(ocm, "pulling")
    assert _copied(cluster) == _content(_credentials("first"))
    apply(ocm.hub, _credentials("second"))
    assert wait_until(lambda: bool(_copied(cluster) == _content(_credentials("second"))), PATIENCE)


@pytest.mark.usefixtures("hub_secret", "manager")
def test_a_pull_secret_that_is_gone_is_told_and_what_runs_stays(ocm: Fleet) -> None:
    cluster = _accepted(ocm, "orphaned")
    before = cluster.get("manifestwork", names.DEPLOY_WORK)
    ocm.hub.kubectl("delete", "secret", _PULL[0], "-n", _PULL[1])
    assert wait_until(lambda: cluster.condition("ManifestApplied") != {}, PATIENCE)
    told = cluster.condition("ManifestApplied")
    assert (told["status"], told["reason"]) == ("False", "InvalidConfiguration")
    assert "Secret open-cluster-management-addon/pull on the hub does not exist" in told["message"]
    assert cluster.get("manifestwork", names.DEPLOY_WORK)["spec"] == before["spec"]
    apply(ocm.hub, _credentials("again"))
    assert wait_until(lambda: bool(_copied(cluster) == _content(_credentials("again"))), PATIENCE)
    assert cluster.condition("ManifestApplied")["status"] == "Unknown"


@pytest.mark.usefixtures("hub_secret", "manager")
def test_nothing_of_the_hubs_secret_is_told_by_event_or_condition(ocm: Fleet) -> None:
    cluster = _accepted(ocm, "discreet")
    secret = _content(_credentials("first"))["data"][".dockerconfigjson"]
    told = ocm.hub.kubectl("get", "events,managedclusteraddons", "-n", "discreet", "-o", "yaml")
    assert _copied(cluster)["data"][".dockerconfigjson"] == secret
    assert secret not in told


@pytest.mark.usefixtures("hub_secret", "manager")
def test_mirrors_of_the_clusters_annotation_change_the_image_and_go_again(ocm: Fleet) -> None:
    cluster = _accepted(ocm, "mirrored")
    assert cluster.image() == _IMAGE
    mirrors = [{"source": "quay.io/open-cluster-management", "mirror": "quay.io/ocm"}]
    cluster.accept(annotations={_REGISTRIES: json.dumps({"registries": mirrors})})
    assert wait_until(lambda: cluster.image() == "quay.io/ocm/managed-serviceaccount:v9", PATIENCE)
    cluster.accept()
    assert wait_until(lambda: cluster.image() == _IMAGE, PATIENCE)


@pytest.mark.usefixtures("hub_secret", "manager")
def test_mirrors_that_cannot_be_read_are_told_and_what_runs_stays(ocm: Fleet) -> None:
    cluster = _accepted(ocm, "garbled")
    cluster.accept(annotations={_REGISTRIES: "{registries"})
    assert wait_until(lambda: cluster.condition("ManifestApplied") != {}, PATIENCE)
    assert _REGISTRIES in cluster.condition("ManifestApplied")["message"]
    assert cluster.image() == _IMAGE


@pytest.mark.usefixtures("hub_secret")
def test_a_cluster_that_is_not_accepted_any_more_loses_all_and_gets_it_back(
    ocm: Fleet, manager: Replica
) -> None:
    cluster = _accepted(ocm, "fickle")
    deleted = manager.value("msa_addon_writes_total", verb="delete")
    cluster.accept(accepted=False)
    cluster.wait_withdrawn()
    assert manager.value("msa_addon_writes_total", verb="delete") == deleted + 2
    assert cluster.get("managedclusteraddon") != {}, "it is OCM's"
    cluster.accept()
    cluster.wait_installed()


@pytest.mark.usefixtures("hub_secret", "manager")
def test_without_the_fleets_addon_all_goes_from_all_clusters(ocm: Fleet) -> None:
    """Deleted with its dependants kept: so it is the manager that does it, and not the garbage collector."""
    clusters = [_accepted(ocm, f"leaving-{number}") for number in range(3)]
    addon = ocm.get("clustermanagementaddon", names.ADDON)
    assert addon is not None
    ocm.hub.kubectl("delete", "clustermanagementaddon", names.ADDON, "--cascade=orphan")
    try:
        for cluster in clusters:
            cluster.wait_withdrawn()
    finally:
        kept = {part: addon["metadata"].get(part) for part in ("name", "labels", "annotations")}
        ocm.apply(addon | {"metadata": kept, "status": {}})
        # Whose owner is gone is none of the new one's: OCM makes them anew.
        ocm.hub.kubectl("delete", "managedclusteraddons", "-A", "--all")
    for cluster in clusters:
        cluster.wait_installed()
