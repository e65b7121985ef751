"""The stand-in for OCM's work agent, with a scripted API server."""

from typing import Any, cast

from attrs import define, field

from hack.ocm.api import Api
from hack.ocm.manifests import Manifests
from msa.runtime.errors import Conflict

OWNER = {"kind": "AppliedManifestWork", "name": "w", "uid": "work-uid"}
MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}}


@define
class Server:
    """Keeps one ConfigMap, which others alter again and again.

    Attributes:
        conflicts: how many writes still meet an object that was altered meanwhile.
    """

    conflicts: int
    writes: list[str] = field(factory=list)

    async def get(self, path: str) -> dict[str, Any]:
        assert path == "/api/v1"
        return {"resources": [{"kind": "ConfigMap", "name": "configmaps", "namespaced": True}]}

    async def apply(self, path: str, manifest: dict[str, Any], _manager: str) -> dict[str, Any]:
        self.writes.append(f"apply {path}")
        return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": "1"}}

    async def merge(self, _path: str, changes: dict[str, Any]) -> dict[str, Any]:
        if self.conflicts > 0:
            self.conflicts -= 1
            raise Conflict("the object has been modified")
        self.writes.append("own")
        return changes


async def _apply(server: Server) -> str:
    (applied,) = await Manifests(cast("Api", server)).apply([MANIFEST], {}, OWNER)
    return applied.problem


async def test_an_object_that_somebody_else_writes_at_the_same_time_is_applied_again_and_reported_to_nobody() -> (
    None
):
    server = Server(conflicts=2)
    assert await _apply(server) == ""
    assert server.writes[-1] == "own"


async def test_one_that_others_write_all_the_time_is_reported() -> None:
    assert "has been modified" in await _apply(Server(conflicts=10))
