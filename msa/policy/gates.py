"""Feature gates: behaviour that is switched on by name."""

from typing import Final

from attrs import frozen

RENAMED: Final = {"ClusterProfileCredSyncer": "ClusterProfile"}
"""Gates of the Go addon's chart 0.10, and what they are called now."""


@frozen
class FeatureGates:
    """What `--feature-gates=EphemeralIdentity=true` says.

    Attributes:
        ephemeral_identity: delete a ManagedServiceAccount when its `ttlSecondsAfterCreation` is over.
        cluster_profile: copy credentials to ClusterProfiles.
        renamed: gates that were given by an old name.
    """

    ephemeral_identity: bool = False
    cluster_profile: bool = False
    renamed: tuple[str, ...] = ()

    @property
    def on(self) -> tuple[str, ...]:
        """Those that are switched on, by name."""
        gates = {"EphemeralIdentity": self.ephemeral_identity, "ClusterProfile": self.cluster_profile}
        return tuple(name for name, on in gates.items() if on)
