"""What it costs to fan one ManagedServiceAccount out, beside a raw client in the same run: `python -m hack.bench_fanout [--n 2000]`.

Both sides make one ManagedServiceAccount in each of n clusters' namespaces, the rollout unbounded. Rounds alternate, the median counts,
names are fresh, and the manager stands still while the raw client works. Then all clusters report at once, as agents would. Prints a
table and writes build/bench-fanout.json.
"""

import argparse
import asyncio
import statistics
import sys
import time
import urllib.request
from functools import partial
from http import HTTPStatus
from itertools import pairwise
from typing import Any

import aiohttp
from attrs import evolve, frozen

from hack.addon import ensure_namespace
from hack.bench_fleet import ADDONS_PATH, IDENTITIES_PATH, each, follow
from hack.bench_probes import cpu_seconds, report, rss_mb, say
from hack.bench_raw import best_concurrency, send, session_to
from hack.clusters import Cluster, running
from hack.ocm.fleet import Fleet, Manager
from hack.processes import wait_until
from msa.api import cluster as cluster_api
from msa.api import names
from msa.api.clusterset import LABEL_CLUSTER_SET, SETS_VERSION

_CLUSTERS = f"/apis/{cluster_api.GROUP}"
_SETS = f"{cluster_api.GROUP}/{SETS_VERSION}"
_ADDON = "addon.open-cluster-management.io/v1alpha1"
_ROUNDS = 3
_PATIENCE = 600.0
_TEAM = "team"
_NOW = "2026-01-01T00:00:00Z"
_SPEC = {"rotation": {"validity": "24h"}}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=2000, help="clusters")
    options = parser.parse_args(arguments)
    with running("bench-hub") as hub:
        Fleet(hub).install()
        manager = Manager(hub, hub.kubeconfig, flags=("--log-level=warning",))
        result = FanOutBench(hub, manager, options.n).run()
        manager.stop()
    report("bench-fanout", result)
    return 0


@frozen
class FanOutBench:
    """Measures one manager."""

    hub: Cluster
    manager: Manager
    n: int

    @property
    def clusters(self) -> list[str]:
        return [f"c{number}" for number in range(self.n)]

    def run(self) -> dict[str, Any]:
        asyncio.run(self._prepare())
        few = evolve(self, n=min(self.n, 300))
        best = best_concurrency(lambda tried: asyncio.run(few._raw_round(f"warm{tried}", tried))["seconds"])  # noqa: SLF001 - itself
        say(f"the raw client is fastest with {best} at a time")
        rounds = []
        for number in range(_ROUNDS):
            raw = asyncio.run(self._raw_round(f"raw{number}", best))
            fanned = self._fanned_round(f"fan{number}")
            say(
                f"round {number + 1}: raw {raw['seconds']:.2f} s, fan-out {fanned['seconds']:.2f} s for {self.n}"
            )
            rounds.append((raw, fanned))
        return {**_summary(self.n, rounds), "concurrency": best}

    async def _prepare(self) -> None:
        """All clusters in one set, bound to one namespace."""
        ensure_namespace(self.hub, _TEAM)
        async with session_to(self.hub, 32) as session:
            await send(
                session,
                "POST",
                f"{_CLUSTERS}/{SETS_VERSION}/managedclustersets",
                _body(_SETS, "ManagedClusterSet", "edge"),
            )
            path = f"{_CLUSTERS}/{SETS_VERSION}/namespaces/{_TEAM}/managedclustersetbindings"
            binding = _body(_SETS, "ManagedClusterSetBinding", "edge", spec={"clusterSet": "edge"})
            await send(session, "POST", path, binding)
            await each(self.clusters, 32, partial(_join, session))

    async def _raw_round(self, name: str, concurrency: int) -> dict[str, float]:
        async with session_to(self.hub, concurrency) as session:
            start, cpu = time.monotonic(), time.process_time()
            await each(self.clusters, concurrency, partial(_create, session, name=name))
            return {"seconds": time.monotonic() - start, "cpu": time.process_time() - cpu}

    def _fanned_round(self, name: str) -> dict[str, Any]:
        """From the one object to the last of its children; then until it says that all are ready."""
        self.manager.start()
        if not wait_until(partial(_is_ready, self.manager), 60, 0.05):
            raise RuntimeError("the manager is not ready")
        time.sleep(1)  # it has looked at all that was there
        cpu = cpu_seconds(self.manager.process)
        seconds = asyncio.run(self._create_and_wait(name))
        cpu = cpu_seconds(self.manager.process) - cpu
        written = asyncio.run(self._report(name))
        memory = rss_mb(self.manager.process)
        self.manager.stop()
        return {"seconds": seconds, "cpu": cpu, "written": written, "rss_mb": memory}

    async def _create_and_wait(self, name: str) -> float:
        async with session_to(self.hub, 4) as session:
            following = asyncio.create_task(_made(session, name, set(self.clusters)))
            body = _identity(name, {**_SPEC, "rollout": {"maxConcurrent": "100%"}})
            start = time.monotonic()
            await send(session, "POST", f"{IDENTITIES_PATH}/namespaces/{_TEAM}/{names.PLURAL}", body)
            await asyncio.wait_for(following, _PATIENCE)
            return time.monotonic() - start

    async def _report(self, name: str) -> list[float]:
        """When the status was written while all clusters reported, until it was ready."""
        async with session_to(self.hub, 32) as session, session_to(self.hub, 2) as watcher:
            following = asyncio.create_task(_status_writes(watcher, name))
            await each(self.clusters, 32, partial(_ready, session, name=name))
            return await asyncio.wait_for(following, _PATIENCE)


def _is_ready(manager: Manager) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{manager.ports[0]}/readyz", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


async def _join(session: aiohttp.ClientSession, cluster: str) -> None:
    await send(session, "POST", "/api/v1/namespaces", _body("v1", "Namespace", cluster))
    body = _body(f"{cluster_api.GROUP}/v1", "ManagedCluster", cluster, spec={"hubAcceptsClient": True})
    body["metadata"]["labels"] = {LABEL_CLUSTER_SET: "edge"}
    await send(session, "POST", f"{_CLUSTERS}/v1/managedclusters", body)
    # Without an agent the manager would call each identity's Ready untrue.
    addons = f"{ADDONS_PATH}/namespaces/{cluster}/managedclusteraddons"
    await send(session, "POST", addons, _body(_ADDON, "ManagedClusterAddOn", names.ADDON, spec={}))
    available = {
        "type": "Available",
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": _NOW,
    }
    await send(session, "PATCH", f"{addons}/{names.ADDON}/status", {"status": {"conditions": [available]}})


async def _create(session: aiohttp.ClientSession, cluster: str, *, name: str) -> None:
    """As large as a child."""
    body = _identity(name, _SPEC)
    labels = {f"{names.GROUP}/bench-namespace": _TEAM, f"{names.GROUP}/bench-uid": "0" * 36}
    body["metadata"] |= {"labels": labels, "annotations": {f"{names.GROUP}/bench-at": _NOW}}
    await send(session, "POST", f"{IDENTITIES_PATH}/namespaces/{cluster}/{names.PLURAL}", body)


async def _ready(session: aiohttp.ClientSession, cluster: str, *, name: str) -> None:
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": kind,
            "message": "",
            "lastTransitionTime": _NOW,
            "observedGeneration": 1,
        }
        for kind in ("Ready", "TokenReported", "SecretCreated")
    ]
    path = f"{IDENTITIES_PATH}/namespaces/{cluster}/{names.PLURAL}/{name}/status"
    await send(session, "PATCH", path, {"status": {"conditions": conditions}})


async def _made(session: aiohttp.ClientSession, name: str, clusters: set[str]) -> None:
    async for found in follow(session, IDENTITIES_PATH, f"metadata.name={name}"):
        clusters.discard(found["metadata"]["namespace"])
        if not clusters:
            return


async def _status_writes(session: aiohttp.ClientSession, name: str) -> list[float]:
    """The times at which the numbers in the status of the one object changed, up to the last of them."""
    times: list[float] = []
    before: Any = None
    async for found in follow(session, IDENTITIES_PATH, f"metadata.name={name},metadata.namespace={_TEAM}"):
        counts = found.get("status", {}).get("fanOut")
        if before is not None and counts != before:
            times.append(time.monotonic())
        before = counts
        if counts and counts["ready"] == counts["desired"]:
            return times
    raise RuntimeError("the watch ended")


def _body(api: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **content}


def _identity(name: str, spec: Any) -> dict[str, Any]:
    return _body(f"{names.GROUP}/{names.STORAGE_VERSION}", names.KIND, name, spec=spec)


def _summary(n: int, rounds: list[tuple[dict[str, float], dict[str, Any]]]) -> dict[str, Any]:
    raw = statistics.median(raw["seconds"] for raw, _ in rounds)
    fanned = statistics.median(fanned["seconds"] for _, fanned in rounds)
    cpu = statistics.median(fanned["cpu"] for _, fanned in rounds)
    gaps = [after - before for _, fanned in rounds for before, after in pairwise(fanned["written"])]
    return {
        "n": n,
        "ratio": round(raw / fanned, 2),
        "cpu_ratio": round(cpu / statistics.median(raw["cpu"] for raw, _ in rounds), 2),
        "raw_s": round(raw, 2),
        "children_s": round(fanned, 2),
        "status_writes_per_s": round(len(gaps) / sum(gaps), 2) if gaps else 0.0,
        "status_gap_s": round(min(gaps, default=0.0), 2),
        "rss_mb": round(max(fanned["rss_mb"] for _, fanned in rounds), 1),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
