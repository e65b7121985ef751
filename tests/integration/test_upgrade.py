"""`helm upgrade` on a real API server: from an older chart of ours, and from another program's chart of the same name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.charts import HelmError, Release
from hack.clusters import Cluster
from hack.generate import CHART, CRD
from hack.kubectl import Kubectl
from msa.api import names
from tests.support.chart_hub import apply, bare_hub, body, forget, get

_CRD = f"crd/{names.PLURAL}.{names.GROUP}"
_DEPLOYMENT = ("deployment", "managed-serviceaccount-addon-manager", "-n", names.HUB_NAMESPACE)
_WARNING = f"the CRD {names.PLURAL}.{names.GROUP} on this hub is another than this chart's"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plane(home: Path) -> Iterator[Cluster]:
    with bare_hub("upgrade", home) as cluster:
        yield cluster


@pytest.fixture
def release(plane: Cluster) -> Iterator[Release]:
    release = Release(plane)
    yield release
    release.uninstall()
    forget(plane)


def _older_crd() -> dict[str, Any]:
    """Before identities had audiences."""
    crd: dict[str, Any] = yaml.safe_load(CRD.read_text())
    for version in crd["spec"]["versions"]:
        version["additionalPrinterColumns"] = []
        del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["audiences"]
    return crd


def _put_back(hub: Kubectl) -> None:
    """The CRD as an older chart had it; who owns it stays."""
    spec = json.dumps({"spec": {"versions": _older_crd()["spec"]["versions"]}})
    hub.kubectl("patch", _CRD, "--type=merge", "-p", spec)
    assert not _has_audiences(hub)


def _has_audiences(hub: Kubectl) -> bool:
    versions = get(hub, _CRD)["spec"]["versions"]
    return all(
        "audiences" in v["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] for v in versions
    )


def _identity(hub: Kubectl) -> None:
    apply(hub, body(f"{names.GROUP}/v1beta1", names.KIND, "kept", "default", spec={}))


def test_an_upgrade_brings_the_crd_up_to_date_each_time_and_keeps_the_identities(release: Release) -> None:
    release.install()
    _identity(release.hub)
    for _ in range(2):
        _put_back(release.hub)
        assert "WARNING" not in release.upgrade()
        assert _has_audiences(release.hub)
    assert get(release.hub, "msa", "kept", "-n", "default")


def test_an_upgrade_leaves_the_crd_alone_where_told_to_and_says_so(release: Release) -> None:
    release.install()
    _put_back(release.hub)
    assert _WARNING in release.upgrade("--set=crds.upgrade=false")
    assert not _has_audiences(release.hub)


@pytest.mark.parametrize("upgraded", [False, True])
def test_to_uninstall_deletes_no_identity(release: Release, upgraded: bool) -> None:
    release.install()
    _identity(release.hub)
    if upgraded:
        release.upgrade()
    release.uninstall()
    assert get(release.hub, "msa", "kept", "-n", "default")
    assert "WARNING" not in release.install()


def test_the_modes_can_be_changed_to_and_fro(release: Release) -> None:
    release.install()
    release.upgrade("--set=hubDeployMode=AddOnTemplate")
    template = get(release.hub, "addontemplate", "managed-serviceaccount-addon")
    kinds = [item["kind"] for item in template["spec"]["agentSpec"]["workload"]["manifests"]]
    assert "Deployment" in kinds
    rights = "open-cluster-management:managed-serviceaccount:addon-manager"
    assert not _may_deploy(get(release.hub, "clusterrole", rights))
    release.upgrade("--set=hubDeployMode=Deployment")
    assert _may_deploy(get(release.hub, "clusterrole", rights))
    assert get(release.hub, "addontemplate")["items"] == []


def _may_deploy(role: Any) -> bool:
    return any(
        {"rolebindings", "certificatesigningrequests"} & set(rule["resources"]) for rule in role["rules"]
    )


def test_ocms_addon_manager_may_grant_the_agents_rights_and_no_other(release: Release) -> None:
    release.install("--set=hubDeployMode=AddOnTemplate")
    who = "--as=system:serviceaccount:open-cluster-management-hub:addon-manager-controller-sa"
    release.hub.kubectl("create", "clusterrole", "bindings", "--verb=create", "--resource=rolebindings")
    release.hub.kubectl(
        "create", "clusterrolebinding", "b", "--clusterrole=bindings", f"--user={who.removeprefix('--as=')}"
    )
    command = ["create", "rolebinding", "x", "-n", "default", "--user=u", who, "--dry-run=server"]
    assert "created" in release.hub.kubectl(*command, f"--clusterrole={names.AGENT_ROLE}")
    assert "forbidden" in release.hub.kubectl(*command, "--clusterrole=edit", check=False)


@pytest.fixture
def other_chart(tmp_path: Path) -> Path:
    """Of the same names, as the contract has them, and otherwise unlike ours."""
    namespace, selector = names.HUB_NAMESPACE, {"app": "old"}
    pod = {
        "metadata": {"labels": selector},
        "spec": {
            "serviceAccountName": "managed-serviceaccount",
            "containers": [{"name": "old", "image": "old"}],
        },
    }
    deployment = {"selector": {"matchLabels": selector}, "template": pod}
    objects = [
        body("v1", "ServiceAccount", "managed-serviceaccount", namespace),
        body("apps/v1", "Deployment", _DEPLOYMENT[1], namespace, spec=deployment),
        body("rbac.authorization.k8s.io/v1", "ClusterRole", "old-rights", rules=[]),
        body("addon.open-cluster-management.io/v1alpha1", "ClusterManagementAddOn", names.ADDON, spec={}),
    ]
    (tmp_path / "crds").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "crds/crd.yaml").write_text(yaml.safe_dump(_older_crd()))
    (tmp_path / "templates/all.yaml").write_text(yaml.safe_dump_all(objects))
    chart = {"apiVersion": "v2", "name": "managed-serviceaccount", "version": "0.0.1"}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(chart))
    return tmp_path


def test_one_upgrade_takes_over_from_another_program_of_the_same_names(
    release: Release, other_chart: Path
) -> None:
    Release(release.hub, other_chart).install("--set=image=old/image,unknown.value=1")
    _identity(release.hub)
    before = get(release.hub, *_DEPLOYMENT)
    notes = release.upgrade()
    after = get(release.hub, *_DEPLOYMENT)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    template = after["spec"]["template"]
    assert template["metadata"]["labels"] == {
        "app": "old",
        "open-cluster-management.io/addon": "managed-serviceaccount",
    }
    assert [container["name"] for container in template["spec"]["containers"]] == ["manager"]
    assert get(release.hub, "clusterrole", "--field-selector=metadata.name=old-rights")["items"] == []
    assert get(release.hub, "msa", "kept", "-n", "default")
    assert _WARNING in notes


def test_what_the_notes_say_of_a_foreign_crd_helps(release: Release, other_chart: Path) -> None:
    Release(release.hub, other_chart).install()
    assert "kubectl apply --server-side --force-conflicts -f -" in release.upgrade()
    release.hub.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CHART / "crds"))
    assert _has_audiences(release.hub)
    assert "WARNING" not in release.upgrade()
    _put_back(release.hub)
    release.upgrade()
    assert _has_audiences(release.hub), "and from now on helm does it"


@pytest.mark.parametrize(
    "value", ["replicas=0", "hubDeployMode=Other", "featureGates.typo=true", "image=a b", "tag=x:y"]
)
def test_a_value_that_cannot_be_meant_is_refused_before_anything_is_changed(
    plane: Cluster, value: str
) -> None:
    with pytest.raises(HelmError, match=value.split("=", maxsplit=1)[0].split(".", maxsplit=1)[0]):
        Release(plane).install(f"--set={value}")
    assert get(plane, "clustermanagementaddon")["items"] == []
