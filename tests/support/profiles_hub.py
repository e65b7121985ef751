"""A hub with ClusterProfiles, where nobody but a test and the manager acts."""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from attrs import frozen

from hack.addon import ensure_namespace
from hack.clusters import Cluster
from hack.processes import wait_until
from msa.api import names
from tests.support.audit_log import Answered, AuditLog, answered
from tests.support.chart_hub import apply, body, get
from tests.support.manager import Replica, managed_cluster, managing

PATIENCE: Final = 20.0
OCM: Final = "open-cluster-management"
CLUSTERS: Final = "cluster.open-cluster-management.io"
PROFILES: Final = "clusterprofiles.multicluster.x-k8s.io"
MSA: Final = f"{names.PLURAL}.{names.GROUP}"
_OPTED_IN: Final = {names.LABEL_SYNC_TO_PROFILE: "true"}
_NUMBERS = count()


@frozen
class ProfilesHub:
    """The hub, and what users and OCM do on it.

    Attributes:
        log: of what the manager asks, watches and lists apart.
    """

    cluster: Cluster
    log: AuditLog

    def kubectl(self, *arguments: str, **how: Any) -> str:
        return self.cluster.kubectl(*arguments, **how)

    @contextmanager
    def managing(self, *flags: str) -> Iterator[Replica]:
        """While the block lasts the manager runs; in the end it was refused nothing, and has logged no token."""
        name = f"profiles-{next(_NUMBERS)}"
        with managing(self.cluster, name, "--feature-gates=ClusterProfile=true", *flags) as replica:
            yield replica

    def requests(self, log: AuditLog) -> list[Answered]:
        """The manager's own for copies and profiles since then."""
        found = [Answered(**answered(entry)) for entry in log.entries()]
        return [item for item in found if item.resource.startswith(("secrets", "clusterprofiles"))]

    def accept(self, name: str, **spec: Any) -> None:
        item = managed_cluster(name)
        item["spec"].update(spec)
        ensure_namespace(self.cluster, name)
        apply(self.cluster, item)

    def bind(self, namespace: str) -> None:
        """Whoever may create a ClusterProfile there may have what is any cluster's."""
        ensure_namespace(self.cluster, namespace)
        every = {"clusterSelector": {"selectorType": "LabelSelector", "labelSelector": {}}}
        apply(self.cluster, body(f"{CLUSTERS}/v1beta2", "ManagedClusterSet", "every", spec=every))
        spec = {"clusterSet": "every"}
        apply(
            self.cluster,
            body(f"{CLUSTERS}/v1beta2", "ManagedClusterSetBinding", "every", namespace, spec=spec),
        )

    def profile(self, namespace: str, cluster: str, manager: str = OCM, *, bound: bool = True) -> None:
        ensure_namespace(self.cluster, namespace)
        if bound:
            self.bind(namespace)
        item = body("multicluster.x-k8s.io/v1alpha1", "ClusterProfile", cluster, namespace)
        item["metadata"]["labels"] = {
            "x-k8s.io/cluster-manager": manager,
            "open-cluster-management.io/cluster-name": cluster,
        }
        apply(self.cluster, item | {"spec": {"clusterManager": {"name": manager}}})

    def identity(self, cluster: str, name: str, token: str, labels: dict[str, str] = _OPTED_IN) -> None:
        """One with its Secret, as its agent makes it."""
        item = body(f"{names.GROUP}/{names.STORAGE_VERSION}", names.KIND, name, cluster, spec={})
        item["metadata"]["labels"] = labels
        apply(self.cluster, item)
        self.renew(cluster, name, token)

    def renew(self, cluster: str, name: str, token: str) -> None:
        stored = get(self.cluster, MSA, "-n", cluster, name)
        owner = {part: stored[part] for part in ("apiVersion", "kind")}
        owner |= {part: stored["metadata"][part] for part in ("name", "uid")}
        item = body("v1", "Secret", name, cluster, data={"token": encoded(token), "ca.crt": encoded("ca")})
        item["metadata"] |= {
            "labels": dict(names.MANAGED_LABELS),
            "annotations": {names.ANNOTATION_LAST_REFRESH: token, names.ANNOTATION_EXPIRATION: "later"},
            "ownerReferences": [owner],
        }
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(item))

    def secret(self, namespace: str, name: str) -> Any:
        """None where there is none."""
        text = self.kubectl("get", "secret", "-n", namespace, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def token(self, namespace: str, name: str) -> str:
        """In base64 as it is; "" where there is none."""
        return str(((self.secret(namespace, name) or {}).get("data") or {}).get("token", ""))

    def wait_token(self, namespace: str, name: str, token: str) -> None:
        """Until a copy has just that; "" for no copy."""
        wanted = encoded(token)
        assert wait_until(lambda: self.token(namespace, name) == wanted, PATIENCE, 0.1), self.secret(
            namespace, name
        )

    def patch(self, kind: str, namespace: str, name: str, changes: object, *flags: str) -> None:
        self.kubectl("patch", kind, "-n", namespace, name, "--type=merge", "-p", json.dumps(changes), *flags)

    def events(self, namespace: str, name: str) -> list[Any]:
        found = json.loads(self.kubectl("get", "events", "-n", namespace, "-o", "json"))["items"]
        return [item for item in found if item["involvedObject"]["name"] == name]

    def uid(self, namespace: str, profile: str) -> str:
        return str(get(self.cluster, PROFILES, "-n", namespace, profile)["metadata"]["uid"])

    def providers(self, namespace: str, cluster: str) -> Any:
        return get(self.cluster, PROFILES, "-n", namespace, cluster).get("status", {}).get("accessProviders")


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
