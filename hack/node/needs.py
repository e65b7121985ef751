"""What a machine must have to run a node."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Final

from hack.node.config import CNI_PLUGINS

PACKAGES: Final = {
    "runc": "runc",
    str(CNI_PLUGINS / "ptp"): "containernetworking-plugins",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
"""Debian's package of each program."""

Find = Callable[[str], str | None]


def why_not(find: Find = shutil.which) -> str | None:
    """In one line why no node can run here; None where it can, once PACKAGES are installed."""
    if sys.platform != "linux":
        return "a node runs on Linux alone"
    if os.geteuid() != 0:
        return "a node needs root: it makes namespaces, cgroups and network interfaces"
    if (packages := _missing(find)) and find("apt-get") is None:
        return f"a node needs {', '.join(packages)}, and this is no Debian: install them, CNI's plugins into {CNI_PLUGINS}"
    trial = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"a node needs namespaces of its own: {trial.stderr.strip()}" if trial.returncode else None


def _missing(find: Find) -> list[str]:
    return [package for program, package in PACKAGES.items() if find(program) is None]
