"""A kubelet's part on the hub, for the pods of the addon's manager and of the hook by which its chart leaves."""

import anyio

from hack.ocm import kinds
from hack.ocm.api import Api, Object
from hack.ocm.loops import Loops
from hack.ocm.pods import PodRunner, PodSettings
from msa.api import names
from msa.runtime.store import Change

_ACCOUNTS = (names.ADDON, f"{names.ADDON}-leave")
"""Other addons' programs live in the same namespace."""


async def run(hub: Api, settings: PodSettings) -> None:
    """Runs for ever; on the way out the pods are stopped."""
    loops = Loops()
    pods = loops.follow(hub, kinds.PODS.selected(names.HUB_NAMESPACE))
    runner = PodRunner(settings, hub, pods.store)
    queue = loops.control(hub, "pod", runner)

    def changed(change: Change[Object]) -> None:
        if change.latest.spec.get("serviceAccountName") in _ACCOUNTS:
            queue.add(change.key)

    pods.subscribe(changed)
    try:
        await loops.run()
    finally:
        with anyio.CancelScope(shield=True):
            await runner.stop_all()
