"""The mode AddOnTemplate: OCM's own addon manager deploys the agent, and users go there and back."""

import json

import pytest
from attrs import frozen

from hack.processes import wait_until
from msa.api import names
from tests.e2e.site import PATIENCE, Site
from tests.support.identities import create, get, token, wait_ready

_BINDING = f"open-cluster-management:{names.ADDON}:clusterrole:agent"


@frozen
class Templated:
    """In that mode, with a token that was there before.

    Attributes:
        kept: the token of the identity `kept`.
    """

    site: Site
    kept: str


@pytest.fixture(scope="module")
def templated(installed: Site) -> Templated:
    """Modules that follow put the mode back."""
    create(installed, "kept")
    wait_ready(installed, "kept")
    kept = token(installed, "kept")
    installed.release.upgrade("--set=hubDeployMode=AddOnTemplate", *installed.chart_values())
    _wait_deployed(installed, by_ocm=True)
    return Templated(installed, kept)


def _wait_deployed(site: Site, *, by_ocm: bool) -> None:
    """Until the agent is OCM's or ours, runs, and is available as that one says it."""
    site.wait_manager()
    assert wait_until(lambda: ("HUB_KUBECONFIG" in json.dumps(site.agent())) == by_ocm, PATIENCE, 0.5)
    mode = "Customized" if by_ocm else "Lease"
    assert wait_until(lambda: _health_check(site) == mode, PATIENCE, 0.5)
    site.wait_agent()
    site.wait_available()


def _health_check(site: Site) -> str:
    addon = get(site.hub, "managedclusteraddon", site.cluster_name, names.ADDON) or {}
    return str(addon.get("status", {}).get("healthCheck", {}).get("mode", ""))


def _assert_works(site: Site, name: str) -> None:
    """A new identity gets a token, and the cluster takes its bearer for it."""
    create(site, name)
    wait_ready(site, name, PATIENCE)
    answer = site.with_token(token(site, name)).kubectl("auth", "whoami", "-o", "json")
    user = json.loads(answer)["status"]["userInfo"]["username"]
    assert user == f"system:serviceaccount:{site.install_namespace}:{name}"


def test_ocms_agent_is_ready_where_only_restricted_pods_may_run(templated: Templated) -> None:
    site = templated.site
    namespace = json.loads(site.managed.kubectl("get", "namespace", site.install_namespace, "-o", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (pod,) = site.agent_pods()
    assert all(status["ready"] for status in pod["status"]["containerStatuses"])
    assert "hub-kubeconfig" in {volume["name"] for volume in pod["spec"]["volumes"]}
    assert get(site.hub, "rolebinding", site.cluster_name, _BINDING) is not None


def test_with_ocms_agent_tokens_stay_and_new_ones_come(templated: Templated) -> None:
    _assert_works(templated.site, "templated")
    assert token(templated.site, "kept") == templated.kept


def test_back_with_our_manager_tokens_stay_and_new_ones_come(templated: Templated) -> None:
    site = templated.site
    site.release.upgrade("--set=hubDeployMode=Deployment", *site.chart_values())
    _wait_deployed(site, by_ocm=False)
    _assert_works(site, "returned")
    assert token(site, "kept") == templated.kept
