"""OCM's stand-ins, and our manager among them: a hub, managed clusters and the addon's life on them, on real API servers."""

import json
import signal
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hack.addon import Addon
from hack.clusters import Cluster, running
from hack.demo import as_holder
from hack.ocm import feedback
from hack.ocm.fleet import Fleet, Manager, Member
from hack.processes import Process, wait_until
from msa.api import names
from tests.integration.leaks import leaks
from tests.support import identities

INSTALL = names.DEFAULT_INSTALL_NAMESPACE
SECRET = names.HUB_KUBECONFIG_SECRET
WORK = names.DEPLOY_WORK
RIGHTS = names.AGENT_ROLE
PATIENCE = 40.0


@contextmanager
def _fleet(name: str, home: Path, version: str = "v1alpha1") -> Iterator[Fleet]:
    """A hub with OCM, the addon and its manager; none of them may log a token."""
    with running(name, home) as hub:
        fleet, manager = Fleet(hub, version), Manager(hub, hub.kubeconfig)
        fleet.install()
        fleet.start()
        fleet.add_addon()
        manager.start()
        yield fleet
        manager.stop()
        fleet.stop()
        assert [leak for log in hub.folder.glob("*.log") for leak in leaks(log, ())] == []


@contextmanager
def _joined(member: Member) -> Iterator[Member]:
    """In the end none of its processes may have logged a token."""
    member.join()
    try:
        yield member
    finally:
        member.stop()
    logs = [*member.managed.folder.glob("agent-*.log"), member.process.log]
    assert [leak for log in logs for leak in leaks(log, ())] == []


@pytest.fixture(scope="module")
def fleet(home: Path) -> Iterator[Fleet]:
    with _fleet("ocm-hub", home) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def spare(home: Path) -> Iterator[Cluster]:
    """A control plane for clusters that come and go."""
    with running("ocm-spare", home) as managed:
        yield managed


@pytest.fixture(scope="module")
def member(fleet: Fleet, home: Path) -> Iterator[Member]:
    """A cluster that stays, with the addon available."""
    with running("ocm-managed", home) as managed, _joined(Member(fleet, managed, "c1")) as member:
        _wait_available(member)
        yield member


def _wait_available(member: Member) -> None:
    assert wait_until(lambda: member.fleet.condition(member.name, "Available") == "True", PATIENCE), (
        member.fleet.get("managedclusteraddon", names.ADDON, member.name),
        member.process.log.read_text()[-2000:],
    )


def _addon(member: Member) -> Addon:
    """For what users do with identities there."""
    return Addon(member.fleet.hub, member.managed, member.name, INSTALL)


def _on_cluster(member: Member, kind: str, name: str, namespace: str = INSTALL) -> dict[str, Any] | None:
    return identities.get(member.managed, kind, namespace, name)


def _pods(member: Member) -> list[dict[str, Any]]:
    text = member.managed.kubectl("get", "pods", "-n", INSTALL, "-o", "json")
    items: list[dict[str, Any]] = json.loads(text)["items"]
    return items


def _process(member: Member, pod: dict[str, Any]) -> Process:
    return Process(f"agent-{member.name}-{pod['metadata']['name']}", member.managed.folder)


def _serial(member: Member) -> str:
    """Of the certificate in the agent's Secret, "" while there is none."""
    stored = _on_cluster(member, "secret", SECRET)
    return str(stored["data"]["tls.crt"]) if stored else ""


def _whoami(member: Member, addon: Addon, name: str) -> str:
    answer = as_holder(member.managed, identities.token(addon, name), "auth", "whoami", "-o", "json")
    return str(json.loads(answer)["status"]["userInfo"]["username"])


def _life(member: Member) -> None:
    """From a cluster's acceptance to its end."""
    fleet, addon = member.fleet, _addon(member)
    with _joined(member):
        _wait_available(member)
        identities.create(addon, "visitor")
        identities.wait_ready(addon, "visitor")
        assert _whoami(member, addon, "visitor") == f"system:serviceaccount:{INSTALL}:visitor"
        processes = [_process(member, pod) for pod in _pods(member)]
        fleet.remove(member.name)
        assert wait_until(lambda: fleet.get("managedcluster", member.name) is None, PATIENCE)
        for kind, name in (
            ("managedclusteraddon", names.ADDON),
            ("manifestwork", WORK),
            ("rolebinding", RIGHTS),
        ):
            assert wait_until(lambda: fleet.get(kind, name, member.name) is None, PATIENCE), (kind, name)  # noqa: B023 - called at once
        assert wait_until(lambda: _left(member) == [], PATIENCE), _left(member)
        assert wait_until(lambda: all(process.pid() is None for process in processes), PATIENCE)
        assert _on_cluster(member, "namespace", INSTALL, "") is not None


def _left(member: Member) -> list[str]:
    """What of the addon is on the cluster still."""
    kinds = (
        "deployments,replicasets,pods,secrets,services,roles,rolebindings,serviceaccounts,configmaps,leases"
    )
    found = member.managed.kubectl("get", kinds, "-n", INSTALL, "-o", "name").split()
    rights = member.managed.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name").split()
    clusters_own = ("serviceaccount/default", "configmap/kube-root-ca.crt")
    return [name for name in found if name not in clusters_own] + [
        name for name in rights if names.ADDON in name
    ]


@pytest.mark.parametrize("driver", ["csr", "token"])
def test_a_cluster_joins_gets_its_agent_and_leaves_and_nothing_of_it_remains(
    fleet: Fleet, member: Member, spare: Cluster, driver: str
) -> None:
    _life(Member(fleet, spare, f"c2-{driver}", flags=(f"--driver={driver}",)))
    assert fleet.condition(member.name, "Available") == "True"


def test_the_same_on_a_hub_that_speaks_v1beta1_with_an_agent_that_registers_by_token(
    home: Path, spare: Cluster
) -> None:
    with _fleet("ocm-beta", home, "v1beta1") as fleet:
        _life(Member(fleet, spare, "c3", flags=("--driver=token",)))


def test_the_signing_request_is_the_clusters_own_and_its_secret_what_ocm_writes(
    fleet: Fleet, member: Member
) -> None:
    label = f"open-cluster-management.io/cluster-name={member.name}"
    requests = json.loads(fleet.hub.kubectl("get", "csr", "-l", label, "-o", "json"))["items"]
    assert {request["spec"]["username"] for request in requests} == {member.user}
    assert all(
        request["metadata"]["name"].startswith("addon-c1-managed-serviceaccount-") for request in requests
    )
    stored = _on_cluster(member, "secret", SECRET)
    assert stored is not None
    assert set(stored["data"]) == {"kubeconfig", "tls.crt", "tls.key", "cluster-name"}
    assert b64decode(stored["data"]["cluster-name"]).decode() == member.name


def test_a_pod_has_the_rights_of_its_service_account_and_no_more(member: Member) -> None:
    (pod,) = _pods(member)
    kubeconfig = member.managed.folder / f"{_process(member, pod).name}.volumes" / "own" / "kubeconfig"

    def can(*what: str) -> str:
        return member.managed.kubectl(
            "auth", "can-i", *what, f"--kubeconfig={kubeconfig}", check=False
        ).strip()

    assert can("create", "serviceaccounts", "--subresource=token", "-n", INSTALL) == "yes"
    assert can("list", "secrets", "-n", "kube-system") == "no"


def test_a_lost_credential_is_made_anew_under_the_running_agent(member: Member) -> None:
    addon, before, (pod,) = _addon(member), _serial(member), _pods(member)
    pid = _process(member, pod).pid()
    member.managed.kubectl("delete", "secret", "-n", INSTALL, SECRET)
    assert wait_until(lambda: _serial(member) not in ("", before), PATIENCE)
    mounted = member.managed.folder / f"{_process(member, pod).name}.volumes" / "hub" / "tls.crt"
    assert wait_until(lambda: mounted.read_bytes() == b64decode(_serial(member)), PATIENCE)
    identities.create(addon, "after-renewal")
    identities.wait_ready(addon, "after-renewal")
    assert _process(member, pod).pid() == pid


def test_an_agent_that_is_killed_is_started_again(member: Member) -> None:
    (pod,) = _pods(member)
    before = _process(member, pod).pid()
    _process(member, pod).send(signal.SIGKILL)

    def restarted() -> bool:
        status = _pods(member)[0]["status"]["containerStatuses"][0]
        return bool(status["restartCount"] == 1 and status["ready"])

    assert wait_until(restarted, PATIENCE)
    assert _process(member, pod).pid() not in (None, before)


def test_a_lease_that_is_not_renewed_makes_the_addon_unavailable(member: Member) -> None:
    _wait_available(member)
    processes = [_process(member, pod) for pod in _pods(member)]
    for process in processes:
        process.send(signal.SIGSTOP)
    try:
        stale = '{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}'
        member.managed.kubectl("patch", "lease", "-n", INSTALL, names.ADDON, "--type=merge", "-p", stale)
        assert wait_until(lambda: member.fleet.condition(member.name, "Available") == "False", PATIENCE)
    finally:
        for process in processes:
            process.send(signal.SIGCONT)


def test_a_configuration_that_is_asked_for_reaches_the_agents_pod(fleet: Fleet, member: Member) -> None:
    (before,) = _pods(member)
    config = {"group": "addon.open-cluster-management.io", "resource": "addondeploymentconfigs"}
    _configure(
        fleet, "mirrored", [{"source": "quay.io/open-cluster-management", "mirror": "mirror.example/a"}]
    )
    _ask_for(fleet, member, [config | {"name": "mirrored", "namespace": names.HUB_NAMESPACE}])
    assert wait_until(lambda: _images(member) == ["mirror.example/a/managed-serviceaccount:demo"], PATIENCE)
    assert wait_until(lambda: _process(member, before).pid() is None, PATIENCE)
    addon = fleet.get("managedclusteraddon", names.ADDON, member.name)
    assert addon is not None
    assert addon["status"]["configReferences"][0]["desiredConfig"]["specHash"]
    _configure(fleet, "mirrored", [])
    assert wait_until(lambda: _images(member) == [before["spec"]["containers"][0]["image"]], PATIENCE)
    _ask_for(fleet, member, [])


def test_a_default_configuration_of_the_fleet_reaches_the_agents_pod(fleet: Fleet, member: Member) -> None:
    (before,) = _pods(member)
    _configure(
        fleet, "default", [{"source": "quay.io/open-cluster-management", "mirror": "mirror.example/b"}]
    )
    _set_default(fleet, {"name": "default", "namespace": names.HUB_NAMESPACE})
    assert wait_until(lambda: _images(member) == ["mirror.example/b/managed-serviceaccount:demo"], PATIENCE)
    _set_default(fleet, None)
    assert wait_until(lambda: _images(member) == [before["spec"]["containers"][0]["image"]], PATIENCE)


def _images(member: Member) -> list[str]:
    return [pod["spec"]["containers"][0]["image"] for pod in _pods(member)]


def _configure(fleet: Fleet, name: str, registries: list[dict[str, str]]) -> None:
    fleet.apply(
        {
            "apiVersion": "addon.open-cluster-management.io/v1alpha1",
            "kind": "AddOnDeploymentConfig",
            "metadata": {"name": name, "namespace": names.HUB_NAMESPACE},
            "spec": {"registries": registries},
        }
    )


def _ask_for(fleet: Fleet, member: Member, configs: list[dict[str, str]]) -> None:
    patch = json.dumps({"spec": {"configs": configs}})
    fleet.hub.kubectl("patch", "mca", "-n", member.name, names.ADDON, "--type=merge", "-p", patch)


def _set_default(fleet: Fleet, referent: dict[str, str] | None) -> None:
    kind = {"group": "addon.open-cluster-management.io", "resource": "addondeploymentconfigs"}
    supported = [kind | ({"defaultConfig": referent} if referent else {})]
    patch = json.dumps({"spec": {"supportedConfigs": supported}})
    fleet.hub.kubectl("patch", "cma", names.ADDON, "--type=merge", "-p", patch)


def _config_map(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


def _apply_work(member: Member, name: str, *manifests: dict[str, Any], **spec: Any) -> None:
    member.fleet.apply(
        {
            "apiVersion": "work.open-cluster-management.io/v1",
            "kind": "ManifestWork",
            "metadata": {"name": name, "namespace": member.name},
            "spec": {"workload": {"manifests": list(manifests)}, **spec},
        }
    )


def _applied(member: Member, name: str) -> str:
    """The status of the work's condition Applied, for what is asked for now."""
    work = member.fleet.get("manifestwork", name, member.name)
    assert work is not None
    about = {"type": "Applied", "observedGeneration": work["metadata"]["generation"]}
    conditions = work.get("status", {}).get("conditions", ())
    return next((str(item["status"]) for item in conditions if about.items() <= item.items()), "")


def test_a_work_keeps_its_objects_drops_others_and_takes_its_own_along(member: Member) -> None:
    _apply_work(member, "keeper", _config_map("one", a="1"), _config_map("two"))
    assert wait_until(lambda: _applied(member, "keeper") == "True", PATIENCE)
    _apply_work(member, "keeper", _config_map("one", b="2"))
    assert wait_until(lambda: _on_cluster(member, "configmap", "two", "default") is None, PATIENCE)
    stored = _on_cluster(member, "configmap", "one", "default")
    assert stored is not None
    assert stored["data"] == {"b": "2"}
    member.fleet.hub.kubectl("delete", "manifestwork", "-n", member.name, "keeper", "--timeout=20s")
    assert _on_cluster(member, "configmap", "one", "default") is None


def test_a_work_that_is_deleted_stays_until_its_objects_are_gone(member: Member) -> None:
    held = _config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    _apply_work(member, "holding", held)
    assert wait_until(lambda: _applied(member, "holding") == "True", PATIENCE)
    member.fleet.hub.kubectl("delete", "manifestwork", "-n", member.name, "holding", "--wait=false")
    assert not wait_until(lambda: member.fleet.get("manifestwork", "holding", member.name) is None, 1)
    release = '{"metadata":{"finalizers":null}}'
    member.managed.kubectl("patch", "configmap", "held", "--type=merge", "-p", release)
    assert wait_until(lambda: member.fleet.get("manifestwork", "holding", member.name) is None, PATIENCE)


@pytest.mark.parametrize("end", ["deleted", "dropped from the list"])
def test_a_work_leaves_behind_what_its_rules_say(member: Member, end: str) -> None:
    rule = {"group": "", "resource": "configmaps", "namespace": "default", "name": "orphan"}
    option = {"propagationPolicy": "SelectivelyOrphan", "selectivelyOrphans": {"orphaningRules": [rule]}}
    _apply_work(member, "orphaning", _config_map("orphan"), _config_map("child"), deleteOption=option)
    assert wait_until(lambda: _applied(member, "orphaning") == "True", PATIENCE)
    if end != "deleted":
        _apply_work(member, "orphaning", _config_map("other"))
        assert wait_until(lambda: _on_cluster(member, "configmap", "other", "default") is not None, PATIENCE)
    member.fleet.hub.kubectl("delete", "manifestwork", "-n", member.name, "orphaning", "--timeout=20s")
    assert _on_cluster(member, "configmap", "child", "default") is None
    assert _on_cluster(member, "configmap", "orphan", "default") is not None


def test_a_work_says_what_it_could_not_apply_and_what_it_was_asked_about_the_rest(member: Member) -> None:
    unknown = {
        "apiVersion": "example.com/v1",
        "kind": "Unknown",
        "metadata": {"name": "x", "namespace": "default"},
    }
    config = {
        "resourceIdentifier": {"group": "", "resource": "configmaps", "namespace": "default", "name": "told"},
        "feedbackRules": [{"type": "JSONPaths", "jsonPaths": [{"name": "colour", "path": ".data.colour"}]}],
    }
    _apply_work(member, "telling", unknown, _config_map("told", colour="red"), manifestConfigs=[config])
    assert wait_until(lambda: _applied(member, "telling") == "False", PATIENCE)
    work = member.fleet.get("manifestwork", "telling", member.name)
    assert work is not None
    failed, told = work["status"]["resourceStatus"]["manifests"]
    assert 'no matches for kind "Unknown"' in failed["conditions"][0]["message"]
    assert told["statusFeedback"]["values"] == [
        {"name": "colour", "fieldValue": {"type": "String", "string": "red"}}
    ]


def test_the_manager_reports_that_the_agents_deployment_is_available(fleet: Fleet, member: Member) -> None:
    work = fleet.get("manifestwork", WORK, member.name)
    assert work is not None
    entries = work["status"]["resourceStatus"]["manifests"]
    deployment = next(entry for entry in entries if entry["resourceMeta"]["kind"] == "Deployment")
    values = {value["name"]: value["fieldValue"] for value in deployment["statusFeedback"]["values"]}
    assert values["ready"] == {"type": "Integer", "integer": 1}
    assert values["available"] == {"type": "String", "string": "True"}
    assert fleet.condition(member.name, "Degraded") == "False"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".a.missing", []),
        (".list[1].name", ["y"]),
        ('.list[?(@.name=="y")].value', [True]),
        (".list[?(@.name=='z')].value", []),
    ],
)
def test_a_path_leads_to_what_kubectl_finds(path: str, found: list[object]) -> None:
    object_ = {"a": {"b": 1}, "list": [{"name": "x"}, {"name": "y", "value": True}]}
    assert list(feedback.select(object_, path)) == found
