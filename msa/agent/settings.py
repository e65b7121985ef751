"""Everything that the agent can be told, as one frozen value."""

from pathlib import Path

from attrs import field, frozen

from msa.api import names
from msa.policy.gates import FeatureGates


@frozen
class AgentSettings:
    """What `msa agent` runs with.

    Attributes:
        cluster_name: the managed cluster's name, which is its namespace on the hub.
        install_namespace: where the ServiceAccounts are made on the managed cluster.
        hub_kubeconfig: how to reach the hub; replaced in place when its Secret is rotated.
        proxy_ca: CAs, PEM, of a proxy on the way to the hub that looks into TLS; None for none.
        spoke_kubeconfig: how to reach the managed cluster; None means from inside the pod.
        metrics_address: where Prometheus scrapes, "" for nowhere.
        health_address: where /healthz, /livez and /readyz are served, "" for nowhere.
        leader_elect: wait for the leader Lease before any write.
        lease_health_check: renew the addon's heartbeat Lease, which makes the addon AVAILABLE on the hub.
        workers: identities worked on at the same time.
    """

    cluster_name: str
    install_namespace: str = names.DEFAULT_INSTALL_NAMESPACE
    hub_kubeconfig: Path = Path("/etc/hub/kubeconfig")
    proxy_ca: Path | None = None
    spoke_kubeconfig: Path | None = None
    metrics_address: str = ":38080"
    health_address: str = ":8000"
    leader_elect: bool = False
    lease_health_check: bool = False
    feature_gates: FeatureGates = field(factory=FeatureGates)
    workers: int = 32
