"""What of a node is decided before anything runs: addresses, what its programs read, cgroups, images, and where it cannot run."""

import io
import json
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from hack.clusters import LOOPBACK, Cluster
from hack.node import cgroups, config, needs
from hack.node.images import write_archive
from hack.node.network import ADDRESS, Link
from hack.node.node import joinable

_LINKS = [Link(number) for number in range(1, 200)]
_V1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n"


def test_no_two_nodes_of_a_machine_share_an_address() -> None:
    addresses = [ip_address(link.address) for link in _LINKS]
    pods = [ip_network(link.pods) for link in _LINKS]
    assert len({*addresses, ip_address(ADDRESS)}) == len(_LINKS) + 1
    assert len(set(pods)) == len(_LINKS)
    assert not any(address in network for address in addresses for network in pods)


def test_the_bridges_network_holds_every_node_and_pod() -> None:
    network = ip_network(f"{ADDRESS}/16", strict=False)
    assert all(ip_address(link.address) in network for link in _LINKS)
    assert all(ip_network(link.pods).subnet_of(network) for link in _LINKS)  # type: ignore[arg-type]  # both are IPv4


def test_a_nodes_name_fits_an_interface() -> None:
    assert max(len(link.name) for link in _LINKS) < 16


def test_the_first_process_says_it_is_ready_last() -> None:
    script = config.first_process(Path("/home/it's/node"), Path("/cache/pause"))
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
    *_, touch, wait = script.strip().splitlines()
    assert touch.startswith("touch ")
    assert wait == "exec /cache/pause"


def test_each_private_folder_is_mounted_from_the_nodes_own(tmp_path: Path) -> None:
    script = config.first_process(tmp_path, Path("/cache/pause"))
    for path in config.PRIVATE:
        assert f"mount --bind {tmp_path}{path} {path}" in script


def test_containerd_pins_the_pause_image_and_finds_the_network(tmp_path: Path) -> None:
    plugins = tomllib.loads(config.containerd(tmp_path))["plugins"]
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == config.PAUSE_IMAGE
    assert plugins["io.containerd.cri.v1.runtime"]["cni"]["conf_dir"] == str(tmp_path / "cni")


def test_kubelet_network_and_proxy_agree_on_the_pods_addresses(tmp_path: Path) -> None:
    link = Link(7)
    ranges = config.cni(link)["plugins"][0]["ipam"]["ranges"]
    assert ranges == [[{"subnet": "10.213.7.0/24"}]]
    assert config.kubelet(tmp_path, link, "/msa7")["podCIDR"] == "10.213.7.0/24"
    assert config.kube_proxy(tmp_path, "hub", link)["clusterCIDR"] == "10.213.7.0/24"


def test_a_kubelet_answers_only_whom_the_control_plane_vouches_for(tmp_path: Path) -> None:
    kubelet = config.kubelet(tmp_path, Link(1), "/msa1")
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authentication"]["x509"] == {"clientCAFile": str(tmp_path / "ca.crt")}
    assert kubelet["authorization"] == {"mode": "Webhook"}


def test_cgroups_are_made_in_every_tree_that_is_mounted() -> None:
    found = cgroups.trees(_V1)
    assert found == [Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup/unified")]


def test_on_cgroup_v2_controllers_are_handed_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    cgroups.create([tmp_path], Link(1))
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert (tmp_path / "msa1").is_dir()


def test_only_cgroups_of_nodes_that_are_no_more_are_removed(tmp_path: Path) -> None:
    for name in ("msa1/kubepods/burstable/pod1", "msa2/kubepods", "msa-prod", "other"):
        (tmp_path / name).mkdir(parents=True)
    cgroups.remove_unused([tmp_path], lambda link: link.number == 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["msa-prod", "msa2", "other"]


def _bytes(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def _json(tar: tarfile.TarFile, name: str) -> Any:
    return json.loads(_bytes(tar, name))


def test_an_image_of_one_program_runs_it_without_rights(tmp_path: Path) -> None:
    (tmp_path / "probe").write_bytes(b"program")
    write_archive(tmp_path / "image.tar", tmp_path / "probe", "arm64")
    with tarfile.open(tmp_path / "image.tar") as tar:
        manifest = _json(tar, _blob(_json(tar, "index.json")["manifests"][0]))
        config = _json(tar, _blob(manifest["config"]))
        layer = _bytes(tar, _blob(manifest["layers"][0]))
        with tarfile.open(fileobj=io.BytesIO(layer)) as files:
            assert files.getmember("probe").mode == 0o755
    assert config["architecture"] == "arm64"
    assert config["config"] == {"Entrypoint": ["/probe"], "User": "65532:65532"}


def _blob(descriptor: dict[str, str]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _has(*missing: str) -> Callable[[str], str | None]:
    return lambda program: None if program in missing else f"/usr/bin/{program}"


def test_who_is_not_root_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert (reason := needs.why_not(_has())) is not None
    assert "needs root" in reason
    assert "\n" not in reason


def test_where_packages_cannot_be_installed_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    reason = needs.why_not(_has("runc", "nft", "apt-get"))
    assert reason is not None
    assert "a node needs runc, nftables, and this is no Debian" in reason


def test_a_system_other_than_linux_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert needs.why_not(_has()) == "a node runs on Linux alone"


def test_a_control_plane_for_nodes_keeps_its_own_flags(tmp_path: Path) -> None:
    plain = Cluster("hub", tmp_path, extra=("--v=4",), binaries={})
    joined = joinable(plain)
    assert (plain.address, joined.address) == (LOOPBACK, ADDRESS)
    assert joined.extra[0] == "--v=4"
    assert "--authorization-mode=Node" in joined.extra


@pytest.mark.parametrize(("address", "reconciler"), [(LOOPBACK, "none"), (ADDRESS, "lease")])
def test_a_service_leads_to_an_api_server_only_where_pods_reach_it(
    tmp_path: Path, address: str, reconciler: str
) -> None:
    (tmp_path / "ports.yaml").write_text("{etcd: 1, apiserver: 2}")
    flags = Cluster("hub", tmp_path, address=address, binaries={})._apiserver_flags()
    assert f"--endpoint-reconciler-type={reconciler}" in flags
    assert f"--advertise-address={address}" in flags
