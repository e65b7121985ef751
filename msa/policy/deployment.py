"""How the agent is deployed on a cluster: what an AddOnDeploymentConfig and the cluster's annotations make of our defaults.

A value that cannot be meant stops the rendering with the field and the remedy; the agent that runs is left as it is.
"""

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from attrs import field, frozen

from msa import pem
from msa.api import addon as api
from msa.api import cluster as cluster_api
from msa.api import names
from msa.api.addon import (
    ConfigReference,
    ConfigReferent,
    ContainerResources,
    DeploymentConfig,
    DeploymentConfigSpec,
    ManagedClusterAddOn,
    ProxyConfig,
    Toleration,
)
from msa.api.cluster import ManagedCluster
from msa.policy.images import mirrored, parse_mirrors

VARIABLE_PROMETHEUS: Final = "prometheusEnabled"
VARIABLE_MONITOR_LABELS: Final = "prometheusServiceMonitorLabels"

LARGEST_CONFIG: Final = 384 * 1024
"""Bytes of JSON; a bundle with all public certificate authorities has 300 KB."""

LARGEST_WORK: Final = 512 * 1024
"""Bytes of JSON, which OCM's own addons keep to as well."""

_CONTAINER: Final = ("deployments", names.AGENT_DEPLOYMENT, names.AGENT_CONTAINER)
"""How `containerID` says which container it is: these three, with colons between."""

_IMAGE: Final = re.compile(r"(?:[\w.:\[\]-]+/)*[\w.-]+(?::[\w.-]+)?(?:@[\w.:+-]+)?", re.ASCII)
_TRUE, _FALSE = ("true", "True", "TRUE", "t", "T", "1"), ("false", "False", "FALSE", "f", "F", "0", "")
"""As Go's strconv.ParseBool reads them, since users have written them for that."""

Lookup = Callable[[str, str], DeploymentConfig | None]
"""A configuration by namespace and name."""


class Misconfigured(ValueError):
    """The agent cannot be rendered; the message names the object, the field and the remedy."""


@frozen
class Workload:
    """What differs from cluster to cluster in the agent's manifests.

    Attributes:
        namespace: where it is installed.
        resources: of its container; None for our defaults.
        monitor_labels: of the ServiceMonitor; None for no ServiceMonitor.
        proxy_ca: PEM, "" for none.
    """

    cluster: str
    namespace: str
    image: str
    node_selector: dict[str, str] = field(factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    environment: dict[str, str] = field(factory=dict)
    resources: dict[str, Any] | None = None
    monitor_labels: dict[str, str] | None = None
    proxy_ca: str = ""


@frozen
class Unset:
    """No configuration is asked for."""


@frozen
class Unavailable:
    """A configuration is asked for and cannot be used now.

    Attributes:
        message: why, and what would help.
        waiting: the rollout has not come to this cluster, or our copy is behind: what runs stays as it is, and all is well.
    """

    message: str
    waiting: bool


def chosen_config(addon: ManagedClusterAddOn, lookup: Lookup) -> DeploymentConfig | Unset | Unavailable:
    """The configuration that shall be in use on this cluster now.

    Of several references OCM's own addons take the first. A reference without a hash is one that the rollout has not reached.
    """
    referent = _desired(addon.status.config_references)
    if referent is None:
        return Unset()
    where = f"AddOnDeploymentConfig {referent.namespace}/{referent.name}"
    config = lookup(referent.namespace, referent.name)
    if config is None:
        return Unavailable(
            f"{where} does not exist: create it, or take it out of the addon's configs", waiting=False
        )
    if config.problem:
        return Unavailable(f"{where}: {config.problem}", waiting=False)
    if referent.spec_hash != config.spec_hash:
        return Unavailable(f"{where} is not rolled out to this cluster yet", waiting=True)
    return config


def _desired(references: Iterable[ConfigReference]) -> ConfigReferent | None:
    for reference in references:
        if (reference.group, reference.resource) == (api.GROUP, api.DEPLOYMENT_CONFIGS):
            return reference.desired_config or ConfigReferent(reference.name, reference.namespace)
    return None


def workload(
    cluster: ManagedCluster, namespace: str, config: DeploymentConfig | None, default_image: str
) -> Workload:
    """What the manifests are rendered from.

    Raises:
        Misconfigured: a value of the configuration or of an annotation is wrong.
    """
    spec = config.spec if config is not None else DeploymentConfigSpec()
    where = f"AddOnDeploymentConfig {config.metadata.namespace}/{config.metadata.name}" if config else ""
    return Workload(
        cluster=cluster.metadata.name,
        namespace=_namespace(cluster, namespace),
        image=_image(cluster, spec, where, default_image),
        node_selector=spec.node_placement.node_selector,
        tolerations=spec.node_placement.tolerations,
        environment=_environment(spec.proxy_config),
        resources=_resources(spec.resource_requirements, where),
        monitor_labels=_monitor_labels(spec, where),
        proxy_ca=_proxy_ca(spec.proxy_config, where),
    )


def _namespace(cluster: ManagedCluster, namespace: str) -> str:
    """The API server has checked what a spec says, but not what an annotation does."""
    if names.NAMESPACE_NAME.fullmatch(namespace):
        return namespace
    raise Misconfigured(
        f"ManagedClusterAddOn {cluster.metadata.name}/{names.ADDON}: annotation {api.ANNOTATION_INSTALL_NAMESPACE}: "
        f"{namespace[:200]!a} cannot be the name of a namespace: write lower-case letters, digits and hyphens, at most 63"
    )


def _image(cluster: ManagedCluster, spec: DeploymentConfigSpec, where: str, default: str) -> str:
    """The configuration's mirrors win where they change anything, else the annotation's."""
    if (found := mirrored(default, spec.registries)) != default:
        return _pullable(found, f"{where}: spec.registries")
    annotation = cluster_api.ANNOTATION_IMAGE_REGISTRIES
    field_of_cluster = f"ManagedCluster {cluster.metadata.name}: annotation {annotation}"
    try:
        mirrors = parse_mirrors(cluster.metadata.annotation(annotation))
    except ValueError as error:
        raise Misconfigured(
            f"{field_of_cluster}: {error}: write JSON such as "
            '{"registries":[{"source":"quay.io/open-cluster-management","mirror":"registry.example.com/ocm"}]}'
        ) from None
    found = mirrored(default, mirrors)
    return found if found == default else _pullable(found, field_of_cluster)


def _pullable(image: str, field_of_mirrors: str) -> str:
    if _IMAGE.fullmatch(image):
        return image
    raise Misconfigured(
        f"{field_of_mirrors}: it makes the image {image[:200]!a}, which no registry can have: write mirrors such as registry.example.com/ocm"
    )


def _environment(proxy: ProxyConfig) -> dict[str, str]:
    if not proxy.http_proxy and not proxy.https_proxy:
        return {}
    values = {
        "HTTP_PROXY": proxy.http_proxy,
        "HTTPS_PROXY": proxy.https_proxy,
        "NO_PROXY": proxy.no_proxy,
    }
    return {name: value for name, value in values.items() if value}


def _proxy_ca(proxy: ProxyConfig, where: str) -> str:
    if not proxy.ca_bundle:
        return ""
    try:
        bundle = pem.cleaned(b64decode("".join(proxy.ca_bundle.split()), validate=True))
    except ValueError:
        bundle = b""
    if not bundle:
        raise Misconfigured(
            f"{where}: spec.proxyConfig.caBundle: it holds no certificate that can be read: write base64 of PEM"
        )
    return bundle.decode()


def _resources(requirements: tuple[ContainerResources, ...], where: str) -> dict[str, Any] | None:
    """Those of the last entry that is about our container."""
    found = None
    for requirement in requirements:
        parts = requirement.container_id.split(":")
        if len(parts) != len(_CONTAINER):
            raise Misconfigured(
                f"{where}: spec.resourceRequirements[].containerID: {requirement.container_id[:200]!a} is not "
                f"resource:name:container: write {':'.join(_CONTAINER)} or *:*:*"
            )
        if all(part in ("*", own) for part, own in zip(parts, _CONTAINER, strict=True)):
            found = requirement.resources
    return found


def _monitor_labels(spec: DeploymentConfigSpec, where: str) -> dict[str, str] | None:
    """Labels of the ServiceMonitor, None where none is wanted."""
    variables = {variable.name: variable.value for variable in spec.customized_variables}
    enabled = variables.get(VARIABLE_PROMETHEUS, "")
    if enabled not in _TRUE + _FALSE:
        raise Misconfigured(
            f"{where}: spec.customizedVariables[{VARIABLE_PROMETHEUS}]: {enabled[:200]!a} is neither true nor false: write one of them"
        )
    labels = variables.get(VARIABLE_MONITOR_LABELS) or "{}"
    try:
        decoded = msgspec.json.decode(labels, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise Misconfigured(
            f'{where}: spec.customizedVariables[{VARIABLE_MONITOR_LABELS}]: {error}: write a JSON map such as {{"release":"prometheus"}}'
        ) from None
    return decoded if enabled in _TRUE else None


def spec_hash(spec: bytes) -> str:
    """A configuration's hash as OCM has it: SHA-256 of `{"spec": ...}` as Go's encoding/json writes it, keys sorted, <, > and & escaped."""
    text = msgspec.json.encode({"spec": msgspec.json.decode(spec)}, order="sorted").decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def config_hashes(references: Iterable[ConfigReference]) -> dict[str, str]:
    """For the ManifestWork: what each configuration is called there, to its hash."""
    return {
        f"{reference.resource}.{reference.group}/{desired.namespace}/{desired.name}": desired.spec_hash
        for reference in references
        if (desired := reference.desired_config) is not None
    }
