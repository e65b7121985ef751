"""`make deploy` and `make undeploy` on a real API server without nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.clusters import Cluster
from hack.deploy import Deployer, DeployError
from msa.api import names
from tests.support.chart_hub import apply, bare_hub, body, get

_IMAGE = "localhost:5000/msa:dev"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plane(home: Path) -> Iterator[Cluster]:
    with bare_hub("deploy", home) as cluster:
        yield cluster


@pytest.fixture
def deployer(plane: Cluster) -> Deployer:
    return Deployer((str(plane.binaries["kubectl"]), f"--kubeconfig={plane.kubeconfig}"))


def test_deploying_makes_everything_waits_and_says_for_what_and_why_in_vain(
    plane: Cluster, deployer: Deployer, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeployError, match=r"not available after 2 s: .*no node has taken it yet"):
        deployer.up(_IMAGE, seconds=2)
    said = capfd.readouterr().out
    assert (
        f"waiting up to 2 s for a pod of deployment/managed-serviceaccount-addon-manager in {names.HUB_NAMESPACE}"
        in said
    )
    deployment = get(plane, "deployment", "managed-serviceaccount-addon-manager", "-n", names.HUB_NAMESPACE)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == _IMAGE
    assert f"--agent-image-name={_IMAGE}" in container["args"]
    assert get(plane, "clustermanagementaddon", names.ADDON)


def test_undeploying_deletes_the_addon_first_and_leaves_the_identities_and_uninstalling_nothing(
    plane: Cluster, deployer: Deployer, capfd: pytest.CaptureFixture[str]
) -> None:
    deployer.install()
    apply(plane, body(f"{names.GROUP}/v1beta1", names.KIND, "kept", "default", spec={}))
    deployer.down()
    said = capfd.readouterr().out
    assert said.index(f"deleted ClusterManagementAddOn {names.ADDON}") < said.index("delete all but")
    assert said.index("the addon is removed from all clusters") < said.index("delete all but")
    assert get(plane, "clustermanagementaddon")["items"] == []
    for shared in (
        "placement",
        "managedclustersetbinding",
    ):  # others may need them; without them OCM takes addons off
        assert get(plane, shared, "global", "-n", names.HUB_NAMESPACE)
    assert get(plane, "msa", "kept", "-n", "default")
    deployer.down()
    held = body(f"{names.GROUP}/v1beta1", names.KIND, "held", "default", spec={})
    held["metadata"]["finalizers"] = [names.FAN_OUT_FINALIZER]
    apply(plane, held)
    for _ in range(2):
        deployer.uninstall()
    assert "NotFound" in plane.kubectl("get", f"crd/{names.PLURAL}.{names.GROUP}", check=False)
