"""The mode AddOnTemplate on real API servers: the chart as users install it, OCM's addon manager with OCM's rights deploys the agents."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hack.addon import Addon
from hack.charts import Release
from hack.clusters import running
from hack.demo import as_holder
from hack.ocm import kinds
from hack.ocm.fleet import Fleet, Manager, Member
from hack.processes import wait_until
from msa.api import names
from tests.support import identities

INSTALL = names.DEFAULT_INSTALL_NAMESPACE
BINDING = f"open-cluster-management:{names.ADDON}:clusterrole:agent"
PATIENCE = 40.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fleet(home: Path) -> Iterator[Fleet]:
    with running("template-hub", home) as hub:
        fleet = Fleet(hub)
        fleet.install_ocm()
        Release(hub).install("--set=hubDeployMode=AddOnTemplate")
        fleet.start()
        manager = Manager(hub, hub.kubeconfig, ("--deploy-mode=AddOnTemplate",))
        manager.start()  # for what the identities' accounts hang on
        yield fleet
        manager.stop()
        fleet.stop()


@pytest.fixture(scope="module")
def member(fleet: Fleet, home: Path) -> Iterator[Member]:
    """A cluster with the addon available."""
    with running("template-managed", home) as managed:
        member = Member(fleet, managed, "t1")
        member.join()
        _wait_available(member)
        yield member
        member.stop()


def _wait_available(member: Member) -> None:
    assert wait_until(lambda: member.fleet.condition(member.name, "Available") == "True", PATIENCE), (
        _addon(member.fleet),
        member.fleet.process.log.read_text()[-2000:],
    )


def _addon(fleet: Fleet) -> dict[str, Any]:
    found = fleet.get("managedclusteraddon", names.ADDON, "t1")
    assert found is not None
    return found


def _pod(member: Member) -> dict[str, Any]:
    """The template of the agent's pods, {} while it is elsewhere."""
    found = identities.get(member.managed, "deployment", INSTALL, names.AGENT_DEPLOYMENT) or {}
    spec: dict[str, Any] = found.get("spec", {}).get("template", {}).get("spec", {})
    return spec


def _environment(member: Member) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in _pod(member)["containers"][0]["env"]}


def _identities(member: Member) -> Addon:
    return Addon(member.fleet.hub, member.managed, member.name, INSTALL)


def test_an_identity_gets_a_token_from_an_agent_that_ocm_deployed(fleet: Fleet, member: Member) -> None:
    pair = _identities(member)
    identities.create(pair, "templated")
    identities.wait_ready(pair, "templated", PATIENCE)
    answer = as_holder(member.managed, identities.token(pair, "templated"), "auth", "whoami", "-o", "json")
    user = json.loads(answer)["status"]["userInfo"]["username"]
    assert user == f"system:serviceaccount:{INSTALL}:templated"
    assert _addon(fleet)["status"]["healthCheck"]["mode"] == "Customized"


def test_ocm_grants_the_agent_the_charts_cluster_role_in_its_own_namespace(
    fleet: Fleet, member: Member
) -> None:
    binding = fleet.get("rolebinding", BINDING, member.name)
    assert binding is not None
    assert binding["roleRef"]["name"] == names.AGENT_ROLE
    (registration,) = _addon(fleet)["status"]["registrations"]
    assert registration["subject"]["user"] in [subject["name"] for subject in binding["subjects"]]
    assert fleet.get("role", names.AGENT_ROLE, member.name) is None


def test_the_pod_has_what_ocm_puts_into_those_of_templates(member: Member) -> None:
    pod, environment = _pod(member), _environment(member)
    assert f"--cluster-name={member.name}" in pod["containers"][0]["args"]
    assert environment["HUB_KUBECONFIG"] == "/managed/hub-kubeconfig/kubeconfig"
    assert environment["CLUSTER_NAME"] == member.name
    (volume,) = [item for item in pod["volumes"] if item["name"] == "hub-kubeconfig"]
    assert volume["secret"]["secretName"] == names.HUB_KUBECONFIG_SECRET


@contextmanager
def _configured(member: Member, spec: dict[str, Any]) -> Iterator[None]:
    """With an AddOnDeploymentConfig of its own; in the end the addon is as it was."""
    before, reference = _pod(member), {"name": "site", "namespace": names.HUB_NAMESPACE}
    body = {"apiVersion": f"{kinds.ADDON_GROUP}/v1alpha1", "kind": "AddOnDeploymentConfig"}
    member.fleet.apply({**body, "metadata": reference, "spec": spec})
    _configure(member, [{"group": kinds.ADDON_GROUP, "resource": kinds.CONFIGS.plural, **reference}])
    yield
    _configure(member, [])
    assert wait_until(lambda: _pod(member) == before, PATIENCE)
    _wait_available(member)


def _configure(member: Member, configs: list[dict[str, str]]) -> None:
    patch = json.dumps({"spec": {"configs": configs}})
    member.fleet.hub.kubectl("patch", "mca", "-n", member.name, names.ADDON, "--type=merge", "-p", patch)


def test_a_configuration_reaches_the_pod(member: Member) -> None:
    toleration = {"key": "infra", "operator": "Exists"}
    spec = {
        "nodePlacement": {"nodeSelector": {"pool": "infra"}, "tolerations": [toleration]},
        "registries": [{"source": "quay.io/open-cluster-management", "mirror": "mirror.example/ocm"}],
        "proxyConfig": {"httpsProxy": "http://127.0.0.1:9", "noProxy": "127.0.0.1", "caBundle": "cGVt"},
    }
    with _configured(member, spec):
        assert wait_until(lambda: _pod(member).get("nodeSelector") == {"pool": "infra"}, PATIENCE)
        assert _pod(member)["tolerations"] == [toleration]
        assert _pod(member)["containers"][0]["image"].startswith("mirror.example/ocm/managed-serviceaccount:")
        assert _environment(member)["https_proxy"] == "http://127.0.0.1:9"
        bundle = identities.get(member.managed, "configmap", INSTALL, f"{names.ADDON}-proxy-ca")
        assert bundle is not None
        assert bundle["data"] == {"ca-bundle.crt": "pem"}


def test_the_agent_moves_to_the_namespace_of_a_configuration_and_works_there(member: Member) -> None:
    with _configured(member, {"agentInstallNamespace": "elsewhere"}):
        assert wait_until(lambda: _runs_in(member, "elsewhere"), PATIENCE)
        assert _addon(member.fleet)["status"]["namespace"] == "elsewhere"
        pair = Addon(member.fleet.hub, member.managed, member.name, "elsewhere")
        identities.create(pair, "moved")
        identities.wait_ready(pair, "moved", PATIENCE)
        assert identities.account(pair, "moved") is not None


def _runs_in(member: Member, namespace: str) -> bool:
    """Whether the agent is ready there, and no pod of it is where it was."""
    found = identities.get(member.managed, "deployment", namespace, names.AGENT_DEPLOYMENT) or {}
    left = member.managed.kubectl("get", "pods", "-n", INSTALL, "-o", "name")
    return found.get("status", {}).get("readyReplicas", 0) == 1 and not left


def test_a_right_that_the_chart_did_not_grant_is_not_granted(fleet: Fleet, member: Member) -> None:
    """What OCM's addon manager may bind is what the chart says, whatever a template asks for."""
    template = fleet.get("addontemplate", "managed-serviceaccount-addon")
    assert template is not None
    before = template["spec"]["registration"]
    other = {"type": "CurrentCluster", "currentCluster": {"clusterRoleName": "edit"}}
    _set_registration(fleet, [{"type": "KubeClient", "kubeClient": {"hubPermissions": [other]}}])
    assert wait_until(lambda: fleet.condition(member.name, "RegistrationApplied") == "False", PATIENCE)
    fleet.hub.kubectl("delete", "rolebinding", "-n", member.name, BINDING)
    refused = "attempting to grant RBAC permissions not currently held"
    assert wait_until(lambda: refused in json.dumps(_addon(fleet)["status"]["conditions"]), PATIENCE)
    assert fleet.get("rolebinding", BINDING, member.name) is None
    _set_registration(fleet, before)
    assert wait_until(lambda: fleet.condition(member.name, "RegistrationApplied") == "True", PATIENCE)


def _set_registration(fleet: Fleet, registration: list[dict[str, Any]]) -> None:
    patch = json.dumps({"spec": {"registration": registration}})
    fleet.hub.kubectl("patch", "addontemplate", "managed-serviceaccount-addon", "--type=merge", "-p", patch)


def test_with_the_addon_goes_all_that_ocm_made_for_it(fleet: Fleet, member: Member) -> None:
    before = _addon(fleet)["metadata"]["uid"]
    _install(fleet, by_itself=False)
    fleet.hub.kubectl("delete", "mca", "-n", member.name, names.ADDON)
    for kind, name in (("manifestwork", names.DEPLOY_WORK), ("rolebinding", BINDING)):
        assert wait_until(lambda: fleet.get(kind, name, member.name) is None, PATIENCE), kind  # noqa: B023 - called at once
    assert wait_until(lambda: _left(member) == [], PATIENCE), _left(member)
    _install(fleet, by_itself=True)
    _wait_available(member)
    assert _addon(fleet)["metadata"]["uid"] != before


def _install(fleet: Fleet, *, by_itself: bool) -> None:
    """Whether OCM installs the addon on every cluster."""
    patch = json.dumps({"spec": {"installStrategy": {"type": "Placements" if by_itself else "Manual"}}})
    fleet.hub.kubectl("patch", "cma", names.ADDON, "--type=merge", "-p", patch)


def _left(member: Member) -> list[str]:
    """What of the addon is on the cluster still."""
    of_namespace = (
        "deployments,replicasets,pods,secrets,services,roles,rolebindings,serviceaccounts,configmaps,leases"
    )
    found = member.managed.kubectl("get", of_namespace, "-n", INSTALL, "-o", "name").split()
    rights = member.managed.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").split()
    clusters_own = ("serviceaccount/default", "configmap/kube-root-ca.crt")
    return [name for name in found if name not in clusters_own] + [
        name for name in rights if names.ADDON in name
    ]
