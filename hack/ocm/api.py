"""Objects as the stand-ins see them, and requests to one API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from attrs import field, frozen
from msgspec import Struct
from prometheus_client import CollectorRegistry

from msa.api.meta import ObjectMeta
from msa.kube import credentials
from msa.kube.resources import Resource, Selection
from msa.kube.transport import Transport
from msa.runtime.errors import Conflict, NotFound
from msa.runtime.metrics import Metrics

Body = dict[str, Any]

_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Metadata(ObjectMeta, frozen=True, gc=False, rename="camel"):
    finalizers: tuple[str, ...] = ()


class Object(Struct, frozen=True):
    """Any object, its parts as plain JSON."""

    metadata: Metadata
    spec: Body = {}
    status: Body = {}
    data: dict[str, str] | None = None


@frozen
class Kind:
    """A resource of the API."""

    group: str
    version: str
    plural: str

    @property
    def resource(self) -> tuple[str, str]:
        """What it is called where no version matters."""
        return self.group, self.plural

    def at(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The path of one object, or of all in a namespace; `namespace` is "" for what lives in none."""
        path = Selection(self.group, self.version, self.plural, namespace).path
        return "/".join(part for part in (path, name, subresource) if part)

    def selected(self, namespace: str = "", *, labels: str = "", name: str = "") -> Selection:
        fields = f"metadata.name={name}" if name else ""
        return Selection(self.group, self.version, self.plural, namespace, labels, fields)


@frozen
class Api:
    """One API server, as one user."""

    transport: Transport
    metrics: Metrics

    @classmethod
    @asynccontextmanager
    async def opened(cls, kubeconfig: Path) -> "AsyncIterator[Api]":
        metrics = Metrics(CollectorRegistry())
        transport = Transport(partial(credentials.from_kubeconfig, kubeconfig), metrics)
        await transport.open()
        try:
            yield cls(transport, metrics)
        finally:
            await transport.close()

    def resource(self, selection: Selection) -> Resource[Object]:
        return Resource(self.transport, selection, Object)

    async def get(self, path: str) -> Body | None:
        """The answer as JSON; None where there is none."""
        try:
            return _decoded(await self.transport.send("GET", path))
        except NotFound:
            return None

    async def create(self, path: str, body: Body) -> Body:
        return _decoded(await self.transport.send("POST", path, body=_encoded(body)))

    async def merge(self, path: str, body: Body) -> Body:
        return _decoded(await self.transport.send("PATCH", path, body=_encoded(body), content_type=_MERGE))

    async def update(self, path: str, body: Body) -> Body:
        """Puts it in the place of what is there."""
        return _decoded(await self.transport.send("PUT", path, body=_encoded(body)))

    async def apply(self, path: str, body: Body, manager: str) -> Body:
        """Server-side apply, over whoever else owns a field."""
        query = f"{path}?fieldManager={manager}&force=true"
        return _decoded(await self.transport.send("PATCH", query, body=_encoded(body), content_type=_APPLY))

    async def delete(self, path: str, *, uid: str = "") -> None:
        """One that is gone already is no error; with `uid` another of that name stays."""
        body: Body = {"propagationPolicy": "Background"} | ({"preconditions": {"uid": uid}} if uid else {})
        try:
            await self.transport.send("DELETE", path, body=_encoded(body))
        except NotFound:
            return
        except Conflict:
            if not uid:
                raise

    async def patch_status(self, path: str, version: str, changes: Body) -> None:
        """Changes these fields of a status; fails with Conflict where the object is newer than what was read."""
        if changes:
            await self.merge(f"{path}/status", {"metadata": {"resourceVersion": version}, "status": changes})


@frozen
class Discovery:
    """Which resource a kind is. What was found is kept; what was not is asked for again."""

    api: Api
    _known: dict[tuple[str, str], tuple[Kind, bool]] = field(factory=dict, init=False)

    async def find(self, api_version: str, kind: str) -> tuple[Kind, bool]:
        """The resource, and whether it lives in namespaces.

        Raises:
            LookupError: the server does not know it.
        """
        if (api_version, kind) not in self._known:
            await self._ask(api_version)
        try:
            return self._known[api_version, kind]
        except KeyError:
            raise LookupError(f'no matches for kind "{kind}" in version "{api_version}"') from None

    async def _ask(self, api_version: str) -> None:
        group, _, version = api_version.rpartition("/")
        answer = await self.api.get(f"/apis/{api_version}" if group else f"/api/{version}")
        for item in (answer or {}).get("resources", ()):
            if "/" not in item["name"]:
                self._known[api_version, item["kind"]] = (
                    Kind(group, version, item["name"]),
                    item["namespaced"],
                )


def _encoded(body: Body) -> bytes:
    return msgspec.json.encode(body)


def _decoded(answer: bytes) -> Body:
    return msgspec.json.decode(answer, type=Body)
