"""The raw client that the benchmarks compare with: the plainest aiohttp program that sends the same requests, nothing between."""

import asyncio
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import aiohttp
from attrs import frozen

from hack.clusters import Cluster
from msa.api import names

GROUP_PATH = f"/apis/{names.GROUP}/{names.STORAGE_VERSION}/namespaces"


_NOW = "2026-01-01T00:00:00Z"
_TOKEN_REQUEST = {
    "apiVersion": "authentication.k8s.io/v1",
    "kind": "TokenRequest",
    "spec": {"expirationSeconds": 31104000},
}


@frozen
class Raw:
    """The raw client: connections to both planes, as users with the agent's rights, which API servers check as they do the agent's.

    Attributes:
        admin: to the hub, for what the agent's rights are not for.
    """

    admin: aiohttp.ClientSession
    hub: aiohttp.ClientSession
    managed: aiohttp.ClientSession
    ca: str

    async def serve(self, namespace: str, install: str, name: str, uid: str) -> None:
        """The four requests of one new identity, with the contents that the agent's have."""
        labels = {names.LABEL_MANAGED: "true"}
        accounts = f"/api/v1/namespaces/{install}/serviceaccounts"
        marks = {"name": name, "labels": labels, "annotations": {names.ANNOTATION_OWNER_UID: uid}}
        account = await send(
            self.managed, "POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": marks}
        )
        issued = await send(self.managed, "POST", f"{accounts}/{name}/token", _TOKEN_REQUEST)
        expires = issued["status"]["expirationTimestamp"]
        await send(
            self.hub,
            "POST",
            f"/api/v1/namespaces/{namespace}/secrets",
            self._secret(name, uid, issued["status"]["token"], expires),
        )
        status = _status(
            name, {"namespace": install, "name": name, "uid": account["metadata"]["uid"]}, expires
        )
        path = f"{GROUP_PATH}/{namespace}/{names.PLURAL}/{name}/status"
        await send(self.hub, "PATCH", path, {"status": status})

    def _secret(self, name: str, uid: str, token: str, expires: str) -> Any:
        owner = {
            "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
            "kind": names.KIND,
            "name": name,
            "uid": uid,
        }
        annotations = {
            names.ANNOTATION_REQUESTED: '{"audiences":[],"expirationSeconds":31104000}',
            names.ANNOTATION_EXPIRATION: expires,
            names.ANNOTATION_LAST_REFRESH: _NOW,
        }
        metadata = {
            "name": name,
            "labels": {names.LABEL_MANAGED: "true"},
            "annotations": annotations,
            "ownerReferences": [owner],
        }
        data = {"token": b64encode(token.encode()).decode(), "ca.crt": self.ca}
        return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}


def _status(name: str, account: dict[str, str], expires: str) -> Any:
    conditions = [
        {
            "type": type_,
            "status": "True",
            "reason": reason,
            "message": "",
            "lastTransitionTime": _NOW,
            "observedGeneration": 1,
        }
        for type_, reason in (
            ("Ready", "TokenFresh"),
            ("TokenReported", "TokenReported"),
            ("SecretCreated", "SecretCreated"),
        )
    ]
    return {
        "conditions": conditions,
        "observedGeneration": 1,
        "expirationTimestamp": expires,
        "tokenSecretRef": {"name": name, "lastRefreshTimestamp": _NOW},
        "serviceAccountRef": account,
        "audiences": ["https://kubernetes.default.svc.cluster.local"],
        "grantedValidity": "8640h0m0s",
        "nextRefreshTimestamp": expires,
    }


async def send(session: aiohttp.ClientSession, method: str, path: str, body: Any) -> Any:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    async with session.request(
        method, path, data=json.dumps(body), headers={"Content-Type": kind}
    ) as response:
        answer = await response.json()
        if response.status >= 300:  # noqa: PLR2004 - HTTP's own boundary
            raise RuntimeError(f"{method} {path}: {answer.get('message')}")
        return answer


async def create_all(
    raw: Raw, namespace: str, wanted: list[str], concurrency: int, created: dict[str, float] | None = None
) -> dict[str, str]:
    """UIDs by name."""
    todo, uids = list(reversed(wanted)), {}

    async def work() -> None:
        while todo:
            name = todo.pop()
            body = {
                "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
                "kind": names.KIND,
                "metadata": {"name": name},
                "spec": {"rotation": {}},
            }
            if created is not None:
                created[name] = time.monotonic()
            answer = await send(raw.admin, "POST", f"{GROUP_PATH}/{namespace}/{names.PLURAL}", body)
            uids[name] = answer["metadata"]["uid"]

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return uids


def best_concurrency(seconds: Callable[[int], float]) -> int:
    """With how many requests at a time the raw client is fastest, by a trial of each."""
    trials = {concurrency: seconds(concurrency) for concurrency in (8, 16, 32, 64)}
    return min(trials, key=lambda concurrency: trials[concurrency])


def session_to(cluster: Cluster, limit: int, user: str = "admin") -> aiohttp.ClientSession:
    """Connections as the administrator, or as another user whom the cluster has made a kubeconfig for."""
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    stem = user.replace(":", "-")
    context.load_cert_chain(cluster.folder / f"{stem}.crt", cluster.folder / f"{stem}.key")
    return aiohttp.ClientSession(cluster.server, connector=aiohttp.TCPConnector(limit=limit, ssl=context))
