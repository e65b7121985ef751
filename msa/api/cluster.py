"""cluster.open-cluster-management.io/v1 ManagedCluster, as a wire type."""

from typing import Final

from msgspec import Struct

from msa.api.meta import ObjectMeta

GROUP: Final = "cluster.open-cluster-management.io"

ANNOTATION_IMAGE_REGISTRIES: Final = "open-cluster-management.io/image-registries"
"""JSON: `{"registries":[{"source":"a","mirror":"b"}]}`."""


class ClientConfig(Struct, frozen=True, gc=False, rename="camel"):
    """How to reach the cluster's API server.

    Attributes:
        ca_bundle: PEM, in base64; "" where the system's authorities are to be trusted.
    """

    url: str = ""
    ca_bundle: str = ""


class ClusterSpec(Struct, frozen=True, gc=False, rename="camel"):
    hub_accepts_client: bool = False
    managed_cluster_client_configs: tuple[ClientConfig, ...] = ()


class ManagedCluster(Struct, frozen=True, gc=False, rename="camel"):
    """One member of the fleet."""

    metadata: ObjectMeta
    spec: ClusterSpec = ClusterSpec()

    @property
    def belongs(self) -> bool:
        """Whether the hub has accepted it, and it is not on its way out."""
        return self.spec.hub_accepts_client and self.metadata.deletion_timestamp is None
