"""addon.open-cluster-management.io: the objects by which OCM drives an addon, as wire types.

v1alpha1 and v1beta1 differ in a few fields. One type holds both shapes; which of them is written is for `policy.registration`.
"""

from typing import Any, Final

from attrs import frozen
from msgspec import Raw, Struct, field

from msa.api.meta import Condition, ObjectMeta

GROUP: Final = "addon.open-cluster-management.io"
V1ALPHA1: Final = "v1alpha1"
V1BETA1: Final = "v1beta1"

ANNOTATION_INSTALL_NAMESPACE: Final = f"{GROUP}/v1alpha1-install-namespace"
"""Where `spec.installNamespace` of a v1alpha1 object went when it was converted."""

LABEL_ADDON: Final = "open-cluster-management.io/addon-name"
LABEL_CLUSTER: Final = "open-cluster-management.io/cluster-name"
DEPLOYMENT_CONFIGS: Final = "addondeploymentconfigs"
CLUSTER_MANAGEMENT_ADDON: Final = "ClusterManagementAddOn"
MANAGED_CLUSTER_ADDON: Final = "ManagedClusterAddOn"

DRIVER_TOKEN: Final = "token"  # noqa: S105 - the name of a driver


class ConfigReferent(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Which object a configuration is; `spec_hash` only in a status."""

    name: str = ""
    namespace: str = ""
    spec_hash: str = ""


class ConfigReference(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A configuration in use, with all its fields: the list that it is in is written back as a whole.

    Attributes:
        name: v1alpha1 only, as `namespace`.
        desired_config: what shall be in use, as far as the rollout has come.
    """

    group: str = ""
    resource: str = ""
    name: str = ""
    namespace: str = ""
    desired_config: ConfigReferent | None = None
    last_applied_config: ConfigReferent | None = None
    last_known_good_config: ConfigReferent | None = None
    last_observed_generation: int = 0


class AddonConfig(Struct, frozen=True, gc=False, rename="camel"):
    """A configuration that is asked for in a spec."""

    group: str = ""
    resource: str = ""
    name: str = ""
    namespace: str = ""


class Subject(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Who an addon's agent is on the hub."""

    user: str = ""
    groups: tuple[str, ...] = ()


class KubeClient(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """How an agent gets a client for the hub's API (v1beta1).

    Attributes:
        driver: csr or token, set by the cluster's side.
    """

    subject: Subject = Subject()
    driver: str = ""


class Registration(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """How an agent registers: the first two fields in v1alpha1, the others in v1beta1."""

    signer_name: str = ""
    subject: Subject = Subject()
    type: str = ""
    kube_client: KubeClient | None = None


class HealthCheck(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    mode: str = ""


class ConfigGroupResource(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    group: str = ""
    resource: str = ""


class AddonSpec(Struct, frozen=True, gc=False, rename="camel"):
    """`install_namespace` is v1alpha1's, deprecated."""

    install_namespace: str = ""
    configs: tuple[AddonConfig, ...] = ()


class AddonStatus(Struct, frozen=True, gc=False, rename="camel"):
    """`kube_client_driver` is v1alpha1's place of `registrations[].kubeClient.driver`."""

    conditions: tuple[Condition, ...] = ()
    config_references: tuple[ConfigReference, ...] = ()
    health_check: HealthCheck = HealthCheck()
    kube_client_driver: str = ""
    namespace: str = ""
    registrations: tuple[Registration, ...] = ()
    supported_configs: tuple[ConfigGroupResource, ...] = ()


class ManagedClusterAddOn(Struct, frozen=True, gc=False, rename="camel"):
    """The addon on one cluster, in that cluster's namespace, as it is kept.

    Attributes:
        abridged: the status is cut, so that it must not be written back.
    """

    metadata: ObjectMeta
    spec: AddonSpec = AddonSpec()
    status: AddonStatus = AddonStatus()
    abridged: bool = False


class StoredClusterAddOn(Struct, frozen=True, gc=False, rename="camel"):
    """A ManagedClusterAddOn as it comes over the wire. Its cluster may write anything into the status."""

    metadata: ObjectMeta
    spec: AddonSpec = AddonSpec()
    status: Raw = Raw(b"{}")


class InstallProgression(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """How far the addon is on the clusters of one Placement. Its conditions are OCM's: they are written back as they came."""

    name: str = ""
    namespace: str = ""
    conditions: tuple[Any, ...] = ()
    config_references: tuple[ConfigReference, ...] = ()


class FleetStatus(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """`defaultconfig_references` is v1alpha1's spelling."""

    default_config_references: tuple[ConfigReference, ...] = ()
    defaultconfig_references: tuple[ConfigReference, ...] = ()
    install_progressions: tuple[InstallProgression, ...] = ()


class ClusterManagementAddOn(Struct, frozen=True, gc=False, rename="camel"):
    """The addon on the whole fleet."""

    metadata: ObjectMeta
    status: FleetStatus = FleetStatus()


class Toleration(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """core/v1 Toleration."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class NodePlacement(Struct, frozen=True, gc=False, rename="camel"):
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


class ImageMirror(Struct, frozen=True, gc=False):
    """`mirror` takes the place of the prefix `source`; an empty source stands for everything before the last path segment."""

    mirror: str = ""
    source: str = ""


class ProxyConfig(Struct, frozen=True, gc=False):
    """`ca_bundle` is base64 of PEM."""

    http_proxy: str = field(name="httpProxy", default="")
    https_proxy: str = field(name="httpsProxy", default="")
    no_proxy: str = field(name="noProxy", default="")
    ca_bundle: str = field(name="caBundle", default="")


class ContainerResources(Struct, frozen=True, gc=False):
    """`container_id` is `resource:name:container`, each of which may be `*`."""

    container_id: str = field(name="containerID", default="")
    resources: dict[str, Any] = {}


class Variable(Struct, frozen=True, gc=False):
    name: str = ""
    value: str = ""


class DeploymentConfigSpec(Struct, frozen=True, gc=False, rename="camel"):
    """How an addon's agent is deployed."""

    agent_install_namespace: str = ""
    customized_variables: tuple[Variable, ...] = ()
    node_placement: NodePlacement = NodePlacement()
    registries: tuple[ImageMirror, ...] = ()
    proxy_config: ProxyConfig = ProxyConfig()
    resource_requirements: tuple[ContainerResources, ...] = ()


class AddOnDeploymentConfig(Struct, frozen=True, gc=False):
    """As it comes over the wire: the spec's bytes are hashed as they are."""

    metadata: ObjectMeta
    spec: Raw = Raw(b"{}")


@frozen
class DeploymentConfig:
    """What is kept of an AddOnDeploymentConfig.

    Attributes:
        spec_hash: as OCM computes it.
        problem: why it cannot be used, "" where it can.
    """

    metadata: ObjectMeta
    spec: DeploymentConfigSpec
    spec_hash: str
    problem: str = ""
