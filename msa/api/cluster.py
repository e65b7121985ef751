"""cluster.open-cluster-management.io/v1 ManagedCluster, as a wire type."""

from typing import Final

from msgspec import Struct

from msa.api.meta import ObjectMeta

GROUP: Final = "cluster.open-cluster-management.io"

ANNOTATION_IMAGE_REGISTRIES: Final = "open-cluster-management.io/image-registries"
"""JSON: `{"registries":[{"source":"a","mirror":"b"}]}`."""


class ClusterSpec(Struct, frozen=True, gc=False, rename="camel"):
    hub_accepts_client: bool = False


class ManagedCluster(Struct, frozen=True, gc=False, rename="camel"):
    """One member of the fleet."""

    metadata: ObjectMeta
    spec: ClusterSpec = ClusterSpec()

    @property
    def belongs(self) -> bool:
        """Whether the hub has accepted it, and it is not on its way out."""
        return self.spec.hub_accepts_client and self.metadata.deletion_timestamp is None
