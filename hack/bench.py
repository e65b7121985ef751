"""What the agent costs, beside a raw client in the same run: `python -m hack.bench [--n 1000] [--restart-n 10000]`.

Machines differ by a factor of four, so speed and CPU are ratios to a *raw client*: the plainest aiohttp program that sends the same
requests at its best concurrency, nothing between. Rounds alternate, the median counts, names are fresh. Prints a table and writes
build/bench.json.
"""

import argparse
import asyncio
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from attrs import evolve, frozen

from hack.addon import Addon
from hack.bench_probes import Probe, report, say
from hack.bench_raw import GROUP_PATH, Raw, best_concurrency, create_all, send, session_to
from hack.bench_runtime import measure_runtime
from hack.clusters import free_ports, running
from hack.processes import wait_until
from msa.api import names
from msa.api.meta import ObjectMeta
from msa.cli import logs

_ROUNDS = 3
_SINGLES = 50
_RAW, _RAW_INSTALL = "raw", "raw-install"
"""The raw client's namespaces on both sides, which no agent serves."""

_QUIET_SECONDS = 20
"""After so long idle connections are closed, so that memory is compared like with like."""

_CREATE = "POST managedserviceaccounts"


class _Named(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


class _Line(msgspec.Struct):
    object: _Named


class _List(msgspec.Struct):
    metadata: ObjectMeta
    items: list[_Named] | None


_LIST = msgspec.json.Decoder(_List)
_LINE = msgspec.json.Decoder(_Line)
_BRIEF = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
"""Names are all that the bench looks at, so that looking costs the API server little."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="identities per round")
    parser.add_argument("--restart-n", type=int, default=10000, help="tokens at the restart")
    options = parser.parse_args(arguments)
    logs.configure("info")  # as the programs run: the runtime logs each reconcile at debug
    say("runtime alone")
    runtime = measure_runtime()
    with running("bench-hub") as hub, running("bench-managed") as managed:
        health, metrics = free_ports(2)
        addon = Addon(
            hub, managed, "bench", health_port=health, metrics_port=metrics, flags=("--log-level=warning",)
        )
        addon.install()
        evolve(
            addon, cluster_name=_RAW, install_namespace=_RAW_INSTALL
        ).install()  # the same rights for the raw client
        result = {**Bench(addon, Probe(addon), options.n).run(options.restart_n), "runtime": runtime}
    report("bench", result)
    return 0


@frozen
class Bench:
    """Measures one agent."""

    addon: Addon
    probe: Probe
    n: int

    def run(self, restart_n: int) -> dict[str, dict[str, Any]]:
        best = self._best_concurrency()
        say(f"the raw client is fastest with {best} at a time")
        self.addon.start()
        wait_until(self.addon.ready, 30)
        time.sleep(2)
        idle = self.probe.rss_mb()
        asyncio.run(self._create_and_wait([f"first-{number}" for number in range(self.n)]))
        first = self._restart(self.n)
        create = self._create(best)
        peak = self.probe.peak_rss_mb()
        single = self._single()
        rotate = self._rotate()
        per_msa = self._fill(restart_n)
        restart = self._restart(restart_n)
        self.addon.stop()
        return {
            "create": {**create, "single_ratio": single, "concurrency": best},
            "rotate": rotate,
            "restart": restart,
            "restart_first": first,
            "rss": {"idle_mb": round(idle, 1), "peak_mb": round(peak, 1), "per_msa_kb": per_msa},
        }

    @property
    def _so_far(self) -> int:
        """Identities that there are once all rounds are done."""
        return (_ROUNDS + 1) * self.n + _SINGLES

    def _create(self, concurrency: int) -> dict[str, Any]:
        """Raw client and agent in turns."""
        rounds = []
        for number in range(_ROUNDS):
            raw = asyncio.run(self._raw_round(f"raw{number}", concurrency))
            agent = self._agent_round(f"agent{number}")
            say(
                f"round {number + 1}: raw {raw['seconds']:.2f} s, agent {agent['seconds']:.2f} s for {self.n}"
            )
            rounds.append((raw, agent))
        return _summary(self.n, rounds)

    def _best_concurrency(self) -> int:
        few = evolve(self, n=min(self.n, 300))
        return best_concurrency(lambda tried: asyncio.run(few._raw_round(f"warm{tried}", tried))["seconds"])  # noqa: SLF001 - itself

    @asynccontextmanager
    async def _raw_client(self, connections: int) -> AsyncIterator[Raw]:
        hub, managed = self.addon.hub, self.addon.managed
        async with (
            session_to(hub, connections) as admin,
            session_to(hub, connections, evolve(self.addon, cluster_name=_RAW).user) as to_hub,
            session_to(managed, connections, "msa-agent") as to_managed,
        ):
            yield Raw(admin, to_hub, to_managed, b64encode(managed.ca_file.read_bytes()).decode())

    async def _raw_round(self, prefix: str, concurrency: int) -> dict[str, float]:
        """Creates n identities in a namespace that no agent serves, then sends the four requests for each."""
        cpu = time.process_time()
        start = time.monotonic()
        async with self._raw_client(concurrency) as raw:
            uids = await create_all(
                raw, _RAW, [f"{prefix}-{number}" for number in range(self.n)], concurrency
            )
            todo = list(uids.items())

            async def work() -> None:
                while todo:
                    name, uid = todo.pop()
                    await raw.serve(_RAW, _RAW_INSTALL, name, uid)

            await asyncio.gather(*(work() for _ in range(concurrency)))
        return {"seconds": time.monotonic() - start, "cpu": time.process_time() - cpu}

    def _agent_round(self, prefix: str) -> dict[str, Any]:
        """From the first create to the last token: creates as the raw client does, and the agent does the rest."""
        before, sent, cpu = self.probe.served(), self.probe.sent(), self.probe.cpu_seconds()
        wanted = [f"{prefix}-{number}" for number in range(self.n)]
        start = time.monotonic()
        latencies = asyncio.run(self._create_and_wait(wanted))
        seconds = time.monotonic() - start
        wait_until(lambda: self.probe.sent() - sent >= 4 * self.n, 10)
        time.sleep(1)
        cpu = self.probe.cpu_seconds() - cpu
        served = self.probe.served() - before
        served.subtract({_CREATE: self.n})
        return {"seconds": seconds, "cpu": cpu, "latencies": latencies, "served": served}

    async def _create_and_wait(self, wanted: list[str]) -> list[float]:
        """Seconds from each create to its token's Secret, as a watch of the hub sees it."""
        created: dict[str, float] = {}
        done: dict[str, float] = {}
        missing = set(wanted)
        path = f"/api/v1/namespaces/{self.addon.cluster_name}/secrets"

        def look(seen: _Named) -> None:
            if seen.metadata.name in missing:
                done[seen.metadata.name] = time.monotonic()
                missing.discard(seen.metadata.name)

        async with session_to(self.addon.hub, 32) as session, session_to(self.addon.hub, 4) as watcher:

            async def listed(limit: int) -> str:
                async with watcher.get(
                    path, params={"limit": str(limit)}, headers={"Accept": _BRIEF.format("List")}
                ) as answer:
                    found = _LIST.decode(await answer.read())
                for seen in found.items or ():
                    look(seen)
                return found.metadata.resource_version

            async def follow(version: str) -> None:
                """A server that is busy may end the watch of a reader that is slow: then all is listed, and followed on."""
                while missing:
                    parameters = {"watch": "true", "resourceVersion": version}
                    patience = aiohttp.ClientTimeout(total=600)
                    async with watcher.get(
                        path, params=parameters, timeout=patience, headers={"Accept": _BRIEF.format("")}
                    ) as answer:
                        async for line in answer.content:
                            look(_LINE.decode(line).object)
                            if not missing:
                                return
                    version = await listed(0)

            following = asyncio.create_task(follow(await listed(1)))
            raw = Raw(session, session, session, "")
            await create_all(raw, self.addon.cluster_name, wanted, 32, created)
            await asyncio.wait_for(following, 300)
        return sorted(done[name] - created[name] for name in wanted)

    def _single(self) -> float:
        """One identity on an idle agent, again and again, against the four requests in a row."""

        async def raw_times() -> list[float]:
            async with self._raw_client(1) as raw:
                times = []
                for number in range(_SINGLES):
                    uids = await create_all(raw, _RAW, [f"single-{number}"], 1)
                    start = time.monotonic()
                    await raw.serve(_RAW, _RAW_INSTALL, f"single-{number}", uids[f"single-{number}"])
                    times.append(time.monotonic() - start)
                return times

        raw = statistics.median(asyncio.run(raw_times()))
        agent = statistics.median(
            asyncio.run(self._create_and_wait([f"one-{number}"]))[0] for number in range(_SINGLES)
        )
        return round(agent / raw, 2)

    def _rotate(self) -> dict[str, float]:
        """Everybody's validity is edited at once."""
        before, sent = self.probe.served(), self.probe.sent()
        total = self._so_far

        async def edit() -> None:
            path = f"{GROUP_PATH}/{self.addon.cluster_name}/{names.PLURAL}"
            async with session_to(self.addon.hub, 32) as session:
                async with session.get(path) as answer:
                    todo = [item["metadata"]["name"] for item in (await answer.json())["items"]]

                async def work() -> None:
                    while todo:
                        await send(
                            session,
                            "PATCH",
                            f"{path}/{todo.pop()}",
                            {"spec": {"rotation": {"validity": "24h"}}},
                        )

                await asyncio.gather(*(work() for _ in range(32)))

        start = time.monotonic()
        asyncio.run(edit())
        wait_until(lambda: self.probe.sent() - sent >= 3 * total, 300, 0.25)
        seconds = time.monotonic() - start
        time.sleep(1)
        served = self.probe.served() - before
        served.subtract({"PATCH managedserviceaccounts": total})
        return {
            "n": total,
            "requests_per_identity": round(served.total() / total, 2),
            "seconds": round(seconds, 2),
        }

    def _fill(self, n: int) -> float:
        """Fills up to n identities; KB more for each of them, between two moments of rest."""
        missing = n - self._so_far
        time.sleep(_QUIET_SECONDS)
        before = self.probe.rss_mb()
        if missing > 0:
            asyncio.run(self._create_and_wait([f"fill-{number}" for number in range(missing)]))
        time.sleep(_QUIET_SECONDS)
        return round((self.probe.rss_mb() - before) * 1024 / max(1, missing), 2)

    def _restart(self, n: int) -> dict[str, Any]:
        self.addon.stop()
        before, start = self.probe.served(), time.monotonic()
        self.addon.start(wait=False)
        wait_until(lambda: self.probe.scheduled() >= n, 120, 0.02)
        seconds = time.monotonic() - start
        time.sleep(3)
        return {
            "n": n,
            "seconds": round(seconds, 2),
            "writes": (self.probe.served() - before).total(),
            "rss_mb": round(self.probe.rss_mb(), 1),
        }


def _summary(n: int, rounds: list[tuple[dict[str, float], dict[str, Any]]]) -> dict[str, Any]:
    raw = statistics.median(raw["seconds"] for raw, _ in rounds)
    agent = statistics.median(agent["seconds"] for _, agent in rounds)
    cpu = statistics.median(agent["cpu"] for _, agent in rounds) / statistics.median(
        raw["cpu"] for raw, _ in rounds
    )
    latencies = sorted(latency for _, agent in rounds for latency in agent["latencies"])
    return {
        "n": n,
        "ratio": round(raw / agent, 2),
        "cpu_ratio": round(cpu, 2),
        "raw_seconds": round(raw, 2),
        "agent_seconds": round(agent, 2),
        "p50_s": round(latencies[len(latencies) // 2], 3),
        "p99_s": round(latencies[len(latencies) * 99 // 100], 3),
        "requests_per_identity": round(
            statistics.median(agent["served"].total() for _, agent in rounds) / n, 2
        ),
        "requests": {what: count / n for what, count in rounds[-1][1]["served"].items() if count},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
