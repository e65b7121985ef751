"""Manager and agent as pods: how they are allowed to run, and what becomes of them."""

import json
from datetime import UTC, datetime
from typing import Any

from hack.kubectl import Kubeconfig
from hack.processes import wait_until
from msa.api import names
from tests.e2e.site import PATIENCE, Site
from tests.support.identities import create, get, token, wait_ready

_MANY = 500


def _restarts(pods: list[dict[str, Any]]) -> int:
    return sum(status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"])


def _names(pods: list[dict[str, Any]]) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in pods)


def test_both_are_ready_where_only_restricted_pods_may_run(installed: Site) -> None:
    for cluster, namespace in (
        (installed.hub, names.HUB_NAMESPACE),
        (installed.managed, installed.install_namespace),
    ):
        labels = json.loads(cluster.kubectl("get", "namespace", namespace, "-o", "json"))["metadata"][
            "labels"
        ]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pods in (installed.manager_pods(), installed.agent_pods()):
        assert pods
        assert all(status["ready"] for pod in pods for status in pod["status"]["containerStatuses"])
        assert _restarts(pods) == 0


def test_a_killed_pod_is_followed_by_another_and_tokens_stay(installed: Site) -> None:
    create(installed, "kept")
    wait_ready(installed, "kept")
    before, killed = token(installed, "kept"), _names(installed.agent_pods())
    installed.managed.kubectl(
        *("delete", "pod", *killed, "-n", installed.install_namespace, "--grace-period=0", "--force")
    )
    assert wait_until(lambda: not set(killed) & set(_names(installed.agent_pods())), PATIENCE)
    installed.wait_agent()
    create(installed, "after-a-kill")
    wait_ready(installed, "after-a-kill", PATIENCE)
    assert token(installed, "kept") == before


def test_a_new_hub_credential_is_taken_up_by_the_running_pod(installed: Site) -> None:
    """OCM makes a new one where the Secret is missing; the kubelet brings it to the pod within a minute or so."""
    pods = _names(installed.agent_pods())
    known = (names.HUB_KUBECONFIG_SECRET, "-n", installed.install_namespace)
    before = _certificate(installed)
    installed.managed.kubectl("delete", "secret", *known)
    assert wait_until(lambda: _certificate(installed) not in ("", before), PATIENCE)
    assert wait_until(lambda: "credential_reloaded" in _log(installed), PATIENCE, 1.0), _log(installed)
    create(installed, "new-credential")
    wait_ready(installed, "new-credential", PATIENCE)
    assert _names(installed.agent_pods()) == pods
    assert _restarts(installed.agent_pods()) == 0


def _log(site: Site) -> str:
    return site.managed.kubectl(
        "logs", f"deployment/{names.AGENT_DEPLOYMENT}", "-n", site.install_namespace, "--tail=200"
    )


def _certificate(site: Site) -> str:
    stored = get(site.managed, "secret", site.install_namespace, names.HUB_KUBECONFIG_SECRET)
    return str((stored or {}).get("data", {}).get("tls.crt", ""))


def test_five_hundred_identities_do_not_reach_the_memory_limit(installed: Site, record_property: Any) -> None:
    """Half of it must be left: a limit that is nearly reached ends in an OOM kill on the day when a relist comes on top."""
    record_property("agent_bytes_before", _memory(installed.managed, installed.agent_pods()))
    _create_many(installed, _MANY)
    assert wait_until(lambda: _ready(installed) >= _MANY, PATIENCE, 1.0), _ready(installed)
    used = _memory(installed.managed, installed.agent_pods())
    record_property("agent_bytes", used)
    record_property("manager_bytes", _memory(installed.hub, installed.manager_pods()))
    assert 0 < used < _limit(installed.agent_pods()) / 2
    assert _restarts(installed.agent_pods()) == 0


def _create_many(site: Site, count: int) -> None:
    def body(number: int) -> dict[str, Any]:
        return {
            "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
            "kind": names.KIND,
            "metadata": {"name": f"many-{number}", "namespace": site.cluster_name},
            "spec": {"rotation": {}},
        }

    bodies = [body(number) for number in range(count)]
    site.hub.kubectl(
        "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
    )


def _ready(site: Site) -> int:
    found = json.loads(site.hub.kubectl("get", "msa", "-n", site.cluster_name, "-o", "json"))["items"]
    return sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for item in found
        for condition in item.get("status", {}).get("conditions", [])
    )


def _memory(cluster: Kubeconfig, pods: list[dict[str, Any]]) -> int:
    """Bytes of the working set that the kubelet counts against the limit, of all pods, as they are now: it looks every 10 s or so."""
    now = datetime.now(UTC)
    assert wait_until(lambda: _measured(cluster, pods, now) is not None, PATIENCE, 1.0)
    return _measured(cluster, pods, now) or 0


def _measured(cluster: Kubeconfig, pods: list[dict[str, Any]], since: datetime) -> int | None:
    """None while one of them was last looked at before."""
    nodes = {pod["spec"]["nodeName"] for pod in pods}
    answers = [cluster.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary") for node in nodes]
    found = {
        pod["podRef"]["name"]: pod["memory"]
        for answer in answers
        for pod in json.loads(answer)["pods"]
        if datetime.fromisoformat(pod["memory"]["time"]) >= since
    }
    wanted = _names(pods)
    return sum(found[name]["workingSetBytes"] for name in wanted) if set(wanted) <= set(found) else None


def _limit(pods: list[dict[str, Any]]) -> int:
    text = str(pods[0]["spec"]["containers"][0]["resources"]["limits"]["memory"])
    assert text.endswith("Mi"), text
    return int(text.removesuffix("Mi")) * 2**20
