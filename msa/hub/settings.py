"""Everything that the manager can be told, as one frozen value."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from attrs import field, frozen

from msa.api import names
from msa.policy.gates import FeatureGates


class DeployMode(StrEnum):
    """Who deploys the agents."""

    DEPLOYMENT = "Deployment"
    """We do, by a ManifestWork for each cluster."""

    ADD_ON_TEMPLATE = "AddOnTemplate"
    """OCM does, from an AddOnTemplate."""


@frozen
class ManagerSettings:
    """What `msa manager` runs with.

    Attributes:
        agent_image: of the agents that are deployed.
        pull_secret: name of a Secret in the manager's namespace that is copied to the clusters, "" for none.
        namespace: the manager's own.
        kubeconfig: how to reach the hub; None means from inside the pod.
        metrics_address: where Prometheus scrapes, "" for nowhere.
        health_address: where /healthz, /livez and /readyz are served, "" for nowhere.
        leader_elect: wait for the leader Lease before any write.
        publish_access_providers: say in ClusterProfiles how their clusters are reached, where nobody else does.
        workers: clusters worked on at the same time.
    """

    agent_image: str
    pull_secret: str = ""
    namespace: str = names.HUB_NAMESPACE
    kubeconfig: Path | None = None
    metrics_address: str = ":38080"
    health_address: str = ":38081"
    leader_elect: bool = False
    deploy_mode: DeployMode = DeployMode.DEPLOYMENT
    feature_gates: FeatureGates = field(factory=FeatureGates)
    publish_access_providers: bool = False
    workers: int = 16


@frozen
class LeaveSettings:
    """What `msa leave` runs with.

    Attributes:
        namespace: the manager's.
        kubeconfig: how to reach the hub; None means from inside the pod.
        timeout: after which it ends, whatever is left.
    """

    namespace: str = names.HUB_NAMESPACE
    kubeconfig: Path | None = None
    timeout: timedelta = timedelta(seconds=60)
