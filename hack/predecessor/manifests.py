"""What the predecessor's manager wants on the hub and on a cluster: pure."""

from typing import Final

from hack.ocm import kinds
from hack.ocm.api import Body, Object
from hack.ocm.registrations import CLIENT_SIGNER
from msa.api import names, subjects

_RIGHTS: Final = f"open-cluster-management:{names.ADDON}:addon-agent"
_RBAC: Final = "rbac.authorization.k8s.io"
_EVERY: Final = ["get", "list", "watch", "create", "update", "patch", "delete"]


def namespace_of(addon: Object) -> str:
    return str(addon.spec.get("installNamespace") or names.DEFAULT_INSTALL_NAMESPACE)


def role(addon: Object) -> Body:
    rules: list[Body] = [
        {
            "apiGroups": [names.GROUP],
            "resources": [names.PLURAL],
            "verbs": ["get", "list", "watch", "delete"],
        },
        {"apiGroups": [names.GROUP], "resources": [f"{names.PLURAL}/status"], "verbs": ["update", "patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": _EVERY},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]
    return {**_on_hub(addon, "Role"), "rules": rules}


def role_binding(addon: Object) -> Body:
    user = subjects.agent_user(addon.metadata.namespace)
    return {
        **_on_hub(addon, "RoleBinding"),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": names.AGENT_ROLE},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }


def registrations(addon: Object) -> list[Body]:
    cluster = addon.metadata.namespace
    subject = {"user": subjects.agent_user(cluster), "groups": list(subjects.agent_groups(cluster))}
    return [{"signerName": CLIENT_SIGNER, "subject": subject}]


def work(addon: Object, image: str) -> Body:
    return {
        "apiVersion": f"{kinds.WORKS.group}/{kinds.WORKS.version}",
        "kind": "ManifestWork",
        "metadata": {
            "name": names.DEPLOY_WORK,
            "namespace": addon.metadata.namespace,
            "labels": {kinds.LABEL_ADDON: names.ADDON},
            "ownerReferences": [_owner(addon)],
        },
        "spec": {"workload": {"manifests": _workload(addon, image)}, "deleteOption": _delete_option(addon)},
    }


def _delete_option(addon: Object) -> Body:
    rule = {"group": "", "resource": "namespaces", "name": namespace_of(addon), "namespace": ""}
    return {"propagationPolicy": "SelectivelyOrphan", "selectivelyOrphans": {"orphaningRules": [rule]}}


def _workload(addon: Object, image: str) -> list[Body]:
    namespace = namespace_of(addon)
    account = {"kind": "ServiceAccount", "name": names.AGENT_SERVICE_ACCOUNT, "namespace": namespace}
    within: Body = {"name": _RIGHTS, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": names.AGENT_SERVICE_ACCOUNT, "namespace": namespace},
        },
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": within, "rules": _rules()},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": within,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": _RIGHTS},
            "subjects": [account],
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": _RIGHTS},
            "rules": [
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
            ],
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _RIGHTS},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _RIGHTS},
            "subjects": [account],
        },
        _deployment(addon, image),
    ]


def _rules() -> list[Body]:
    return [
        {"apiGroups": [""], "resources": ["serviceaccounts", "configmaps", "events"], "verbs": _EVERY},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": _EVERY},
    ]


def _deployment(addon: Object, image: str) -> Body:
    labels = {"addon-agent": names.ADDON}
    container: Body = {
        "name": names.AGENT_CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/msa"],
        "args": [
            "agent",
            f"--cluster-name={addon.metadata.namespace}",
            "--kubeconfig=/etc/hub/kubeconfig",
            "--lease-health-check=true",
            "--leader-elect",
        ],
        "env": [{"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "volumeMounts": [{"name": "hub", "mountPath": "/etc/hub", "readOnly": True}],
    }
    pod: Body = {
        "serviceAccountName": names.AGENT_SERVICE_ACCOUNT,
        "containers": [container],
        "volumes": [{"name": "hub", "secret": {"secretName": names.HUB_KUBECONFIG_SECRET}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": names.AGENT_DEPLOYMENT, "namespace": namespace_of(addon), "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _on_hub(addon: Object, kind: str) -> Body:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {
            "name": names.AGENT_ROLE,
            "namespace": addon.metadata.namespace,
            "labels": {kinds.LABEL_ADDON: names.ADDON},
            "ownerReferences": [_owner(addon)],
        },
    }


def _owner(addon: Object) -> Body:
    return {
        "apiVersion": f"{kinds.ADDON_GROUP}/v1alpha1",
        "kind": "ManagedClusterAddOn",
        "name": addon.metadata.name,
        "uid": addon.metadata.uid,
    }
