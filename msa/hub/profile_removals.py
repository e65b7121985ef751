"""Which copies of one identity's credential are deleted, and when: the table is `policy.copy_losses`."""

import math
from collections.abc import Collection, Sequence
from functools import partial

from attrs import frozen

from msa.api.clusterprofile import SecretFacts
from msa.hub.fanout_causes import Causes
from msa.hub.profile_departures import Departures, Doubt, FreshHub
from msa.policy.copy_losses import Loss, Removal, losses, removal_of
from msa.policy.profiles import Situation
from msa.runtime.result import Key


@frozen
class CopyRemovals:
    causes: Causes
    fresh: FreshHub
    departures: Departures

    def at_once(self, situation: Situation) -> Sequence[SecretFacts]:
        """Those that an object that is there takes away, or what was seen."""
        found = ((copy, losses(situation, copy)) for copy in situation.ours)
        return tuple(copy for copy, lost in found if removal_of(lost) is Removal.AT_ONCE)

    async def checked(self, key: Key, situation: Situation) -> tuple[Sequence[SecretFacts], float | None]:
        """Those that may go now though what they belong to is only missing; and seconds until the next may.

        Raises:
            ApiError: the hub could not be asked.
        """
        ours = {copy.metadata.namespace: copy for copy in situation.ours}
        doubts = {
            namespace: self._doubt(key, situation, copy, lost)
            for namespace, copy in ours.items()
            if removal_of(lost := losses(situation, copy)) is Removal.CHECKED
            and copy.metadata.deletion_timestamp is None
        }
        if not ours and situation.identity is None:
            self.departures.forget(key)
            return (), None
        departure = await self.departures.of(key, doubts, len(ours))
        return [ours[namespace] for namespace in departure.gone], departure.seconds

    def _doubt(self, key: Key, situation: Situation, copy: SecretFacts, lost: Collection[Loss]) -> Doubt:
        namespace, cluster = copy.metadata.namespace, situation.cluster
        profile = next(
            (item for item in situation.profiles or () if item.metadata.namespace == namespace), None
        )
        cause = self.causes.unbound(namespace, cluster) if Loss.NOT_BOUND in lost else -math.inf
        return Doubt(copy, profile, cause, partial(self._stands, key, namespace, cluster, lost))

    async def _stands(self, key: Key, namespace: str, cluster: str, lost: Collection[Loss]) -> bool:
        if Loss.IDENTITY_MISSING in lost and not await self.fresh.has(key):
            return True
        return Loss.NOT_BOUND in lost and not await self.fresh.may_use(namespace, cluster)
