"""The addon's orderly end on the whole hub: its ClusterManagementAddOn is deleted first, and the manager lives until it has reported that.

Whatever the hub answers, this ends after a bound and without an error: it may not keep anybody from removing the addon.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import anyio
from attrs import frozen

from msa.api import names
from msa.api.addon import ManagedClusterAddOn
from msa.api.fleet_identity import FleetIdentity
from msa.policy.leaving import (
    DONE,
    Left,
    goes_with_the_fleets,
    left,
    overdue,
    progress,
    seconds_for_events,
)
from msa.runtime.errors import ApiError
from msa.runtime.store import Store

Say = Callable[[str], None]

_AT_ONCE = 16
_LOOK_SECONDS = 0.5
_SAY_SECONDS = 5.0
_ADDON = f"ClusterManagementAddOn {names.ADDON}"
_WITHOUT_HELM = (
    f"nothing was deleted: Lease {names.MANAGER_LEADER_LEASE} has the annotation helm.sh/hook, so the chart's hooks were applied "
    "without helm, as ordinary objects. Leave them out: helm template --no-hooks"
)


class LeavingHub(Protocol):
    """The hub that the addon leaves. Raises ApiError where it refuses."""

    async def has_applied_hooks(self) -> bool:
        """Whether the chart's hooks were applied by a program that does not know hooks: then nothing is being uninstalled."""
        ...

    async def follow(self) -> None:
        """Returns once the stores are complete; they are kept up to date from then on."""
        ...

    async def delete_addon(self) -> bool:
        """Deletes the ClusterManagementAddOn; False where there is none."""
        ...

    async def delete_from_cluster(self, addon: ManagedClusterAddOn) -> None:
        """Deletes it, if it is there still."""
        ...


@frozen
class Leave:
    """Deletes the addon from the hub and waits for the manager's report.

    Attributes:
        addons: ours, on each cluster.
        say: told each step, in a line.
    """

    hub: LeavingHub
    addons: Store[ManagedClusterAddOn]
    identities: Store[FleetIdentity]
    say: Say

    async def __call__(self, seconds: float) -> None:
        """Ends after that time at the latest."""
        with anyio.move_on_after(seconds) as bound:
            try:
                await self._leave()
            except ApiError as error:
                self.say(f"gave up: the hub refuses: {error.reason}: {error.message}")
        if bound.cancelled_caught:
            for line in overdue(self._left(), seconds):
                self.say(line)

    async def _leave(self) -> None:
        if await self.hub.has_applied_hooks():
            self.say(_WITHOUT_HELM)
            return
        await self.hub.follow()
        before = self._left()
        deleted = await self.hub.delete_addon()
        self.say(f"deleted {_ADDON}" if deleted else f"{_ADDON} was deleted already")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._delete_from_clusters)
            await self._wait()
        self.say(DONE)
        await anyio.sleep(seconds_for_events(len(before.identities)))

    async def _delete_from_clusters(self) -> None:
        """As the garbage collector would, which by default takes minutes for 2,000 clusters."""
        limit = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for addon in filter(goes_with_the_fleets, self.addons.values()):
                tasks.start_soon(self._delete_from_cluster, addon, limit)

    async def _delete_from_cluster(self, addon: ManagedClusterAddOn, limit: anyio.CapacityLimiter) -> None:
        async with limit:
            with suppress(ApiError):  # the garbage collector deletes it later
                await self.hub.delete_from_cluster(addon)

    async def _wait(self) -> None:
        said, silent = "", 0.0
        while rest := self._left():
            if (line := progress(rest)) != said and anyio.current_time() >= silent:
                self.say(line)
                said, silent = line, anyio.current_time() + _SAY_SECONDS
            await anyio.sleep(_LOOK_SECONDS)

    def _left(self) -> Left:
        return left(self.addons.values(), self.identities.values())
