"""What the manager's benchmark sends itself: clusters and addons, the raw client's four requests, and watches of how far both are.

`python -m hack.bench_fleet NAME` is the process that stands in for all work agents: it reports each ManifestWork as applied.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp
import msgspec
from attrs import frozen

from hack.bench_raw import send, session_to
from hack.clusters import HOME, Cluster
from msa.api import names, rbac, subjects
from msa.api.addon import ManagedClusterAddOn, Subject
from msa.api.meta import ObjectMeta
from msa.hub import bodies, render
from msa.policy.deployment import Workload

ADDONS_PATH: Final = "/apis/addon.open-cluster-management.io/v1alpha1"
WORKS_PATH: Final = "/apis/work.open-cluster-management.io/v1"
IDENTITIES_PATH: Final = f"/apis/{names.GROUP}/{names.STORAGE_VERSION}"
RAW_ADDON: Final = "raw"
"""Name of the raw client's ManagedClusterAddOns, which the manager does not look at."""

_NOW = "2026-01-01T00:00:00Z"
_CONFIG = {
    "group": "addon.open-cluster-management.io",
    "resource": "addondeploymentconfigs",
    "name": "bench",
    "namespace": names.HUB_NAMESPACE,
}
_PLURALS = {
    ADDONS_PATH: "managedclusteraddons",
    WORKS_PATH: "manifestworks",
    IDENTITIES_PATH: names.PLURAL,
}
_NAMES = {ADDONS_PATH: names.ADDON, WORKS_PATH: names.DEPLOY_WORK}
Body = dict[str, Any]


@frozen
class RawManager:
    """The plainest client that makes what the manager makes."""

    session: aiohttp.ClientSession
    image: str

    async def namespace(self, cluster: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster}}
        await send(self.session, "POST", "/api/v1/namespaces", body)

    async def cluster(self, cluster: str) -> None:
        body = {
            "apiVersion": "cluster.open-cluster-management.io/v1",
            "kind": "ManagedCluster",
            "metadata": {"name": cluster},
            "spec": {"hubAcceptsClient": True},
        }
        await send(self.session, "POST", "/apis/cluster.open-cluster-management.io/v1/managedclusters", body)

    async def addon(self, cluster: str, name: str, owner: str) -> None:
        reference = {
            "apiVersion": "addon.open-cluster-management.io/v1alpha1",
            "kind": "ClusterManagementAddOn",
            "name": names.ADDON,
            "uid": owner,
        }
        body = {
            "apiVersion": "addon.open-cluster-management.io/v1alpha1",
            "kind": "ManagedClusterAddOn",
            "metadata": {"name": name, "ownerReferences": [reference] if owner else []},
            "spec": {},
        }
        await send(self.session, "POST", f"{ADDONS_PATH}/namespaces/{cluster}/managedclusteraddons", body)

    async def serve(self, cluster: str) -> None:
        """The five requests for one cluster, with the contents that the manager's have."""
        roles = f"/apis/{rbac.GROUP}/v1/namespaces/{cluster}"
        status = f"{ADDONS_PATH}/namespaces/{cluster}/managedclusteraddons/{RAW_ADDON}/status"
        addon = ManagedClusterAddOn(ObjectMeta(name=RAW_ADDON, namespace=cluster, uid="raw"))
        subject = Subject(subjects.agent_user(cluster), subjects.agent_groups(cluster))
        await self._send("POST", f"{roles}/rolebindings", bodies.role_binding(addon, subject))
        await self._send("PATCH", status, {"status": _registered(subject)})
        workload = Workload(cluster, names.DEFAULT_INSTALL_NAMESPACE, self.image)
        objects = render.manifests(workload, ephemeral=False, pull_secret=None)
        identities = render.identities_work(addon, names.DEFAULT_INSTALL_NAMESPACE)
        for work in (identities, render.manifest_work(addon, objects)):
            await self._send("POST", f"{WORKS_PATH}/namespaces/{cluster}/manifestworks", work)
        applied = _condition("ManifestApplied", "AddonManifestApplied")
        conditions = [_condition("RegistrationApplied", "SetPermissionApplied"), applied]
        await self._send("PATCH", status, {"status": {"conditions": conditions}})

    async def refer(self, cluster: str) -> None:
        """Has a cluster's addon ask for the configuration, and says so in its status as OCM would."""
        path = f"{ADDONS_PATH}/namespaces/{cluster}/managedclusteraddons/{names.ADDON}"
        await send(self.session, "PATCH", path, {"spec": {"configs": [_CONFIG]}})
        desired = {key: _CONFIG[key] for key in ("name", "namespace")}
        reference = {**_CONFIG, "desiredConfig": desired}
        await send(self.session, "PATCH", f"{path}/status", {"status": {"configReferences": [reference]}})

    async def _send(self, method: str, path: str, body: Body) -> None:
        """Under names that the manager does not look at, or it would take them away; and without an owner, which is not there."""
        plain = msgspec.to_builtins(body)
        if "metadata" in plain:
            plain["metadata"]["name"] += f"-{RAW_ADDON}"
            plain["metadata"].pop("ownerReferences")
        await send(self.session, method, path, plain)


def _registered(subject: Subject) -> Body:
    registration = {"signerName": "kubernetes.io/kube-apiserver-client", "subject": subject}
    return {
        "conditions": [_condition("RegistrationApplied", "SetPermissionApplied")],
        "healthCheck": {"mode": "Lease"},
        "namespace": names.DEFAULT_INSTALL_NAMESPACE,
        "registrations": [registration],
        "supportedConfigs": [{key: _CONFIG[key] for key in ("group", "resource")}],
    }


def _condition(type_: str, reason: str, generation: int = 0) -> Body:
    return {
        "type": type_,
        "status": "True",
        "reason": reason,
        "message": "as it should be",
        "lastTransitionTime": _NOW,
        "observedGeneration": generation,
    }


def deployment_config(label: str) -> Body:
    """A configuration whose node selector can be told from another's."""
    return {
        "apiVersion": "addon.open-cluster-management.io/v1alpha1",
        "kind": "AddOnDeploymentConfig",
        "metadata": {"name": "bench", "namespace": names.HUB_NAMESPACE},
        "spec": {"nodePlacement": {"nodeSelector": {"bench": label}}},
    }


async def each(clusters: list[str], concurrency: int, act: Callable[[str], Awaitable[None]]) -> None:
    """Acts on all clusters, so many at a time."""
    todo = list(reversed(clusters))

    async def work() -> None:
        while todo:
            await act(todo.pop())

    await asyncio.gather(*(work() for _ in range(concurrency)))


def is_applied(addon: Body) -> bool:
    conditions = addon.get("status", {}).get("conditions", ())
    return any((item["type"], item["status"]) == ("ManifestApplied", "True") for item in conditions)


def has_label(work: Body, value: str) -> bool:
    deployments = (item for item in work["spec"]["workload"]["manifests"] if item["kind"] == "Deployment")
    selectors = (item["spec"]["template"]["spec"].get("nodeSelector", {}) for item in deployments)
    return any(selector.get("bench") == value for selector in selectors)


async def until(
    session: aiohttp.ClientSession, path: str, clusters: set[str], good: Callable[[Body], bool]
) -> None:
    """Returns once the object of each cluster is as it should be."""
    async for found in follow(session, path, f"metadata.name={_NAMES[path]}"):
        if good(found):
            clusters.discard(found["metadata"]["namespace"])
        if not clusters:
            return


async def follow(session: aiohttp.ClientSession, path: str, fields: str = "") -> AsyncIterator[Body]:
    """All objects, then their changes, for ever; a watch that the server ends is begun anew."""
    whole, selected = f"{path}/{_PLURALS[path]}", {"fieldSelector": fields}
    while True:
        async with session.get(whole, params=selected) as answer:
            listed = msgspec.json.decode(await answer.read())
        for found in listed["items"]:
            yield found
        parameters = {**selected, "watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
        patience = aiohttp.ClientTimeout(total=None)
        async with session.get(whole, params=parameters, timeout=patience, read_bufsize=2**20) as answer:
            async for line in answer.content:
                event = msgspec.json.decode(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]


async def _apply_works(hub: Cluster) -> None:
    async with session_to(hub, 16) as session, session_to(hub, 2) as watcher, asyncio.TaskGroup() as tasks:
        async for work in follow(watcher, WORKS_PATH):
            tasks.create_task(_apply(session, work["metadata"], work.get("status", {})))


async def _apply(session: aiohttp.ClientSession, metadata: Body, status: Body) -> None:
    generation = metadata["generation"]
    if any(item["observedGeneration"] == generation for item in status.get("conditions", ())):
        return
    path = f"{WORKS_PATH}/namespaces/{metadata['namespace']}/manifestworks/{metadata['name']}/status"
    body = {"status": {"conditions": [_condition("Applied", "AppliedManifestWorkComplete", generation)]}}
    await send(session, "PATCH", path, body)


if __name__ == "__main__":
    asyncio.run(_apply_works(Cluster(sys.argv[1], HOME / sys.argv[1], binaries={})))
