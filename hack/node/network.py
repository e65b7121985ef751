"""How nodes and API servers on one machine reach one another: one bridge, one pair of virtual cables for each node.

The bridge is 10.213.0.1/16; API servers that pods shall reach listen there. Node N is 10.213.0.(10+N), its pods are 10.213.N.0/24, and
it answers ARP for them, so that host and nodes reach every pod with no route and no setting on the host. Cables go with their node's
namespace: a killed node leaves nothing but a bridge without cables, which the next node to stop removes.
"""

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

BRIDGE = "msa0"
ADDRESS = "10.213.0.1"
_INTERFACES = Path("/sys/class/net")
_MOST_NODES = 200


class NetworkError(Exception):
    """The kernel refused; the message is its own."""


@frozen
class Link:
    """A node's place on the bridge; no two nodes of a machine have the same.

    Attributes:
        number: from 1.
    """

    number: int

    @property
    def name(self) -> str:
        """Of the host's end of the cable."""
        return f"msa{self.number}"

    @property
    def exists(self) -> bool:
        """Whether a node of this machine has it."""
        return (_INTERFACES / self.name).exists()

    @property
    def address(self) -> str:
        return f"10.213.0.{10 + self.number}"

    @property
    def pods(self) -> str:
        return f"10.213.{self.number}.0/24"

    @property
    def setup(self) -> str:
        """What a shell in the node's network namespace runs; without proxy_delay each first packet to a pod waits up to 0.8 s."""
        return f"""set -eu
ip address add {self.address}/16 dev eth0
ip link set lo up
ip link set eth0 up
ip route add default via {ADDRESS}
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv4/conf/eth0/proxy_arp
echo 0 >/proc/sys/net/ipv4/neigh/eth0/proxy_delay
"""


def attach(pid: int) -> Link:
    """Lays a cable from the bridge, made if it is not there, into this process's network namespace, as eth0.

    Raises:
        NetworkError: the kernel refused.
    """
    with _bridge_to_ourselves():
        if not (_INTERFACES / BRIDGE).exists():
            _ip("link", "add", BRIDGE, "type", "bridge")
            _ip("address", "add", f"{ADDRESS}/16", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        link = next(link for link in map(Link, range(1, _MOST_NODES)) if not link.exists)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("link", "add", link.name, "master", BRIDGE, *peer)
        _ip("link", "set", link.name, "up")
    return link


def detach(link: Link, end: Callable[[], None]) -> None:
    """Ends a node with `end` and removes its cable, before another node can take the number.

    The kernel does it too, but only once the last connection of a dead process is closed: up to a minute later.
    """
    with _bridge_to_ourselves():
        end()
        if link.exists:
            with contextlib.suppress(NetworkError):  # the kernel was first
                _ip("link", "delete", link.name)


def remove_unused_bridge() -> None:
    """Removes the bridge when no node is on it."""
    with _bridge_to_ourselves():
        ports = _INTERFACES / BRIDGE / "brif"
        if ports.exists() and not any(ports.iterdir()):
            _ip("link", "delete", BRIDGE)


@contextlib.contextmanager
def _bridge_to_ourselves() -> Iterator[None]:
    """One node at a time, of all clones on this machine: else one removes the bridge that another is about to use."""
    folder = os.open("/run", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
