"""What an agent may write on the hub, as the chart's ValidatingAdmissionPolicy has it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.addon import ensure_namespace
from hack.charts import Release
from hack.clusters import Cluster
from hack.processes import wait_until
from msa.api import names
from tests.support.chart_hub import apply, bare_hub
from tests.support.chart_hub import body as kubernetes_object

_AGENT = "system:open-cluster-management:cluster:{}:addon:managed-serviceaccount"

pytestmark = pytest.mark.timeout(300)


def _agent(cluster: str) -> list[str]:
    """kubectl's flags to be the agent of that cluster."""
    own = _AGENT.format(cluster)
    groups = (own, "system:open-cluster-management:addon:managed-serviceaccount", "system:authenticated")
    return [f"--as={own}:agent:addon-agent", *(f"--as-group={group}" for group in groups)]


def _by_token(cluster: str) -> list[str]:
    return [f"--as=system:serviceaccount:{cluster}:managed-serviceaccount-agent"]


@pytest.fixture(scope="module")
def guarded(home: Path) -> Iterator[Cluster]:
    """RBAC lets everybody do everything to Secrets, so that what is refused is refused by the policy."""
    with bare_hub("admission", home) as hub:
        Release(hub).install()
        hub.kubectl("create", "clusterrole", "secrets", "--verb=*", "--resource=secrets")
        hub.kubectl(
            "create", "clusterrolebinding", "secrets", "--clusterrole=secrets", "--group=system:authenticated"
        )
        for cluster in ("c1", "c10"):
            ensure_namespace(hub, cluster)
        # A policy takes effect a little after it is there.
        assert wait_until(lambda: "an agent" in _write(hub, _agent("c1"), _secret("x", labels={})), 10)
        yield hub


def _secret(name: str, namespace: str = "c1", **changes: Any) -> dict[str, Any]:
    labels = changes.pop("labels", {names.LABEL_MANAGED: "true"})
    body = kubernetes_object(
        "v1", "Secret", name, namespace, type="Opaque", data={"token": "YQ==", "ca.crt": "YQ=="}
    )
    body["metadata"] |= {"labels": labels, "ownerReferences": changes.pop("owners", [])}
    return body | changes


def _write(hub: Cluster, who: list[str], body: dict[str, Any], verb: str = "create") -> str:
    return hub.kubectl(verb, *who, "--dry-run=server", "-f", "-", stdin=json.dumps(body), check=False)


_OWNER = {"apiVersion": f"{names.GROUP}/v1beta1", "kind": names.KIND, "name": "lost", "uid": "u"}
_TYPED = {"annotations": {"kubernetes.io/service-account.name": "default"}}


@pytest.mark.parametrize("who", [_agent("c1"), _by_token("c1")], ids=["certificate", "token"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (_secret("good"), "secret/good created"),
        (_secret("early", data={"ca.crt": "YQ=="}), "secret/early created"),
        (_secret("bare", labels={}), "with the label"),
        (_secret("no", labels={names.LABEL_MANAGED: "false"}), "with the label"),
        (_secret("more", data={"token": "YQ==", "kubeconfig": "YQ=="}), "only the keys"),
        (_secret("text", stringData={"other": "a"}), "only the keys"),
        (_secret("tls", type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""}), "of type Opaque"),
        (_secret("there", "c10"), "own cluster's namespace"),
        (_secret("there", "default"), "own cluster's namespace"),
    ],
    ids=lambda value: value["metadata"]["name"] if isinstance(value, dict) else "",
)
def test_an_agent_creates_only_secrets_of_its_identities(
    guarded: Cluster, who: list[str], body: dict[str, Any], says: str
) -> None:
    assert says in _write(guarded, who, body)


def test_an_agent_cannot_have_a_token_of_any_service_account_written_into_a_secret(guarded: Cluster) -> None:
    body = _secret("stolen", type="kubernetes.io/service-account-token", data={})
    body["metadata"] |= _TYPED
    assert "of type Opaque" in _write(guarded, _agent("c1"), body)


@pytest.mark.parametrize("who", [_agent("c1"), _by_token("c1")], ids=["certificate", "token"])
def test_an_agent_changes_and_deletes_what_the_addon_made(guarded: Cluster, who: list[str]) -> None:
    ours, lost = _secret("mine"), _secret("lost", labels={}, owners=[_OWNER])
    apply(guarded, ours, lost)
    for body in (ours, _secret("lost", owners=[_OWNER])):
        assert "configured" in _write(guarded, who, body | {"data": {"token": "Yg=="}}, "apply")
        assert "deleted" in _deleted(guarded, who, body["metadata"]["name"])
    assert "with the label" in _write(guarded, who, _secret("mine", labels={}), "replace")


@pytest.mark.parametrize("who", [_agent("c1"), _by_token("c1")], ids=["certificate", "token"])
@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"labels": {names.LABEL_MANAGED: "false"}},
        {"owners": [_OWNER | {"kind": "ConfigMap"}]},
        {"owners": [_OWNER | {"name": "another"}]},
        {"owners": [_OWNER | {"apiVersion": "example.com/v1"}]},
    ],
    ids=["none", "label", "kind", "name", "group"],
)
def test_an_agent_leaves_alone_what_others_made(
    guarded: Cluster, who: list[str], marks: dict[str, Any]
) -> None:
    apply(guarded, _secret("lost", **({"labels": {}} | marks)))
    assert "not made by" in _write(guarded, who, _secret("lost", owners=[_OWNER]), "replace")
    assert "not made by" in _deleted(guarded, who, "lost")


def _deleted(hub: Cluster, who: list[str], name: str) -> str:
    return hub.kubectl("delete", *who, "--dry-run=server", "-n", "c1", "secret", name, check=False)


def test_others_are_not_held_to_that(guarded: Cluster) -> None:
    people = ["--as=somebody", "--as-group=system:authenticated"]
    assert "created" in _write(guarded, people, _secret("free", labels={}, data={"password": "YQ=="}))
