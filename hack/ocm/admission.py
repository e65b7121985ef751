"""What OCM's registration makes on the hub for an accepted cluster: a namespace, and rights for that cluster's own agents."""

from attrs import field, frozen

from hack.ocm import kinds
from hack.ocm.api import Api, Body, Kind
from msa.runtime.errors import AlreadyExists

_RBAC = "rbac.authorization.k8s.io"
_PREFIX = "open-cluster-management:managedcluster"


@frozen
class Admission:
    """Makes it once for each cluster, and takes the rights away again; the namespace stays, and so what people put there."""

    api: Api
    _done: set[str] = field(factory=set, init=False)

    async def admit(self, cluster: str) -> None:
        if cluster in self._done:
            return
        for kind, namespace, body in _objects(cluster):
            try:
                await self.api.create(kind.at(namespace), body)
            except AlreadyExists:
                continue
        self._done.add(cluster)

    async def dismiss(self, cluster: str) -> None:
        for kind, namespace, body in reversed(_objects(cluster)):
            if kind != kinds.NAMESPACES:
                await self.api.delete(kind.at(namespace, body["metadata"]["name"]))
        self._done.discard(cluster)


def _objects(cluster: str) -> list[tuple[Kind, str, Body]]:
    own = f"{_PREFIX}:{cluster}"
    return [
        (kinds.NAMESPACES, "", {"metadata": {"name": cluster, "labels": {kinds.LABEL_CLUSTER: cluster}}}),
        (kinds.CLUSTER_ROLES, "", {"metadata": {"name": own}, "rules": _own_rules(cluster)}),
        (kinds.CLUSTER_ROLE_BINDINGS, "", _binding(own, own, cluster)),
        *(
            (kinds.ROLE_BINDINGS, cluster, _binding(f"{own}:{part}", f"{_PREFIX}:{part}", cluster))
            for part in ("registration", "work")
        ),
    ]


def _own_rules(cluster: str) -> list[Body]:
    return [
        {
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests"],
            "verbs": ["create", "get", "list", "watch"],
        },
        {
            "apiGroups": [kinds.CLUSTERS.group],
            "resources": ["managedclusters"],
            "resourceNames": [cluster],
            "verbs": ["get", "list", "update", "watch"],
        },
        {
            "apiGroups": [kinds.CLUSTERS.group],
            "resources": ["managedclusters/status"],
            "resourceNames": [cluster],
            "verbs": ["patch", "update"],
        },
    ]


def _binding(name: str, role: str, cluster: str) -> Body:
    group = f"system:open-cluster-management:{cluster}"
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": group}],
    }
