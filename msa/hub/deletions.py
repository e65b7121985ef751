"""Which of OCM's objects the manager saw being deleted. One that is merely missing from a list, or cannot be read, was not."""

from attrs import field, frozen

from msa.api import names
from msa.api.addon import ClusterManagementAddOn, ManagedClusterAddOn
from msa.api.cluster import ManagedCluster
from msa.policy.installation import Part
from msa.runtime.absences import Absences
from msa.runtime.result import Key
from msa.runtime.store import Change

_FLEET = Key(names.ADDON)


@frozen
class Deletions:
    """Handlers of changes, and what they learned; keys are clusters."""

    addons: Absences = field(factory=Absences)
    clusters: Absences = field(factory=Absences)
    fleet: Absences = field(factory=Absences)

    def addon(self, change: Change[ManagedClusterAddOn]) -> None:
        self.addons.changed(Key(change.latest.metadata.namespace), change)

    def cluster(self, change: Change[ManagedCluster]) -> None:
        self.clusters.changed(Key(change.latest.metadata.name), change)

    def fleet_addon(self, change: Change[ClusterManagementAddOn]) -> None:
        self.fleet.changed(_FLEET, change)

    def seen(self, key: Key) -> frozenset[Part]:
        """What of one cluster's situation was seen being deleted."""
        found = {
            Part.ADDON: self.addons.seen(key),
            Part.CLUSTER: self.clusters.seen(key),
            Part.FLEET: self.fleet.seen(_FLEET),
        }
        return frozenset(part for part, uid in found.items() if uid is not None)

    def forget(self, key: Key) -> None:
        """Nothing is left there that would have to be taken away."""
        self.addons.forget(key)
        self.clusters.forget(key)
