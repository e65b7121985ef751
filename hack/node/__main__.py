"""A real node on this machine, joined to a control plane of hack.clusters: containerd, kubelet, kube-proxy and the scheduler.

python -m hack.node up hub                   start the control plane and its node, print the admin kubeconfig
python -m hack.node exec hub COMMAND...      run a command where the node's Services and pods can be reached
python -m hack.node load hub ARCHIVE NAME    give the node an image: an OCI archive, and the name by which pods ask for it
python -m hack.node down hub                 stop both and remove their state

Needs root on Linux; elsewhere one line says why not. Each node has namespaces of its own (network, mounts, processes), so several run
side by side, and when their first process ends, the kernel ends and unmounts the rest. Host and pods reach the API servers and all pods
of all nodes by their addresses (hack/node/network.py); a Service's address means something only on its own cluster's node.

Limits: no DNS in pods, so clients must go by address (KUBERNETES_SERVICE_HOST); no image is pulled (pods say imagePullPolicy
IfNotPresent); pods reach this machine, and nothing beyond it. Empty folders stay behind where programs have fixed paths
(config.PRIVATE).
"""

import subprocess
import sys
from pathlib import Path

from hack import binaries
from hack.clusters import HOME, LOOPBACK, Cluster, ClusterError
from hack.node.network import NetworkError
from hack.node.node import Node, NodeError, joinable, prepare


def main(arguments: list[str]) -> int:
    match arguments:
        case ["up", name]:
            prepare()
            cluster = joinable(Cluster(name, HOME / name))
            if cluster.process("apiserver").pid() and LOOPBACK in cluster.kubeconfig.read_text():
                raise NodeError(f"{name} listens on loopback alone: make cluster-down NAME={name}")
            Node(cluster).up()
            print(cluster.kubeconfig)
        case ["exec", name, *command] if command:
            return subprocess.run(_node(name).inside(*command), check=False).returncode
        case ["load", name, archive, image]:
            _node(name).load(Path(archive), image)
        case ["down", name]:
            Node(Cluster(name, HOME / name, binaries={}), {}).down()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def _node(name: str) -> Node:
    return Node(Cluster(name, HOME / name, binaries={}))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (NodeError, NetworkError, ClusterError, binaries.Unavailable, OSError) as error:
        sys.exit(f"node: {error}")
