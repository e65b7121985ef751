"""The agent's manifests for one cluster, and the ManifestWork that carries them: pure, from the templates beside this file."""

import hashlib
import importlib.resources
import re
from functools import cache
from typing import Any

import msgspec
import yaml
from attrs import frozen

from msa.api import addon as addon_api
from msa.api import names, work
from msa.api.addon import ManagedClusterAddOn
from msa.api.meta import ObjectMeta
from msa.api.work import Work
from msa.hub.bodies import owner
from msa.policy.deployment import Workload, config_hashes

Manifest = dict[str, Any]

_TEMPLATES = importlib.resources.files("msa.hub") / "templates"
_VARIABLE = re.compile(r"\{\{([A-Z_]+)\}\}")
_ORPHAN = "addon.open-cluster-management.io/deletion-orphan"
_PROXY_CA = f"{names.ADDON}-proxy-ca"
_PROXY_CA_FOLDER = "/managed/proxy-ca"
"""OCM's own place for it in agents that it deploys from an AddOnTemplate."""

_FEEDBACK = (
    ("ready", ".status.readyReplicas"),
    ("available", '.status.conditions[?(@.type=="Available")].status'),
    ("problem", '.status.conditions[?(@.type=="Available")].message'),
    ("progress", '.status.conditions[?(@.type=="Progressing")].message'),
    ("rollout", '.status.conditions[?(@.type=="Progressing")].reason'),
)

_DEFAULTS = {"feedbackScrapeType": "Poll"}
"""Of a manifestConfig, with the CRD of OCM 1.3; older ones do not know the field and drop it, so it cannot be written out."""


@frozen
class PullSecret:
    """Credentials for the image's registry, copied from the manager's namespace.

    Attributes:
        data: base64 text by key.
    """

    type: str
    data: dict[str, str]

    def __repr__(self) -> str:
        return "<PullSecret: hidden>"


@cache
def _template(name: str) -> tuple[str, ...]:
    """Each object as JSON text, with its variables. YAML takes longer to parse than all the rest for one cluster."""
    objects = yaml.safe_load_all((_TEMPLATES / name).read_text(encoding="utf-8"))
    return tuple(msgspec.json.encode(item).decode() for item in objects)


def manifests(workload: Workload, *, ephemeral: bool, pull_secret: PullSecret | None) -> list[Manifest]:
    """The objects to be applied on the managed cluster, in order."""
    values = {
        "CLUSTER_NAME": workload.cluster,
        "INSTALL_NAMESPACE": workload.namespace,
        "AGENT_IMAGE": workload.image,
        "EPHEMERAL_IDENTITY": "true" if ephemeral else "false",
    }
    objects = agent_objects(values)
    deployment = next(item for item in objects if item["kind"] == "Deployment")
    _place(deployment["spec"]["template"]["spec"], workload)
    if workload.proxy_ca:
        objects.append(_proxy_ca(workload))
    if pull_secret is not None:
        deployment["spec"]["template"]["spec"]["imagePullSecrets"] = [{"name": names.PULL_SECRET}]
        objects.append(_pull_secret(workload.namespace, pull_secret))
    if workload.monitor_labels is not None:
        objects.append(_service_monitor(workload.namespace, workload.monitor_labels))
    return objects


def agent_objects(values: dict[str, str]) -> list[Manifest]:
    """The template with its variables replaced. For an AddOnTemplate, some by OCM's own: `{"CLUSTER_NAME": "{{CLUSTER_NAME}}"}`."""
    return [_filled(part, values) for part in _template("agent.yaml")]


def _filled(template: str, values: dict[str, str]) -> Manifest:
    """An object with every `{{NAME}}` in its texts replaced; an unknown name is a bug of the template, a KeyError.

    Values are escaped, so none can alter the structure.
    """
    filled = _VARIABLE.sub(lambda found: _escaped(values[found[1]]), template)
    return msgspec.json.decode(filled, type=Manifest)


def _escaped(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]


def manifest_work(addon: ManagedClusterAddOn, objects: list[Manifest]) -> Manifest:
    """The ManifestWork that deploys the agent on one cluster."""
    return _work(agent_work_metadata(addon), _work_spec(objects))


def agent_work_metadata(addon: ManagedClusterAddOn) -> Manifest:
    """Of the same."""
    hashes = config_hashes(addon.status.config_references)
    return _metadata(addon, names.DEPLOY_WORK) | {
        "labels": {addon_api.LABEL_ADDON: names.ADDON},
        "annotations": {work.ANNOTATION_CONFIG_HASHES: _canonical(hashes)},
    }


def identities_work(addon: ManagedClusterAddOn, namespace: str) -> Manifest:
    """The ManifestWork that carries the ConfigMap which the identities' accounts hang on (docs/adr/0011).

    It has not OCM's label of an addon's work: OCM's framework deletes such as it does not know, and the Go addon is built on that.
    """
    objects = [_filled(part, {"INSTALL_NAMESPACE": namespace}) for part in _template("identities.yaml")]
    spec = {"workload": {"manifests": objects}, "deleteOption": _left_behind(objects)}
    return _work(_metadata(addon, names.IDENTITIES_WORK) | {"labels": names.MANAGED_LABELS}, spec)


def is_rendered(stored: Work, wanted: Manifest) -> bool:
    """Whether a stored ManifestWork is the wanted one."""
    return is_marked(stored.metadata, wanted["metadata"]) and stored.digest == spec_digest(wanted["spec"])


def is_marked(stored: ObjectMeta, wanted: Manifest) -> bool:
    """Whether a stored ManifestWork has the wanted labels, annotations and owner."""
    return (
        wanted["labels"].items() <= (stored.labels or {}).items()
        and wanted.get("annotations", {}).items() <= (stored.annotations or {}).items()
        and any(owner.uid == wanted["ownerReferences"][0]["uid"] for owner in stored.owner_references)
    )


def _metadata(addon: ManagedClusterAddOn, name: str) -> Manifest:
    return {"name": name, "namespace": addon.metadata.namespace, "ownerReferences": [owner(addon)]}


def _work(metadata: Manifest, spec: Manifest) -> Manifest:
    return {
        "apiVersion": f"{work.GROUP}/v1",
        "kind": "ManifestWork",
        "metadata": metadata,
        "spec": spec,
    }


def spec_digest(spec: Manifest) -> str:
    """Equal for specs that mean the same, whether or not the API server has written its defaults into them."""
    configs = [_DEFAULTS | config for config in spec.get("manifestConfigs", ())]
    return hashlib.sha256(_canonical(spec | {"manifestConfigs": configs}).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _work_spec(objects: list[Manifest]) -> Manifest:
    deployment = next(item for item in objects if item["kind"] == "Deployment")
    identifier = {
        "group": "apps",
        "resource": "deployments",
        "name": deployment["metadata"]["name"],
        "namespace": deployment["metadata"]["namespace"],
    }
    paths = [{"name": name, "path": path} for name, path in _FEEDBACK]
    return {
        "workload": {"manifests": objects},
        "deleteOption": _left_behind(objects),
        "manifestConfigs": [
            {"resourceIdentifier": identifier, "feedbackRules": [{"type": "JSONPaths", "jsonPaths": paths}]}
        ],
    }


def _left_behind(objects: list[Manifest]) -> Manifest:
    """What is not deleted with its ManifestWork: the namespaces, which others use, too."""
    orphaned = [item for item in objects if _ORPHAN in (item["metadata"].get("annotations") or {})]
    rules = [
        {"group": "", "resource": "namespaces", "name": item["metadata"]["name"], "namespace": ""}
        for item in orphaned
    ]
    return {"propagationPolicy": "SelectivelyOrphan", "selectivelyOrphans": {"orphaningRules": rules}}


def _place(pod: Manifest, workload: Workload) -> None:
    """What a configuration says of the agent's pod."""
    container = pod["containers"][0]
    if workload.node_selector:
        pod["nodeSelector"] = workload.node_selector
    if workload.tolerations:
        pod["tolerations"] = [msgspec.to_builtins(toleration) for toleration in workload.tolerations]
    if workload.resources is not None:
        container["resources"] = workload.resources
    environment = dict(workload.environment)
    if workload.proxy_ca:
        environment["CA_BUNDLE_FILE_PATH"] = f"{_PROXY_CA_FOLDER}/ca-bundle.crt"
        container["volumeMounts"].append({"name": "proxy-ca-bundle", "mountPath": _PROXY_CA_FOLDER})
        pod["volumes"].append({"name": "proxy-ca-bundle", "configMap": {"name": _PROXY_CA}})
    container["env"] += [{"name": name, "value": value} for name, value in environment.items()]


def _proxy_ca(workload: Workload) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _PROXY_CA, "namespace": workload.namespace},
        "data": {"ca-bundle.crt": workload.proxy_ca},
    }


def _pull_secret(namespace: str, secret: PullSecret) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.PULL_SECRET, "namespace": namespace},
        "type": secret.type,
        "data": secret.data,
    }


def _service_monitor(namespace: str, labels: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        # No empty map: the API server drops it from what is embedded, and the work would never be as it is wanted.
        "metadata": {
            "name": names.AGENT_DEPLOYMENT,
            "namespace": namespace,
            **({"labels": labels} if labels else {}),
        },
        "spec": {
            "endpoints": [{"port": "metrics"}],
            "namespaceSelector": {"matchNames": [namespace]},
            "selector": {"matchLabels": {"addon-agent": names.ADDON}},
        },
    }
