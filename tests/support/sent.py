"""One resource of a hub's API server, scripted: what is sent there, to the letter."""

import json
from typing import Any, TypeVar

import msgspec
from attrs import define, evolve

from msa.api.meta import ObjectMeta
from msa.hub.objects import Objects
from msa.runtime.errors import ApiError

R = TypeVar("R")


@define
class Sent:
    """Takes everything, at version 8, unless it is told to fail.

    Attributes:
        requests: what was sent: `name`, the namespace, the verb and what goes with it.
    """

    name: str
    requests: list[Any]
    error: ApiError | None = None
    namespace: str = ""

    def within(self, namespace: str) -> Objects:
        return evolve(self, namespace=namespace)

    async def get(self, name: str, *, into: type[R]) -> R:
        return self._take(into, "get", name)

    async def create(self, body: object, *, into: type[R]) -> R:
        return self._take(into, "create", body)

    async def patch(self, name: str, body: object, *, into: type[R], subresource: str = "") -> R:
        return self._take(into, "patch", name, subresource, body)

    async def json_patch(self, name: str, operations: object, *, into: type[R]) -> R:
        return self._take(into, "json patch", name, operations)

    async def delete(self, name: str, *, uid: str = "") -> None:
        self._take(ObjectMeta, "delete", name, uid)

    def _take(self, into: type[R], *what: object) -> R:
        if self.error is not None:
            raise self.error
        self.requests.append(json.loads(msgspec.json.encode((self.name, self.namespace, *what))))
        return msgspec.convert({"metadata": {"resourceVersion": "8"}}, into)
