"""How the manager starts and ends: what it needs of the hub, what may come later, and the mode in which it has nothing to do."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack.addon import ensure_namespace
from hack.charts import Release
from hack.clusters import Cluster, free_ports, running
from hack.generate import CRD
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.support.chart_hub import apply, body, get
from tests.support.manager import PATIENCE, Membership, Replica, managed_cluster, managing
from tests.support.proxy import redirect

_OCM = Path(__file__).parents[2] / "hack/ocm/crds"
_ADDON_GROUP = "addon.open-cluster-management.io"
_CONFIGS = f"addondeploymentconfigs.{_ADDON_GROUP}"
_NEEDED = (
    f"{names.PLURAL}.{names.GROUP}",
    "managedclusters.cluster.open-cluster-management.io",
    "manifestworks.work.open-cluster-management.io",
    f"managedclusteraddons.{_ADDON_GROUP}",
    f"clustermanagementaddons.{_ADDON_GROUP}",
)
_LATEST_SECONDS = 60.0
"""Within which a kind that came later is looked for again."""

_LEASE_SECONDS = 15.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plane(home: Path) -> Iterator[Cluster]:
    """A hub with all kinds, and no part of OCM that acts."""
    with running("starting", home) as hub:
        Fleet(hub).install()
        yield hub


@contextmanager
def _without(hub: Cluster, *crds: str) -> Iterator[None]:
    """While the block lasts these kinds are not served."""
    for crd in crds:
        hub.kubectl("delete", "crd", crd)
    assert wait_until(lambda: not any(_served(hub, crd) for crd in crds), PATIENCE)
    try:
        yield
    finally:
        for crd in crds:
            _establish(hub, crd)


def _served(hub: Cluster, crd: str) -> bool:
    plural, _, group = crd.partition(".")
    return f"{plural}." in hub.kubectl(
        "api-resources", f"--api-group={group}", "-o", "name", "--cached=false"
    )


def _establish(hub: Cluster, crd: str) -> None:
    file = CRD if names.GROUP in crd else _OCM / f"{crd.partition('.')[0]}.yaml"
    hub.kubectl("apply", "--server-side", "-f", str(file))
    assert wait_until(lambda: _served(hub, crd), PATIENCE)


@pytest.mark.parametrize("missing", [*((crd,) for crd in _NEEDED), _NEEDED], ids=[*_NEEDED, "all"])
def test_without_what_it_needs_it_says_in_one_line_what_is_missing(
    plane: Cluster, missing: tuple[str, ...]
) -> None:
    replica = Replica(plane, "missing", kubeconfig=plane.kubeconfig)
    with _without(plane, *missing):
        ended = subprocess.run(replica.command(), capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    started, line = ended.stderr.splitlines()
    assert '"event":"starting"' in started
    assert line.startswith("msa manager: ")
    assert [crd for crd in _NEEDED if crd in line.replace("/v1", "")] == [*missing], line


def test_a_hub_that_is_away_is_waited_for(plane: Cluster, tmp_path: Path) -> None:
    """As after a power cut: the manager is alive, not ready, and no restart of its container costs time when the hub is back."""
    (port,) = free_ports(1)
    nobody = redirect(plane.kubeconfig, port, to=tmp_path / "kubeconfig")
    replica = Replica(plane, "nobody", kubeconfig=nobody)
    replica.start()
    assert wait_until(lambda: replica.said("waiting_for_api_server"), PATIENCE)
    assert replica.alive()
    assert not replica.ready()
    replica.send(signal.SIGTERM)
    assert replica.wait() == 0


def test_a_port_that_is_taken_is_told_before_anything_else_is_done(plane: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        replica = Replica(plane, "taken", kubeconfig=plane.folder / "missing", ports=(port, *free_ports(1)))
        ended = subprocess.run(replica.command(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"msa manager: --health-probe-bind-address=127.0.0.1:{port}: port {port} is already in use\n"
    )


@pytest.fixture
def release(plane: Cluster) -> Iterator[Release]:
    """Not installed yet; nothing of it is left after the test, and no cluster either."""
    release = Release(plane)
    yield release
    release.uninstall()
    plane.kubectl("delete", "managedclusters", "--all")


def _accept(hub: Cluster, cluster: str) -> Membership:
    """With what OCM would make for it."""
    ensure_namespace(hub, cluster)
    fleet = get(hub, "clustermanagementaddon", names.ADDON)
    addon = body(f"{_ADDON_GROUP}/v1alpha1", "ManagedClusterAddOn", names.ADDON, cluster, spec={})
    addon["metadata"]["ownerReferences"] = [
        {part: fleet[part] for part in ("apiVersion", "kind")}
        | {part: fleet["metadata"][part] for part in ("name", "uid")}
    ]
    apply(hub, managed_cluster(cluster), addon)
    return Membership(Fleet(hub), cluster)


def test_configurations_that_come_to_the_hub_later_are_taken_up_without_a_restart(
    plane: Cluster, release: Release
) -> None:
    with _without(plane, _CONFIGS):
        release.install()
        with managing(plane, "early") as manager:
            cluster = _accept(plane, "early")
            cluster.wait_installed()
            before = manager.value("process_start_time_seconds")
            _establish(plane, _CONFIGS)
            _configure(cluster)
            assert wait_until(lambda: cluster.image().startswith("mirror.example.com/"), _LATEST_SECONDS)
            assert manager.value("process_start_time_seconds") == before


def _configure(cluster: Membership) -> None:
    """As a user asks for a configuration, and as OCM says that it is asked for."""
    referent = {"name": "mirrors", "namespace": cluster.name}
    spec = {"registries": [{"source": names.IMAGE.rpartition("/")[0], "mirror": "mirror.example.com"}]}
    api = f"{_ADDON_GROUP}/v1alpha1"
    apply(cluster.fleet.hub, body(api, "AddOnDeploymentConfig", **referent, spec=spec))
    reference = {"group": _ADDON_GROUP, "resource": "addondeploymentconfigs"}
    addon = ("managedclusteraddon", names.ADDON)
    cluster.patch(*addon, {"spec": {"configs": [reference | referent]}})
    cluster.patch(
        *addon,
        {"status": {"configReferences": [reference | referent | {"desiredConfig": referent}]}},
        "--subresource=status",
    )


def test_in_the_mode_addontemplate_it_leaves_the_addon_to_ocm_and_fans_out(
    plane: Cluster, release: Release
) -> None:
    """With the few rights that the chart gives it then; it is ready, leads, and ends as it is told to."""
    release.install("--set=hubDeployMode=AddOnTemplate")
    with managing(plane, "template", "--deploy-mode=AddOnTemplate", "--leader-elect") as manager:
        cluster = _accept(plane, "templated")
        assert wait_until(lambda: manager.value("leader_election_master_status") == 1, PATIENCE)
        assert not wait_until(lambda: cluster.made() != [], 2, 0.5)
        assert cluster.get("managedclusteraddon").get("status") is None
        assert manager.value("controller_runtime_max_concurrent_reconciles", controller="fanout") > 0
        assert (
            manager.value("controller_runtime_max_concurrent_reconciles", controller="managedclusteraddon")
            == 0
        )
        apply(plane, body(f"{names.GROUP}/{names.STORAGE_VERSION}", names.KIND, "lost", "default"))
        assert wait_until(lambda: "NamespaceNotBound" in _said(plane), PATIENCE)
        manager.send(signal.SIGTERM)
        assert manager.wait() == 0


def _said(hub: Cluster) -> list[str]:
    """The reasons in the status of the ManagedServiceAccount."""
    found = get(hub, names.PLURAL, "-n", "default", "lost")
    return [item["reason"] for item in found.get("status", {}).get("conditions", ())]


def test_it_ends_as_it_is_told_to_while_there_is_work(plane: Cluster, release: Release) -> None:
    release.install()
    with managing(plane, "polite") as manager:
        _accept(plane, "polite")
        manager.send(signal.SIGTERM)
        assert manager.wait(10.0) == 0


def test_an_uninstall_leaves_no_lease_that_the_next_manager_would_wait_for(
    plane: Cluster, release: Release
) -> None:
    """Its rights go before its process does, so it cannot release the Lease by itself."""
    release.install()
    before = Replica(plane, "uninstalled", ("--leader-elect",))
    before.start()
    assert wait_until(lambda: before.said("leading"), PATIENCE)
    release.uninstall()
    lease = ("get", "lease", "-n", names.HUB_NAMESPACE, names.MANAGER_LEADER_LEASE, "--ignore-not-found")
    assert plane.kubectl(*lease, "-o", "name") == ""
    before.send(signal.SIGTERM)
    before.wait()
    release.install()
    with managing(plane, "installed", "--leader-elect") as after:
        start = time.monotonic()
        assert wait_until(lambda: after.said("leading"), PATIENCE, 0.01)
        assert time.monotonic() - start < _LEASE_SECONDS / 3
