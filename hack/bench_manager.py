"""What the addon manager costs for a fleet, beside a raw client in the same run: `python -m hack.bench_manager [--n 1000]`.

No agents run. Both sides make a ManagedClusterAddOn for each cluster and then what the manager makes for it: RoleBinding, two
ManifestWorks and two status patches. What OCM's work agents would do, one status patch of each ManifestWork, a process of its own does for
both. Rounds alternate, the median counts, clusters are fresh. Prints a table and writes build/bench-manager.json.
"""

import argparse
import asyncio
import statistics
import sys
import time
import urllib.request
from functools import partial
from typing import Any

from attrs import evolve, frozen

from hack.bench_fleet import (
    ADDONS_PATH,
    RAW_ADDON,
    WORKS_PATH,
    RawManager,
    deployment_config,
    each,
    has_label,
    is_applied,
    until,
)
from hack.bench_probes import cpu_seconds, report, rss_mb, say, served, total
from hack.bench_raw import best_concurrency, session_to
from hack.clusters import Cluster, running
from hack.ocm.fleet import Fleet, Manager
from hack.processes import Process, wait_until
from msa.api import names

_ROUNDS = 3
_RESOURCES = ("roles", "rolebindings", "manifestworks", "managedclusteraddons", "clustermanagementaddons")
_HARNESS = {"POST managedclusteraddons", "PATCH manifestworks/status"}
_PATIENCE = 900.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="clusters per round")
    options = parser.parse_args(arguments)
    with running("bench-hub") as hub:
        fleet = Fleet(hub)
        fleet.install()
        fleet.add_addon()
        manager = Manager(hub, hub.kubeconfig, flags=("--log-level=warning",))
        appliers = Process("appliers", hub.folder)
        appliers.start(
            [sys.executable, "-m", "hack.bench_fleet", hub.name], die_with_parent=hub.die_with_parent
        )
        result = ManagerBench(hub, fleet, manager, options.n).run()
        appliers.stop()
    report("bench-manager", result)
    return 0


@frozen
class ManagerBench:
    """Measures one manager."""

    hub: Cluster
    fleet: Fleet
    manager: Manager
    n: int

    def run(self) -> dict[str, Any]:
        best = self._best_concurrency()
        say(f"the raw client is fastest with {best} at a time")
        self.manager.start()
        rounds, memory = [], 0.0
        for number in range(_ROUNDS):
            raw = asyncio.run(self._raw_round(f"raw{number}", best))
            managed = self._manager_round(f"fleet{number}")
            say(
                f"round {number + 1}: raw {raw['seconds']:.2f} s, manager {managed['seconds']:.2f} s for {self.n}"
            )
            rounds.append((raw, managed))
            memory = memory or rss_mb(self.manager.process)
        result = {**_summary(self.n, rounds), "concurrency": best, "rss_mb": round(memory, 1)}
        result["restart"] = self._restart()
        result["rollout"] = self._rollout()
        self.manager.stop()
        return result

    def _best_concurrency(self) -> int:
        few = evolve(self, n=min(self.n, 200))
        return best_concurrency(lambda tried: asyncio.run(few._raw_round(f"warm{tried}", tried))["seconds"])  # noqa: SLF001 - itself

    async def _raw_round(self, prefix: str, concurrency: int) -> dict[str, float]:
        """Creates n addons that the manager does not look at, and sends the five requests for each."""
        clusters = [f"{prefix}-{number}" for number in range(self.n)]
        async with session_to(self.hub, concurrency) as session:
            raw = RawManager(session, self.manager.image)
            await each(clusters, concurrency, raw.namespace)
            start = time.monotonic()
            await each(clusters, concurrency, partial(raw.addon, name=RAW_ADDON, owner=""))
            cpu = time.process_time()
            await each(clusters, concurrency, raw.serve)
            return {"seconds": time.monotonic() - start, "cpu": time.process_time() - cpu}

    def _manager_round(self, prefix: str) -> dict[str, Any]:
        """From the first addon to the last `ManifestApplied`, with clusters that were accepted before."""
        clusters = [f"{prefix}-{number}" for number in range(self.n)]
        owner = self.fleet.get("clustermanagementaddon", names.ADDON)
        assert owner is not None  # noqa: S101 - it was just made
        asyncio.run(self._accept(clusters))
        before, cpu = served(self.hub, _RESOURCES), cpu_seconds(self.manager.process)
        start = time.monotonic()
        asyncio.run(self._add_and_wait(clusters, owner["metadata"]["uid"]))
        seconds = time.monotonic() - start
        time.sleep(2)
        counted = {
            what: count
            for what, count in (served(self.hub, _RESOURCES) - before).items()
            if what not in _HARNESS
        }
        return {"seconds": seconds, "cpu": cpu_seconds(self.manager.process) - cpu, "served": counted}

    async def _accept(self, clusters: list[str]) -> None:
        async with session_to(self.hub, 32) as session:
            raw = RawManager(session, self.manager.image)
            await each(clusters, 32, raw.namespace)
            await each(clusters, 32, raw.cluster)

    async def _add_and_wait(self, clusters: list[str], owner: str) -> None:
        async with session_to(self.hub, 32) as session, session_to(self.hub, 4) as watcher:
            following = asyncio.create_task(until(watcher, ADDONS_PATH, set(clusters), is_applied))
            raw = RawManager(session, self.manager.image)
            await each(clusters, 32, partial(raw.addon, name=names.ADDON, owner=owner))
            await asyncio.wait_for(following, _PATIENCE)

    def _restart(self) -> dict[str, Any]:
        """Until every cluster was looked at again."""
        self.manager.stop()
        before, start = served(self.hub, _RESOURCES), time.monotonic()
        self.manager.start()
        wait_until(lambda: _looked_at(self.manager) >= _ROUNDS * self.n, 120, 0.05)
        seconds = time.monotonic() - start
        time.sleep(3)
        return {
            "clusters": _ROUNDS * self.n,
            "seconds": round(seconds, 2),
            "writes": (served(self.hub, _RESOURCES) - before).total(),
        }

    def _rollout(self) -> dict[str, Any]:
        """One change of an AddOnDeploymentConfig that every addon refers to, until all ManifestWorks have it."""
        clusters = [f"fleet{number}-{index}" for number in range(_ROUNDS) for index in range(self.n)]
        self.fleet.apply(deployment_config("first"))
        asyncio.run(self._refer(clusters))
        asyncio.run(self._roll(clusters, "first"))
        before, start = served(self.hub, _RESOURCES), time.monotonic()
        self.fleet.apply(deployment_config("second"))
        asyncio.run(self._roll(clusters, "second"))
        seconds = time.monotonic() - start
        time.sleep(5)
        counted = served(self.hub, _RESOURCES) - before
        requests = sum(count for what, count in counted.items() if what not in _HARNESS)
        return {
            "clusters": len(clusters),
            "seconds": round(seconds, 2),
            "requests_per_cluster": round(requests / len(clusters), 2),
        }

    async def _refer(self, clusters: list[str]) -> None:
        """Each addon asks for the configuration itself, so that no stand-in of OCM's rollout is measured along."""
        async with session_to(self.hub, 32) as session:
            await each(clusters, 32, RawManager(session, self.manager.image).refer)

    async def _roll(self, clusters: list[str], value: str) -> None:
        async with session_to(self.hub, 4) as watcher:
            rolled = until(watcher, WORKS_PATH, set(clusters), partial(has_label, value=value))
            await asyncio.wait_for(rolled, _PATIENCE)


def _looked_at(manager: Manager) -> float:
    """Clusters that the manager has looked at since it began."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{manager.ports[1]}/metrics", timeout=5) as answer:
            scrape = answer.read().decode()
    except OSError:
        return 0
    return total(
        scrape,
        r'controller_runtime_reconcile_total\{controller="managedclusteraddon",result="success"\}',
    )


def _summary(n: int, rounds: list[tuple[dict[str, float], dict[str, Any]]]) -> dict[str, Any]:
    raw = statistics.median(raw["seconds"] for raw, _ in rounds)
    managed = statistics.median(managed["seconds"] for _, managed in rounds)
    cpu = statistics.median(managed["cpu"] for _, managed in rounds)
    return {
        "n": n,
        "ratio": round(raw / managed, 2),
        "cpu_ratio": round(cpu / statistics.median(raw["cpu"] for raw, _ in rounds), 2),
        "raw_seconds": round(raw, 2),
        "manager_seconds": round(managed, 2),
        "clusters_per_s": round(n / managed, 1),
        "cpu_ms_per_cluster": round(1000 * cpu / n, 2),
        "requests_per_cluster": round(
            statistics.median(sum(managed["served"].values()) for _, managed in rounds) / n, 2
        ),
        "requests": {what: count / n for what, count in rounds[-1][1]["served"].items()},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
