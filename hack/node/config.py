"""What a node's programs read, and what makes its namespaces look like a machine of its own; all pure."""

from pathlib import Path
from shlex import quote
from typing import Any, Final

from hack.node.network import Link

PAUSE_IMAGE: Final = "localhost/pause:1"
SOCKET: Final = "/run/containerd/containerd.sock"
CNI_PLUGINS: Final = Path("/usr/lib/cni")
"""Where Debian's package has them."""

PRIVATE: Final = (
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
"""Folders of which each node sees its own: some of these paths are fixed in the programs."""

_KERNEL_SETTINGS: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What a kubelet sets on its machine and nobody sets back; it finds them set, and the real ones stay as they are."""


def first_process(folder: Path, pause: Path) -> str:
    """What the first process of a node's namespaces runs, a shell and then `pause`; FOLDER/ready is there when all is laid out."""
    return "\n".join(
        [
            "set -eu",
            "mount -t proc proc /proc",
            "mount -t tmpfs tmpfs /run",
            *(_private(path, folder) for path in PRIVATE),
            *(_kernel_setting(name, value, folder) for name, value in _KERNEL_SETTINGS.items()),
            f"touch {quote(str(folder / 'ready'))}",
            f"exec {quote(str(pause))}",
            "",
        ]
    )


def _private(path: str, folder: Path) -> str:
    own = quote(f"{folder}{path}")
    return f"mkdir -p {path} {own} && mount --bind {own} {path}"


def _kernel_setting(name: str, value: int, folder: Path) -> str:
    file = quote(str(folder / name.replace("/", ".")))
    return f"echo {value} >{file} && mount --bind {file} /proc/sys/{name}"


def containerd(folder: Path) -> str:
    return f"""version = 3
[plugins.'io.containerd.internal.v1.opt']
  path = "/var/lib/containerd/opt"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{CNI_PLUGINS}"]
  conf_dir = "{folder / "cni"}"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def cni(link: Link) -> dict[str, Any]:
    """Each pod on a cable of its own: on a bridge, answers from a neighbour would get past kube-proxy's address translation."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": link.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": ipam}]}


def kubelet(folder: Path, link: Link, cgroup: str) -> dict[str, Any]:
    """The API server's own authority vouches for who may ask this kubelet.

    Args:
        folder: the control plane's.
        link: the node's place in the network.
        cgroup: which the pods' cgroups are under; it exists.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(folder / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "address": link.address,
        "podCIDR": link.pods,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "resolvConf": "",  # there is no DNS; an own resolver of this machine would not be reached either
        "syncFrequency": "5s",  # a changed Secret is in its volume within ten seconds
        "imageGCHighThresholdPercent": 100,  # images cannot be pulled again
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    }


def kube_proxy(kubeconfig: Path, name: str, link: Link) -> dict[str, Any]:
    """Connection tracking is the machine's: its limits are left alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": name,
        "clusterCIDR": link.pods,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
