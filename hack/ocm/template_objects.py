"""What OCM makes of an AddOnTemplate for one cluster: its manifests with variables filled in, and its pods as a configuration says. Pure."""

import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from attrs import frozen

from hack.ocm.api import Body
from msa.api import names

_VARIABLE: Final = re.compile(r"\{\{([^{}]*)\}\}")
_KUBECONFIG_FOLDER: Final = "/managed/hub-kubeconfig"
_PROXY_FOLDER: Final = "/managed/proxy-ca"
_PROXY_CA: Final = f"{names.ADDON}-proxy-ca"
_NAMED: Final = {"Namespace": "metadata", "RoleBinding": "subjects", "ClusterRoleBinding": "subjects"}


@frozen
class Target:
    """One cluster, and what is configured for it.

    Attributes:
        registries: of the cluster's annotation.
        config: spec of the AddOnDeploymentConfig, {} for none.
    """

    cluster: str
    registries: Sequence[Body]
    config: Body

    @property
    def namespace(self) -> str:
        """Where the configuration says that the agent is, "" where it does not say."""
        return str(self.config.get("agentInstallNamespace", ""))


def deployments(objects: Sequence[Body]) -> list[Body]:
    return [item for item in objects if item["kind"] == "Deployment"]


def render(spec: Body, target: Target) -> list[Body]:
    """The objects for the managed cluster. A variable that nobody knows becomes empty, as with OCM."""
    preset = {"HUB_KUBECONFIG": f"{_KUBECONFIG_FOLDER}/kubeconfig"} if spec.get("registration") else {}
    custom = {item["name"]: item.get("value", "") for item in target.config.get("customizedVariables", ())}
    fixed = {"CLUSTER_NAME": target.cluster} | (
        {"INSTALL_NAMESPACE": target.namespace} if target.namespace else {}
    )
    values = preset | custom | fixed
    text = msgspec.json.encode(spec["agentSpec"]["workload"]["manifests"]).decode()
    objects: list[Body] = msgspec.json.decode(_VARIABLE.sub(lambda found: values.get(found[1], ""), text))
    for deployment in deployments(objects):
        _decorate(deployment, spec, target, {name: values[name] for name in (*preset, *fixed)})
    if bundle := target.config.get("proxyConfig", {}).get("caBundle"):
        objects.append(_proxy_ca(bundle))
    for item in objects if target.namespace else ():
        _move(item, target.namespace)
    return objects


def _decorate(deployment: Body, spec: Body, target: Target, environment: dict[str, str]) -> None:
    pod, config = deployment["spec"]["template"]["spec"], target.config
    if any(item["type"] == "KubeClient" for item in spec.get("registration", ())):
        source = {"secret": {"secretName": names.HUB_KUBECONFIG_SECRET}}
        _mount(pod, "hub-kubeconfig", _KUBECONFIG_FOLDER, source)
    placement = config.get("nodePlacement", {})
    if "nodeSelector" in placement:  # without one OCM does not look at the tolerations either
        pod["nodeSelector"] = placement["nodeSelector"]
        pod["tolerations"] = placement.get("tolerations", [])
    environment = environment | _proxy(pod, config.get("proxyConfig", {}))
    for container in pod["containers"]:
        listed = [{"name": name, "value": value} for name, value in environment.items()]
        container["env"] = [*container.get("env", ()), *listed]
        container["image"] = _mirrored(container["image"], config.get("registries") or target.registries)
        identity = f"deployments:{deployment['metadata']['name']}:{container['name']}"
        for item in config.get("resourceRequirements", ()):  # the last that fits wins
            if re.fullmatch(item["containerID"].replace("*", ".+"), identity):
                container["resources"] = item["resources"]


def _proxy(pod: Body, config: Body) -> dict[str, str]:
    """The environment that says it; its CA is mounted."""
    keys = {"HTTP_PROXY": "httpProxy", "HTTPS_PROXY": "httpsProxy", "NO_PROXY": "noProxy"}
    found = {name: config[key] for name, key in keys.items() if config.get(key)}
    spelled = {spelling: value for name, value in found.items() for spelling in (name, name.lower())}
    if not spelled or not config.get("caBundle"):
        return spelled
    _mount(pod, "proxy-ca-bundle", _PROXY_FOLDER, {"configMap": {"name": _PROXY_CA}})
    return spelled | {"CA_BUNDLE_FILE_PATH": f"{_PROXY_FOLDER}/ca-bundle.crt"}


def _proxy_ca(bundle: str) -> Body:
    metadata = {"name": _PROXY_CA, "namespace": names.DEFAULT_INSTALL_NAMESPACE}
    data = {"ca-bundle.crt": b64decode(bundle).decode()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _mount(pod: Body, name: str, folder: str, source: Body) -> None:
    pod["volumes"] = [*pod.get("volumes", ()), {"name": name, **source}]
    for container in pod["containers"]:
        mount = {"name": name, "mountPath": folder}
        container["volumeMounts"] = [*container.get("volumeMounts", ()), mount]


def _mirrored(image: str, registries: Sequence[Body]) -> str:
    """From the last registry that fits; one without a source fits everything."""
    found = image
    for registry in registries:
        source, mirror = registry.get("source", "").rstrip("/"), registry["mirror"].rstrip("/")
        if not source:
            found = f"{mirror}/{image.rpartition('/')[2]}"
        elif image.startswith(f"{source}/"):
            found = mirror + image.removeprefix(source)
    return found


def _move(item: Body, namespace: str) -> None:
    """Into the namespace of the configuration, all that lives in one or speaks of one."""
    if item["metadata"].get("namespace"):
        item["metadata"]["namespace"] = namespace
    part: Any = item.get(_NAMED.get(item["kind"], ""), ())
    if item["kind"] == "Namespace":
        part["name"] = namespace
    else:
        for subject in part:
            subject["namespace"] = namespace
