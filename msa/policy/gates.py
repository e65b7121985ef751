"""Feature gates: behaviour that is switched on by name."""

from attrs import frozen


@frozen
class FeatureGates:
    """What `--feature-gates=EphemeralIdentity=true` says.

    Attributes:
        ephemeral_identity: delete a ManagedServiceAccount when its `ttlSecondsAfterCreation` is over.
        cluster_profile: copy credentials to ClusterProfiles.
    """

    ephemeral_identity: bool = False
    cluster_profile: bool = False
