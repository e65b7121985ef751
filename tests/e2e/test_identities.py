"""Identities, from the hub administrator's kubectl to a call on the managed cluster."""

import json

import pytest

from hack.processes import wait_until
from tests.e2e.site import PATIENCE, Site
from tests.support.identities import account, create, identity, secret, token, wait_new_token, wait_ready


def _who_is(site: Site, token: str) -> str:
    """Whom the managed cluster takes its bearer for. Another kubeconfig than the administrator's: a certificate would come first."""
    review = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    answer = site.with_token(token).kubectl(
        "create", "--validate=false", "-f", "-", "-o", "json", stdin=review
    )
    return str(json.loads(answer)["status"]["userInfo"]["username"])


@pytest.fixture
def name(installed: Site, request: pytest.FixtureRequest) -> str:
    """An identity that has its token."""
    name = f"e2e-{abs(hash(request.node.name)) % 10**6}"
    create(installed, name)
    wait_ready(installed, name)
    return name


def test_an_identity_gets_a_token_that_its_cluster_takes(installed: Site, name: str) -> None:
    wanted = f"system:serviceaccount:{installed.install_namespace}:{name}"
    assert _who_is(installed, token(installed, name)) == wanted


def test_a_deleted_secret_comes_back_with_a_token_that_works(installed: Site, name: str) -> None:
    installed.hub.kubectl("delete", "secret", name, "-n", installed.cluster_name)
    assert wait_until(lambda: token(installed, name) != "", PATIENCE)
    assert _who_is(installed, token(installed, name)).endswith(f":{name}")


def test_a_deleted_service_account_comes_back_and_its_token_is_another(installed: Site, name: str) -> None:
    before = token(installed, name)
    installed.managed.kubectl("delete", "serviceaccount", name, "-n", installed.install_namespace)
    assert _who_is(installed, wait_new_token(installed, name, before)).endswith(f":{name}")


def test_with_an_identity_go_its_secret_and_its_service_account(installed: Site, name: str) -> None:
    installed.hub.kubectl("delete", "msa", name, "-n", installed.cluster_name)
    assert wait_until(lambda: account(installed, name) is None, PATIENCE)
    assert wait_until(lambda: secret(installed, name) is None, PATIENCE)


def test_an_identity_with_a_ttl_is_gone_after_it(installed: Site) -> None:
    """The gate is opened on the manager, which opens it on the agent."""
    installed.release.upgrade("--set=featureGates.ephemeralIdentity=true", *installed.chart_values())
    installed.wait_manager()
    assert wait_until(lambda: "EphemeralIdentity=true" in json.dumps(installed.agent()), PATIENCE)
    installed.wait_agent()
    create(installed, "short", ttl=5)
    assert wait_until(lambda: identity(installed, "short") is None, PATIENCE)
    assert wait_until(lambda: account(installed, "short") is None, PATIENCE)
