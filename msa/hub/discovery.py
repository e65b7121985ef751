"""What the manager needs a hub to serve, and which version of OCM's addon API it speaks there."""

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from msa.api import addon, cluster, names, work
from msa.runtime.supervisor import StartError

_OCM = "install Open Cluster Management"
_NEEDED = (
    (names.GROUP, names.STORAGE_VERSION, names.PLURAL, "install this addon's CRD: make install"),
    (cluster.GROUP, "v1", "managedclusters", _OCM),
    (work.GROUP, "v1", "manifestworks", _OCM),
)
_ADDON_KINDS = frozenset(("clustermanagementaddons", "managedclusteraddons"))
"""Both of one version, the newest that has them."""

Served = Callable[[str, str], Awaitable[AbstractSet[str]]]
"""The plural names that a group serves in a version; none where it is not served."""


async def addon_version(served: Served) -> str:
    """The version of OCM's addon API to speak.

    Raises:
        StartError: something is missing; it names all that is, with the remedy.
        ApiError: the server does not say.
    """
    missing = await _missing(served)
    absent = {
        version: _ADDON_KINDS - await served(addon.GROUP, version)
        for version in (addon.V1BETA1, addon.V1ALPHA1)
    }
    version = next((version for version, kinds in absent.items() if not kinds), "")
    if not version:
        # Where each version lacks another one, neither has both.
        nowhere = frozenset.intersection(*absent.values()) or _ADDON_KINDS
        missing += [f"{plural}.{addon.GROUP} is not served by the hub: {_OCM}" for plural in sorted(nowhere)]
    if missing:
        raise StartError("; ".join(missing))
    return version


async def _missing(served: Served) -> list[str]:
    return [
        f"{plural}.{group}/{version} is not served by the hub: {remedy}"
        for group, version, plural, remedy in _NEEDED
        if plural not in await served(group, version)
    ]
